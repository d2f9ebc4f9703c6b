"""What a user names becomes a list of shards' URLs: lists, braces, globs, directories. Opens no shard."""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.shards.braces import MAX_NAMES, expand_braces
from maskmill.pipeline.shards.shard import LOOKS, Shard, from_info
from maskmill.pipeline.stores.backoff import patiently
from maskmill.pipeline.stores.names import canonical, local_name, scheme_of, without_query
from maskmill.pipeline.stores.urls import check, filesystem, redact

_Named = tuple[str, Shard | None]
"""A name, and the shard where a listing described it."""

MAX_LIST_BYTES = 2**30
"""Most bytes of an `@list.txt`."""

_log = logging.getLogger(__name__)

GLOB = re.compile(r"[*?\[]")
"""What makes a name a pattern."""


def expand(arguments: Sequence[str]) -> list[str]:
    """What the user named, as a list of files to open: the sources of `named`."""
    return list(named(arguments))


def named(arguments: Sequence[str]) -> dict[str, Shard | None]:
    """What the user named, in order: source -> the shard where a listing described it, so that nobody asks again.

    A name is a file, a directory (its `*.tar`), a glob (its matches, sorted), a brace range (`{000..099}`, `{a,b}`), or
    `@list.txt` with one such name a line (blank lines and lines that start with # are skipped; relative names start at
    the working directory); each on any fsspec URL. The order of the arguments is kept. A file named twice is one. A
    plain name that doesn't exist is kept: it becomes a failed shard. Local names come back absolute.

    Raises:
        UsageError: a glob, list or directory without a match, a refused scheme, too many names, or two inputs that
            differ and yet share a canonical URL.
        EnvironmentFailure: a store that cannot be listed.
    """
    given: dict[str, str] = {}
    found: dict[str, Shard | None] = {}
    for name, shard in _names(arguments):
        check(name)
        url = canonical(name) if shard is None else shard.url
        source = name if (path := local_name(name)) is None else path
        if len(given) >= MAX_NAMES:
            raise UsageError(f"more than {MAX_NAMES:,} shards named; expected fewer. Label them in several runs.")
        earlier = given.setdefault(url, source)
        if earlier is not source and _identity(earlier) != _identity(source):
            raise UsageError(
                f"{_distinct(earlier)!r} and {_distinct(source)!r}: two inputs, alike but for credentials or query, "
                f"share the name {url}. Name one of them."
            )
        found[earlier] = found.get(earlier) or shard
    return found


def _identity(source: str) -> str:
    """What must be equal for two sources of one canonical URL to be the same input: credentials and query too."""
    bare = canonical(source)
    if "://" not in source:
        return bare
    # What canonical() took away, but for the scheme's and the host's case, which are no difference.
    given, kept = source.split("://", 1)[1], bare.split("://", 1)[1]
    return bare if given.lower() == kept.lower() else f"{bare} {given}"


def _distinct(source: str) -> str:
    """A source for an error's text: redacted, with a mark where something was removed."""
    return redact(source) + ("?..." if "?" in source else "")


def _names(arguments: Sequence[str]) -> Iterator[_Named]:
    for argument in arguments:
        if argument.startswith("@"):
            found = False
            for line in list_lines(argument[1:]):
                found = True
                yield from _matches(line)
            if not found:
                raise UsageError(f"{redact(argument)!r}: the list names no shard; expected one name a line.")
        else:
            yield from _matches(argument)


def list_lines(url: str) -> Iterator[str]:
    """The names in a list: its lines, without blank ones and those that start with #.

    Raises:
        UsageError: no such list, not UTF-8 text, too long, or a list within a list.
        EnvironmentFailure: it can't be read.
    """
    fs, path = filesystem(url)
    try:
        with fs.open(path, "rb") as file:
            text = file.read(MAX_LIST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"'@{redact(url)}': no such list. Expected a text file with one shard a line.") from None
    except Exception as error:
        raise EnvironmentFailure(f"'@{redact(url)}' could not be read: {_reason(error)}") from error
    if len(text) > MAX_LIST_BYTES:
        raise UsageError(f"'@{redact(url)}': more than {MAX_LIST_BYTES:,} bytes. Split the list.")
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"'@{redact(url)}': not UTF-8 text. Expected one shard a line.") from None
    for raw in lines:
        line = raw.strip()
        if line.startswith("@"):
            raise UsageError(f"{redact(line)!r} in '@{redact(url)}': a list cannot name a list. Name both lists.")
        if line and not line.startswith("#"):
            yield line


