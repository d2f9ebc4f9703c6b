"""What a user names becomes a list of shards' URLs: lists, braces, globs, directories. Opens no shard."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.redaction import redact_error, redact_url
from maskmill.pipeline.shards.braces import MAX_NAMES, expand_braces
from maskmill.pipeline.shards.shard import LOOKS, Shard, describe, from_info
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

    A name is a file; where there is none, a folder (its `*.tar`); where there is none either, a pattern (its matches,
    sorted). Before that, braces are expanded (`{000..099}`, `{a,b}`), and `@list.txt` stands for one such name a line
    (blank lines and lines that start with # are skipped; relative names start at the working directory). Each on any
    fsspec URL; in a store a name that ends in .tar is taken for a file, without a request. The order of the arguments
    is kept. A file named twice is one. A plain name that doesn't exist is kept: it becomes a failed shard. Local names
    come back absolute.

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
    local = local_name(url)
    try:
        if local is not None:
            # Also what can be read but once: @<(ls *.tar)
            with Path(local).open("rb") as file:
                text = file.read(MAX_LIST_BYTES + 1)
        else:
            fs, path = filesystem(url)
            with fs.open(path, "rb") as file:
                text = file.read(MAX_LIST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"'@{redact_url(url)}': no such list. Expected a text file with one shard a line.") from None
    except Exception as error:
        raise EnvironmentFailure(f"'@{redact_url(url)}' could not be read: {_reason(error, url)}") from error
    if len(text) > MAX_LIST_BYTES:
        raise UsageError(f"'@{redact_url(url)}': more than {MAX_LIST_BYTES:,} bytes. Split the list.")
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"'@{redact_url(url)}': not UTF-8 text. Expected one shard a line.") from None
    for raw in lines:
        line = raw.strip()
        if line.startswith("@"):
            raise UsageError(
                f"{redact_url(line)!r} in '@{redact_url(url)}': a list can't name a list. Name both lists."
            )
        if line and not line.startswith("#"):
            yield line


def _matches(pattern: str) -> Iterator[_Named]:
    """The file of each name; else the `*.tar` in the folder of that name; else what matches it as a pattern."""
    check(pattern)
    local = local_name(pattern)
    exact = local is not None and Path(local).is_file()
    for name in (pattern,) if exact else expand_braces(pattern):
        check(name)
        path = local_name(name)
        files: _LocalFiles | _StoreFiles = _StoreFiles(name) if path is None else _LocalFiles(path)
        if (file := files.file()) is not None:
            yield file
        elif not re.search(r"[*?]", name) and (tars := files.folder()) is not None:
            if not tars:
                raise UsageError(
                    f"{redact(name)!r}: the folder holds no *.tar. Name the shards, or a pattern such as '**/*.tar'."
                )
            yield from tars
        elif GLOB.search(name):
            matches = files.pattern()
            if not matches:
                raise UsageError(f"{redact(name)!r}: the pattern matches no file. Quote it, and list its parent.")
            yield from matches
        else:
            yield name if path is None else path, None


class _LocalFiles:
    """What a local name may mean."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)

    def file(self) -> _Named | None:
        return (str(self._path), None) if self._path.is_file() else None

    def folder(self) -> list[_Named] | None:
        if not self._path.is_dir():
            return None
        names = _visible((match.name for match in self._path.glob("*.tar")), "*.tar", folder=str(self._path))
        return [(str(self._path / name), None) for name in sorted(names) if (self._path / name).is_file()]

    def pattern(self) -> list[_Named]:
        import glob

        # Hidden files are found too, to be counted; hidden folders (.git) aren't searched for the sake of it.
        path = str(self._path)
        matches = glob.iglob(path, recursive=True, include_hidden="**" not in path)  # noqa: PTH207 (absolute pattern)
        return [(match, None) for match in sorted(_visible(matches, path)) if Path(match).is_file()]


class _StoreFiles:
    """What a name in a store may mean. Each look is a request, so a name that ends as shards do is taken for a file."""

    def __init__(self, name: str) -> None:
        scheme = scheme_of(name)
        assert scheme is not None
        self._name = name
        self._bare = without_query(scheme, name)
        self._listed = scheme not in ("http", "https")
        self._refused: EnvironmentFailure | None = None

    def file(self) -> _Named | None:
        if not self._listed or (self._bare.endswith(".tar") and not GLOB.search(self._bare)):
            return self._name, None
        if self._bare.endswith("/"):
            return None
        try:
            shard = describe(self._name)
        except EnvironmentFailure as error:
            # A store may refuse to describe what it lets one list; if it doesn't, this is what went wrong.
            self._refused = error
            return None
        return None if shard.missing else (self._name, shard)

    def folder(self) -> list[_Named] | None:
        folder = self._bare.rstrip("/")
        fs, path = filesystem(folder)

        def ls() -> dict[str, Any]:
            return {
                str(info["name"]): info
                for info in fs.ls(path, detail=True)
                if str(info["name"]).strip("/") != path.strip("/")
            }

        found = self._entries(fs, ls)
        if not found:
            return None
        return self._files(folder, path, {name: info for name, info in found.items() if name.endswith(".tar")})

    def pattern(self) -> list[_Named]:
        fs, path = filesystem(self._bare)
        return self._files(self._bare, path, self._entries(fs, lambda: fs.glob(path, detail=True)))

    def _entries(self, fs: Any, request: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A listing: name inside the file system -> what the store says of it; empty where nothing is there."""

        def fresh() -> dict[str, Any]:
            # Afresh, and not kept: a listing of 500,000 objects takes a gigabyte in the driver's words.
            fs.invalidate_cache()
            try:
                return request()
            except (FileNotFoundError, NotADirectoryError):
                return {}
            finally:
                fs.invalidate_cache()

        try:
            return patiently(fresh, attempts=LOOKS)
        except Exception as error:
            if self._refused is not None:
                raise self._refused from error
            raise EnvironmentFailure(
                f"{redact(self._name)!r} could not be listed: {_reason(error, self._name)}"
            ) from error

    def _files(self, url: str, path: str, found: dict[str, Any]) -> list[_Named]:
        """The files among the entries, with the address (bucket, container@account) that the user's own URL has."""
        files = sorted(_visible((name for name, info in found.items() if info.get("type") == "file"), path))
        inside = path in url
        address = url[: url.index(path)] if inside else "/".join(url.split("/", 3)[:3]) + "/"
        sources = {name: address + (name if inside else name.split("/", 1)[1]) for name in files}
        return [(source, from_info(source, found.pop(name))) for name, source in sources.items()]


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


def _reason(error: Exception, url: str) -> str:
    return f"{type(error).__name__}: {redact_error(error, url)}"[:300]
