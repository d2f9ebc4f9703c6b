"""The words of the procedural scenes: colours, shapes and backgrounds. How they look is the painter's part."""

COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "black")
"""Colours of objects. Eight that stay apart in RGB under shading and JPEG; no white, which snow would swallow."""

SHAPES = ("disc", "ring", "triangle", "star", "cross")
"""Shapes of objects. Five whose outlines differ at a radius of 18 pixels under any rotation within 30 degrees."""

BACKGROUNDS = ("sand", "grass", "water", "brick", "wood", "gravel", "sky", "snow")
"""Backgrounds, one word each, told apart by texture and colour."""


def object_name(colour: str, shape: str) -> str:
    """The class name of an object: two words, "red ring"."""
    return f"{colour} {shape}"


def names() -> tuple[str, ...]:
    """The 48 class names in id order: objects 0-39, shapes running fastest, then backgrounds 40-47."""
    return (*(object_name(colour, shape) for colour in COLOURS for shape in SHAPES), *BACKGROUNDS)


NOVEL = ("orange star", "blue star", "red cross", "cyan triangle", "purple ring", "green disc")
"""Objects that training of san-tiny's segmenter leaves out (15 % of 40); it sees each of their colours and shapes in
others, and CLIP may read them in captions. They tell how far names reach beyond what masks were learnt with."""
