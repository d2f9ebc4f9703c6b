"""The label sets that ship with the package, by name. Class names and sources stand in labelsets/, one file a set."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

from maskmill.models.vocabulary import scenes
from maskmill.models.vocabulary.checks import Draft, checked
from maskmill.models.vocabulary.files import parse
from maskmill.models.vocabulary.vocabulary import Vocabulary

SCENES = "scenes"
"""The label set of the procedural scenes; made from scenes.py, which draws from the same words."""

LABEL_SETS: Mapping[str, str] = MappingProxyType(
    {
        "coco-stuff-171": "COCO-Stuff: 80 things, 91 stuff; what the released weights were trained on",
        "ade-150": "ADE20K SceneParsing: 100 things, 50 stuff",
        "ade-150-short": "the same classes by short names: what DenseCLIP's released weights were trained on",
        "ade-847": "ADE20K full: 847 names, kinds unknown",
        "pcontext-59": "PASCAL-Context: its 59 frequent names, kinds unknown",
        "pcontext-459": "PASCAL-Context full: 459 names, kinds unknown",
        "voc-20": "PASCAL VOC 2012: 20 things",
        SCENES: "the procedural scenes: 40 things (colour and shape), 8 backgrounds",
    }
)
"""Name of each shipped label set, and what it is."""


@cache
def load(name: str) -> Vocabulary:
    """A shipped label set; `name` is one of `LABEL_SETS`. Ids follow the order that the published numbers use."""
    assert name in LABEL_SETS, name
    if name == SCENES:
        return _scenes()
    file = resources.files("maskmill.models.vocabulary") / "labelsets" / f"{name}.txt"
    return parse(file.read_text(encoding="utf-8"), suffix=".txt", shown=f"--vocab {name!r}", source=name)


def _scenes() -> Vocabulary:
    drafts = [
        Draft(place=f"name {i}", name=name, kind="stuff" if name in scenes.BACKGROUNDS else "thing", source=SCENES)
        for i, name in enumerate(scenes.names(), start=1)
    ]
    return checked(drafts, shown=f"--vocab {SCENES!r}")
