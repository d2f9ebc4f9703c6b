"""Names of shards: what a user types becomes a list of URLs, each with one canonical form. Opens no shard."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from models.errors import EnvironmentFailure, UsageError
from pipeline.braces import MAX_NAMES, expand_braces
from pipeline.redaction import PASSWORD, USER, redact

__all__ = ["canonical", "expand", "filesystem", "hash16", "redact", "stem"]

MAX_LIST_BYTES = 2**30
"""Most bytes of an `@list.txt`."""

MAX_STEM = 80
"""Characters of a shard's name that its label file's name keeps."""

MAX_ARGUMENT = 4096
"""Most characters of one name."""

_ALIASES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "local": "file"}
"""Schemes that name the same store."""

_AZURE = ("az", "adl")
"""Here `container@account` is an address, not a user."""

_DRIVERS = {
    "s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "adl": "adlfs", "hf": "huggingface_hub", "http": "aiohttp",
    "https": "aiohttp", "sftp": "paramiko", "ssh": "paramiko", "oss": "ossfs", "smb": "smbprotocol", "hdfs": "pyarrow",
    "oci": "ocifs", "webhdfs": "requests", "tos": "tosfs",
}  # fmt: skip
"""Scheme -> the package that fsspec needs for it."""

_SCHEMES = frozenset({*_DRIVERS, "file", "memory", "ftp"})
"""Stores of plain files. Schemes that wrap other files, run programs or hold their data in the name are left out."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_COLON = re.compile(r"(pipe|exec|sh|bash|cmd|data|python|javascript|file|local):(?!//)", re.IGNORECASE)
_GLOB = re.compile(r"[*?\[]")


def _scheme(url: str) -> str | None:
    """The scheme as a canonical one; None for a plain path."""
    found = _SCHEME.match(url)
    if found is None:
        return None
    name = found[1].lower()
    return _ALIASES.get(name, name)


def _local(url: str) -> str | None:
    """The absolute path of a local name; None for a name in a store."""
    if _scheme(url) == "file":
        url = url.split("://", 1)[1]
    elif _scheme(url) is not None:
        return None
    if url == "~" or url.startswith("~/"):
        url = str(Path.home()) + url[1:]
    return _normal(str(Path(url).absolute()))


def _normal(path: str) -> str:
    """The path without `.`, `..` and doubled slashes; links are not followed."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def _without_query(scheme: str, rest: str) -> str:
    if scheme in ("http", "https"):
        return re.split(r"[?#]", rest, maxsplit=1)[0]
    # In an object store `?` and `#` may be part of a key; what reads `?name=value` is a query (versionId, a SAS token).
    return re.split(r"\?(?=[^/?=]+=)", rest, maxsplit=1)[0]


def canonical(url: str) -> str:
    """The one name of a shard: what tables, manifests and label files call it.

    Scheme in lower case, s3a as s3 (gcs as gs, abfs as az), no user or password, no query, no fragment over http. A
    local shard is its absolute path without a scheme, `..` resolved by name only (links are not followed).
    """
    path = _local(url)
    if path is not None:
        return path
    scheme = _scheme(url)
    assert scheme is not None
    bare = PASSWORD.sub("", url)
    if scheme not in _AZURE:
        bare = USER.sub("", bare)
    rest = _without_query(scheme, bare.split("://", 1)[1])
    if scheme in ("http", "https"):
        host, slash, path = rest.partition("/")
        rest = host.lower() + slash + path
    return f"{scheme}://{rest}"


def hash16(canonical_url: str) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a canonical URL."""
    return hashlib.sha256(canonical_url.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def stem(url: str) -> str:
    """The file's name without .tar, .tgz or .tar.gz, cleaned to `A-Za-z0-9._-`, of at most 80 characters."""
    name = canonical(url).rstrip("/").rsplit("/", 1)[-1]
    name = re.sub(r"(\.tar(\.\w{1,4})?|\.tgz)$", "", name, flags=re.IGNORECASE)
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".-")[:MAX_STEM]
    return name or "shard"


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path inside it.

    Raises:
        UsageError: a scheme that isn't a store of files, or a driver that isn't installed.
    """
    from fsspec.core import url_to_fs

    _check(url)
    path = _local(url)
    scheme = _scheme(url)
    try:
        if path is not None:
            found: tuple[Any, str] = url_to_fs("file://" + path)
        else:
            # s3fs refuses a version unless it is told to expect one.
            options = {"version_aware": True} if scheme == "s3" and "?versionId=" in url else {}
            found = url_to_fs(f"{scheme}://{url.split('://', 1)[1]}", **options)
    except ImportError:
        driver = _DRIVERS.get(scheme or "", "the driver that fsspec names for it")
        raise UsageError(
            f"{redact(url)!r}: {scheme}:// needs a driver that is not installed. Run: pip install {driver}"
        ) from None
    except ValueError as error:
        raise UsageError(f"{redact(url)!r}: fsspec cannot open it ({redact(str(error))}).") from None
    return found


def _check(name: str) -> None:
    """Refuses what names no file in a store: programs, wrappers, unknown schemes, credentials where none belong."""
    shown = repr(redact(name[:200]))
    if not 0 < len(name) <= MAX_ARGUMENT or "\x00" in name or any("\ud800" <= c <= "\udfff" for c in name):
        raise UsageError(f"shard name {shown}: expected 1 to {MAX_ARGUMENT} characters of UTF-8, no NUL. Rename it.")
    if "::" in name and "://" in name:
        raise UsageError(f"{shown}: chained URLs are not opened. Name the file itself; it is spooled to --scratch.")
    if _COLON.match(name):
        raise UsageError(
            f"{shown}: not a file or a URL; nothing is run to read data. For a local file write ./{name[:40]}"
        )
    scheme = _scheme(name)
    if scheme is None:
        return
    if scheme not in _SCHEMES:
        known = ", ".join(sorted(_SCHEMES - {"memory"}))
        raise UsageError(f"{shown}: unknown scheme {scheme}://; known are {known}. Copy the shards to one of these.")
    if scheme in ("s3", "gs") and (PASSWORD.search(name) or USER.match(name, name.index("://") + 3)):
        raise UsageError(
            f"{shown}: credentials in a {scheme}:// URL are not used. Set them in the environment and name the bucket."
        )


# --- from arguments to names -----------------------------------------------------------------------------------------


def expand(arguments: Sequence[str]) -> list[str]:
    """What the user named, as a list of files to open.

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
    for name in _names(arguments):
        _check(name)
        url = canonical(name)
        source = name if (path := _local(name)) is None else path
        if len(given) >= MAX_NAMES:
            raise UsageError(f"more than {MAX_NAMES:,} shards named; expected fewer. Label them in several runs.")
        earlier = given.setdefault(url, source)
        if _identity(earlier) != _identity(source):
            raise UsageError(
                f"{_distinct(earlier)!r} and {_distinct(source)!r}: two inputs, alike but for credentials or query, "
                f"share the name {url}. Name one of them."
            )
    return list(given.values())


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


def _names(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if argument.startswith("@"):
            found = False
            for line in _lines(argument[1:]):
                found = True
                yield from _matches(line)
            if not found:
                raise UsageError(f"{redact(argument)!r}: the list names no shard; expected one name a line.")
        else:
            yield from _matches(argument)


def _lines(url: str) -> Iterator[str]:
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


def _matches(pattern: str) -> Iterator[str]:
    _check(pattern)
    for name in expand_braces(pattern):
        _check(name)
        path = _local(name)
        if path is not None:
            yield from _local_matches(name, path)
        else:
            yield from _store_matches(name)


def _local_matches(name: str, path: str) -> Iterator[str]:
    if _GLOB.search(path) and not Path(path).exists():
        import glob

        found = sorted(match for match in glob.iglob(path, recursive=True) if Path(match).is_file())  # noqa: PTH207 (absolute pattern)
        if not found:
            raise UsageError(f"{name!r}: the pattern matches no file. Quote it, and try `ls` with it.")
        yield from found
    elif not path.lower().endswith(".tar") and Path(path).is_dir():
        tars = sorted(str(match) for match in Path(path).glob("*.tar") if match.is_file())
        if not tars:
            raise UsageError(
                f"{name!r}: the directory holds no *.tar. Name the shards, or a pattern such as '**/*.tar'."
            )
        yield from tars
    else:
        yield path


def _store_matches(name: str) -> Iterator[str]:
    scheme = _scheme(name)
    assert scheme is not None
    web = scheme in ("http", "https")
    bare = _without_query(scheme, name)
    if not web and _GLOB.search(bare.split("://", 1)[1]):
        yield from _listed(name, bare, "the pattern matches no object. Quote it, and list its parent.")
    elif not web and (bare.endswith("/") or ("." not in bare.rsplit("/", 1)[-1] and _is_directory(name))):
        yield from _listed(
            name, bare.rstrip("/") + "/*.tar", "the directory holds no *.tar. Name the shards or a pattern."
        )
    else:
        yield name


def _is_directory(name: str) -> bool:
    fs, path = filesystem(name)
    try:
        return bool(fs.isdir(path))
    except Exception as error:
        raise EnvironmentFailure(f"{redact(name)!r} could not be looked up: {_reason(error)}") from error


def _listed(name: str, pattern: str, otherwise: str) -> Iterator[str]:
    fs, path = filesystem(pattern)
    try:
        found: dict[str, Any] = fs.glob(path, detail=True)
    except FileNotFoundError:
        found = {}
    except Exception as error:
        raise EnvironmentFailure(f"{redact(name)!r} could not be listed: {_reason(error)}") from error
    files = sorted(match for match, info in found.items() if info.get("type") == "file")
    if not files:
        raise UsageError(f"{redact(name)!r}: {otherwise}")
    # A listing gives paths inside the file system; the address (bucket, container@account) is the pattern's own.
    if path in pattern:
        address = pattern[: pattern.index(path)]
        yield from (address + match for match in files)
    else:
        scheme_and_host = "/".join(pattern.split("/", 3)[:3])
        yield from (f"{scheme_and_host}/{match.split('/', 1)[1]}" for match in files)


def _reason(error: Exception) -> str:
    return redact(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
