"""Prompt templates: the sentences that class names go into. How their features are averaged stands in averaging.py."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from maskmill.models import arguments
from maskmill.models.errors import UsageError
from maskmill.models.vocabulary.source import read_text

MAX_TEMPLATES = 256
"""More templates than this in a file are refused: each is one pass of the text tower a name."""

MAX_TEMPLATE_CHARACTERS = 256
"""Longer templates are refused; CLIP reads 77 tokens and the name needs room."""

TEMPLATE_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vild14": (
            "a photo of a {}.",
            "This is a photo of a {}",
            "There is a {} in the scene",
            "There is the {} in the scene",
            "a photo of a {} in the scene",
            "a photo of a small {}.",
            "a photo of a medium {}.",
            "a photo of a large {}.",
            "This is a photo of a small {}.",
            "This is a photo of a medium {}.",
            "This is a photo of a large {}.",
            "There is a small {} in the scene.",
            "There is a medium {} in the scene.",
            "There is a large {} in the scene.",
        ),
        "single": ("a photo of a {}.",),
        "bare": ("{}",),
    }
)
"""Named template sets.

`vild14`: the 14 prompts of SAN's released numbers (its template set "vild", after ViLD, arXiv 2104.13921), their
missing full stops included. `single`: CLIP's plain prompt, 14 times cheaper. `bare`: the name alone, for models that
learn what stands around it.
"""

DEFAULT_TEMPLATES: str = "vild14"
"""The set that SAN's released weights were trained and evaluated with."""


def templates_hash(templates: Sequence[str]) -> str:
    """sha256 (hex) over the ordered templates."""
    stated = json.dumps(list(templates), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(stated.encode()).hexdigest()


def load_templates(name_or_url: str) -> tuple[str, ...]:
    """A template set by name, or from a UTF-8 text file with one template a line.

    Lines that begin with `#` are comments, empty lines are skipped; each template has exactly one `{}`, no other brace.

    Raises:
        UsageError: no such set or file, or a line that is not a template.
    """
    if name_or_url in TEMPLATE_SETS:
        return TEMPLATE_SETS[name_or_url]
    kinds = f"sets are {', '.join(TEMPLATE_SETS)}. A file is one template a line"
    text = read_text(name_or_url, option="--templates", missing=f"no such template set or file; {kinds}.")
    found: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        template = line.strip()
        if not template or template.startswith("#"):
            continue
        problem = _problem(template)
        if problem is None and template in found:
            problem = "repeats an earlier line; remove it"
        if problem is not None:
            raise UsageError(f"--templates {name_or_url!r} line {number} {template[:60]!r}: {problem}.")
        found.append(template)
    if not 1 <= len(found) <= MAX_TEMPLATES:
        raise UsageError(
            f"--templates {name_or_url!r}: {len(found)} templates; expected 1 to {MAX_TEMPLATES}, one a line."
        )
    return tuple(found)


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates that a Python caller passes, as a tuple.

    Raises:
        UsageError: none, or one that is no template; a set's name is for `load_templates`.
    """
    found = arguments.texts("templates", templates)
    wrong = next((f"{template[:60]!r}: {problem}" for template in found if (problem := _problem(template))), None)
    if wrong is not None or not found:
        raise UsageError(f"templates {wrong or '[]: expected at least one'}.")
    return found


def _problem(template: str) -> str | None:
    if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
        return "expected exactly one {} where the name goes, and no other brace"
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        return f"{len(template)} characters; expected at most {MAX_TEMPLATE_CHARACTERS}, shorten it"
    if not template.isprintable():
        return "holds a control character; remove it"
    if len(template) > 1 and template[0] == template[-1] and template[0] in "'\"":
        return "in quotes, which would be part of every prompt; remove them"
    return None
