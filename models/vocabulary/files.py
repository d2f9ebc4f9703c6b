"""Vocabulary files: text, YAML or JSON, from anywhere fsspec reaches. What names must keep to stands in checks.py."""

import json
import re
from pathlib import PurePosixPath

from maskmill.models.errors import UsageError
from maskmill.models.plain_yaml import YamlError
from maskmill.models.plain_yaml import parse as parse_yaml
from maskmill.models.redaction import redact_url
from maskmill.models.vocabulary.checks import Draft, checked
from maskmill.models.vocabulary.source import read_text
from maskmill.models.vocabulary.vocabulary import Vocabulary

SUFFIXES = (".txt", ".tsv", ".yaml", ".yml", ".json")
"""File names a vocabulary may end with; a name without any suffix is read as text."""

_FIELDS = frozenset({"name", "synonyms", "kind"})

_OTHER_FORMATS = (
    (
        re.compile(r"""(['"`]).*\1[,;]?|[\u201c\u201e\xab\u2018].*"""),
        "in quotes, which would be part of the name. Write it without",
    ),
    (re.compile(r"\d+[.:)]\s.*"), "begins with a number. Write the name alone; ids follow the order of lines"),
    (re.compile(r"- .*"), "begins with a list mark. Write the name alone, or call the file .yaml"),
    (re.compile(r".*[,;]"), "ends with a separator. Write one name a line, without"),
    (re.compile(r"[\[{].*|.*[\]}]"), "has brackets. Write one name a line, or call the file .json"),
)
"""Lines of a text file that were written as another format's, and what to do about them."""


def load(url: str) -> Vocabulary:
    """The vocabulary that a file states; ids follow the file's order.

    Three forms, told apart by the file's name, all UTF-8:

    - text (.txt, .tsv, or no suffix): one name a line, optionally a tab and `thing` or `stuff`. Lines that begin with
      `#` are comments. An empty line between names is an error, because ids count lines; at the end it is fine. Commas
      are part of the name, but a file whose only line has one is refused, and so is what looks like another format:
      names in quotes, list marks, a comma at the end.
    - YAML (.yaml, .yml): a list whose items are names, or mappings of `name`, `synonyms` (a list of names) and `kind`.
      See plain_yaml.py; other types than text are refused.
    - JSON (.json): the same list.

    Args:
        url: a path or any fsspec URL.

    Raises:
        UsageError: no such file, or it isn't a vocabulary; one line naming the line or entry.
        EnvironmentFailure: the file can't be read (permission, network).
    """
    from maskmill.models.vocabulary.shipped import LABEL_SETS

    sets = f"label sets are {', '.join(LABEL_SETS)}"
    missing = f"no such label set or file; {sets}. A file is one name a line."
    shown = f"--vocab {redact_url(url)!r}"
    # A URL may carry a query, or be a chain such as simplecache::s3://...: neither is part of the file's name.
    links = redact_url(url).split("::")
    path = PurePosixPath(next((link for link in links if "://" in link), links[0]))
    suffix = path.suffix.lower()
    text = read_text(url, option="--vocab", missing=missing)
    if suffix and suffix not in SUFFIXES:
        raise UsageError(f"{shown}: unknown kind of file; expected a name that ends with {', '.join(SUFFIXES)}.")
    return parse(text, suffix=suffix, shown=shown, source=path.name)


def parse(text: str, *, suffix: str, shown: str, source: str) -> Vocabulary:
    """The vocabulary that a file's text states, read as `suffix` says; messages begin with `shown`.

    Raises:
        UsageError: the text isn't a vocabulary.
    """
    if suffix in {".yaml", ".yml"}:
        try:
            items = parse_yaml(text)
        except YamlError as error:
            raise UsageError(
                f"{shown}{error.where}: not plain YAML ({error.problem}). Expected a list of names."
            ) from error
        drafts = _from_items(items, shown, source)
    elif suffix == ".json":
        drafts = _from_items(_json(text, shown), shown, source)
    else:
        drafts = _from_lines(text, shown, source)
    return checked(drafts, shown=shown)


def _from_lines(text: str, shown: str, source: str) -> list[Draft]:
    drafts = []
    for number, line in enumerate(text.rstrip().split("\n"), start=1):
        if line.lstrip().startswith("#") or not text.strip():
            continue
        name, tab, kind = line.partition("\t")
        if not line.strip():
            raise UsageError(f"{shown} line {number}: an empty name. Remove the line, or begin it with #.")
        if tab and kind.strip() not in {"thing", "stuff"}:
            raise UsageError(
                f"{shown} line {number}: {kind[:40]!r} after a tab; expected NAME, or NAME, tab, thing or stuff."
            )
        mistaken = next((what for form, what in _OTHER_FORMATS if form.fullmatch(name.strip())), None)
        if mistaken is not None:
            raise UsageError(f"{shown} line {number}: {name.strip()[:40]!r} {mistaken}.")
        drafts.append(Draft(place=f"line {number}", name=name, kind=kind.strip() or None, source=source))
    if len(drafts) == 1 and re.search("[,;]", drafts[0].name):
        raise UsageError(
            f"{shown} {drafts[0].place}: {drafts[0].name.strip()[:40]!r} would be a single class. Write one name a "
            "line; where it is one name, in a .yaml file."
        )
    return drafts


def _from_items(items: object, shown: str, source: str) -> list[Draft]:
    if not isinstance(items, list):
        raise UsageError(f"{shown}: {_kind_of(items)} at the top; expected a list of names.")
    drafts = []
    for number, item in enumerate(items, start=1):
        place = f"entry {number}"
        fields = {"name": item} if isinstance(item, str) else item
        if not isinstance(fields, dict):
            raise UsageError(
                f"{shown} {place}: {_kind_of(item)}; expected a name or a mapping. Quote it if it is a name."
            )
        unknown = [key for key in fields if key not in _FIELDS]
        if unknown:
            raise UsageError(f"{shown} {place}: field {str(unknown[0])[:40]!r}; expected name, synonyms and kind only.")
        name, synonyms, kind = fields.get("name"), fields.get("synonyms"), fields.get("kind")
        if not isinstance(name, str):
            found = "no name" if name is None else f"name is {_kind_of(name)}"
            raise UsageError(f"{shown} {place}: {found}; expected text. Quote it if it is a name.")
        synonyms = [] if synonyms is None else synonyms
        if not isinstance(synonyms, list) or not all(isinstance(synonym, str) for synonym in synonyms):
            raise UsageError(
                f"{shown} {place} {name[:40]!r}: synonyms; expected a list of names. Quote those that aren't text."
            )
        if not (kind is None or isinstance(kind, str)):
            raise UsageError(
                f"{shown} {place} {name[:40]!r}: kind is {_kind_of(kind)}; expected thing or stuff, or none."
            )
        drafts.append(Draft(place=place, name=name, synonyms=tuple(synonyms), kind=kind, source=source))
    return drafts


def _kind_of(value: object) -> str:
    words = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "nothing" if value is None else words.get(type(value), f"a {type(value).__name__}")


def _json(text: str, shown: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise UsageError(f"{shown} line {error.lineno}: not JSON ({error.msg}). Expected a list of names.") from None
    except (RecursionError, ValueError) as error:
        # Nesting past Python's stack, a number past its limit of digits, a repeated field.
        raise UsageError(f"{shown}: not plain JSON ({str(error)[:100]}). Expected a list of names.") from None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field stands twice in one entry")
    return fields