def _matches(pattern: str) -> Iterator[_Named]:
    check(pattern)
    for name in expand_braces(pattern):
        check(name)
        path = local_name(name)
        if path is not None:
            yield from ((match, None) for match in _local_matches(name, path))
        else:
            yield from _store_matches(name)


def _local_matches(name: str, path: str) -> Iterator[str]:
    if GLOB.search(path) and not Path(path).exists():
        import glob

        # Hidden files are found too, to be counted; hidden folders (.git) aren't searched for the sake of it.
        found = glob.iglob(path, recursive=True, include_hidden="**" not in path)  # noqa: PTH207 (absolute pattern)
        files = sorted(match for match in _visible(found, path) if Path(match).is_file())
        if not files:
            raise UsageError(f"{name!r}: the pattern matches no file. Quote it, and try `ls` with it.")
        yield from files
    elif not path.lower().endswith(".tar") and Path(path).is_dir():
        inside = _visible((match.name for match in Path(path).glob("*.tar")), "*.tar", folder=path)
        tars = sorted(tar for match in inside if Path(tar := f"{path.rstrip('/')}/{match}").is_file())
        if not tars:
            raise UsageError(
                f"{name!r}: the directory holds no *.tar. Name the shards, or a pattern such as '**/*.tar'."
            )
        yield from tars
    else:
        yield path


def _store_matches(name: str) -> Iterator[_Named]:
    scheme = scheme_of(name)
    assert scheme is not None
    bare = without_query(scheme, name)
    if scheme in ("http", "https"):
        yield name, None
    elif GLOB.search(bare.split("://", 1)[1]):
        yield from _listed(name, bare, "the pattern matches no object. Quote it, and list its parent.")
    elif bare.endswith("/") or "." not in bare.rsplit("/", 1)[-1]:
        # A name without an ending may be a shard or a directory; one listing tells, and gives what is in it.
        otherwise = "the directory holds no *.tar. Name the shards or a pattern."
        yield from _listed(name, bare.rstrip("/") + "/*.tar", otherwise, may_be_file=not bare.endswith("/"))
    else:
        yield name, None


def _listed(name: str, pattern: str, otherwise: str, *, may_be_file: bool = False) -> Iterator[_Named]:
    """What a pattern matches, as the store describes it; `otherwise` says what is wrong if nothing does."""
    fs, path = filesystem(pattern)

    def glob() -> dict[str, Any]:
        # Afresh, and not kept: a listing of 500,000 objects takes a gigabyte in the driver's words.
        fs.invalidate_cache()
        try:
            found: dict[str, Any] = fs.glob(path, detail=True)
        except FileNotFoundError:
            return {}
        finally:
            fs.invalidate_cache()
        return found

    try:
        found = patiently(glob, attempts=LOOKS)
        files = sorted(_visible((match for match, info in found.items() if info.get("type") == "file"), path))
        plain = not files and may_be_file and not fs.isdir(fs._parent(path))
    except Exception as error:
        raise EnvironmentFailure(f"{redact(name)!r} could not be listed: {_reason(error)}") from error
    if plain:
        yield name, None
        return
    if not files:
        raise UsageError(f"{redact(name)!r}: {otherwise}")
    # A listing gives paths inside the file system; the address (bucket, container@account) is the pattern's own.
    inside = path in pattern
    address = pattern[: pattern.index(path)] if inside else "/".join(pattern.split("/", 3)[:3]) + "/"
    for match in files:
        source = address + (match if inside else match.split("/", 1)[1])
        yield source, from_info(source, found.pop(match))


def _visible(matches: Iterable[str], pattern: str, *, folder: str = "") -> list[str]:
    """What a pattern matches without hidden files (`._000.tar`) and those below `__MACOSX`, which Macs add to copies.

    Only the part of a path that the pattern left open counts; a pattern that itself has a hidden part means them.
    Matches are below `folder`, where there is one.
    """
    parts = pattern.split("/")
    fixed = next((place for place, part in enumerate(parts) if GLOB.search(part)), len(parts))
    found = list(matches)
    if any(hidden(part) for part in parts[fixed:]):
        return found
    kept = [match for match in found if not any(map(hidden, match.split("/")[fixed:]))]
    if left := len(found) - len(kept):
        where = redact(folder or pattern)
        _log.warning("%s: %d hidden files, or files below __MACOSX, are left out", where, left)
    return kept


def hidden(part: str) -> bool:
    """Whether a part of a path is a hidden file or folder, or what Macs keep their own files below."""
    return part.startswith(".") or part == "__MACOSX"


def _reason(error: Exception) -> str:
    return redact(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
