"""Names of shards as text: the canonical form of a URL, its hash, its stem. Opens nothing."""

import hashlib
import re
from pathlib import Path

from maskmill.models.redaction import without_userinfo

MAX_STEM = 80
"""Characters of a shard's name that its label file's name keeps."""

_ALIASES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "local": "file"}
"""Schemes that name the same store."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(url: str) -> str | None:
    """The scheme as a canonical one; None for a plain path."""
    found = _SCHEME.match(url)
    if found is None:
        return None
    name = found[1].lower()
    return _ALIASES.get(name, name)


def local_name(url: str) -> str | None:
    """The absolute path of a local name; None for a name in a store."""
    if scheme_of(url) == "file":
        url = url.split("://", 1)[1]
    elif scheme_of(url) is not None:
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


def without_query(scheme: str, rest: str) -> str:
    """A name without the query that its store would read (versionId, a SAS token; over http the fragment too)."""
    if scheme in ("http", "https"):
        return re.split(r"[?#]", rest, maxsplit=1)[0]
    # In an object store `?` and `#` may be part of a key; what reads `?name=value` is a query (versionId, a SAS token).
    return re.split(r"\?(?=[^/?=]+=)", rest, maxsplit=1)[0]


def canonical(url: str) -> str:
    """The one name of a shard: what tables, manifests and label files call it.

    Scheme in lower case, s3a as s3 (gcs as gs, abfs as az), no user or password, no query, no fragment over http. A
    local shard is its absolute path without a scheme, `..` resolved by name only (links are not followed).
    """
    path = local_name(url)
    if path is not None:
        return path
    scheme = scheme_of(url)
    assert scheme is not None
    rest = without_query(scheme, without_userinfo(url).split("://", 1)[1])
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
