"""How fast each part is on this machine, and how far from what the machine can do. Nothing here asserts a time."""
