"""Training loops on one device, in plain PyTorch. Data comes in as iterables; where it comes from is not said here."""
