"""A shard as the store describes it: name, size, etag. Nothing of its bytes is read here."""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.stores.backoff import patiently
from maskmill.pipeline.stores.names import scheme_of
from maskmill.pipeline.stores.urls import canonical, filesystem, hash16, redact, stem

LIST_FROM = 1_000
"""From this many shards in one directory on, the directory is listed once; fewer are asked for one by one. Stores list
1,000 names a request, so the listing takes fewer requests than the names would unless the directory holds a thousand
objects for each name asked for, and a few names never list a directory of millions."""

LOOKS = 3
"""How often a shard or a listing is asked for before the command says that the store doesn't answer."""

REQUESTS = 16
"""Requests in flight while shards are described."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A tar of samples: the unit of work, of retry and of commit."""

    url: str
    """Canonical URL: what everything stored calls the shard."""

    source: str = field(repr=False)
    """The name as given, which opens the shard; it may hold credentials and is never logged or stored."""

    size: int | None = None
    """Bytes, as the store says; None where the shard is missing or the store doesn't say."""

    etag: str | None = None
    """The store's mark of these very bytes; of a local file, its modification time and size. None if there is none."""

    missing: bool = False
    """The store has no such object. It is kept, so that it ends as a failed shard and not in silence."""

    replace: bool = False
    """Its label file, if there is one, is to be replaced: `retry` asked for a done shard."""

    @property
    def label_name(self) -> str:
        """Name of its label file, without an ending: STEM-HASH16."""
        return f"{stem(self.url)}-{hash16(self.url)}"


def local_path(source: str) -> Path | None:
    """Where a shard lies when it is a local file; None for one in a store."""
    url = canonical(source)
    return Path(url) if url.startswith("/") else None


def describe(source: str, *, wait: Callable[[float], None] = time.sleep) -> Shard:
    """The shard as the store has it now; one request, and a few more while the store fails.

    Raises:
        UsageError: a refused scheme or a driver that isn't installed.
        EnvironmentFailure: the store refuses or doesn't answer; a missing object is a Shard, no error.
    """
    try:
        return patiently(lambda: look(source)[0], attempts=LOOKS, wait=wait)
    except (UsageError, EnvironmentFailure):
        raise
    except Exception as error:
        raise _unanswered(source, error) from error


def look(source: str) -> tuple[Shard, Mapping[str, Any]]:
    """The shard as the store has it now, and all that the store says of it (`reading.checksum.told` reads that).

    One request, made once.

    Raises:
        Exception: the driver's own; a missing object is a Shard, no error.
    """
    path = local_path(source)
    if path is not None:
        return _local(source, path), {}
    fs, inside = filesystem(source)
    try:
        info = _head(fs, inside) if scheme_of(source) == "s3" else _info(fs, inside)
    except FileNotFoundError as error:
        if _unreachable(error):
            raise
        return _absent(source), {}
    return from_info(source, info), info


def _head(fs: Any, inside: str) -> Mapping[str, Any]:
    """HeadObject with checksums; s3fs's own `info` leaves them out, and lists when there is no such key."""
    bucket, key, version = fs.split_path(inside)
    if not key:
        raise FileNotFoundError(inside)
    asked = {"Bucket": bucket, "Key": key, "ChecksumMode": "ENABLED"}
    head: Mapping[str, Any] = fs.call_s3("head_object", **asked, **({"VersionId": version} if version else {}))
    return {**head, "size": head["ContentLength"]}


def _info(fs: Any, inside: str) -> Mapping[str, Any]:
    # Listings are cached by fsspec; what was true when the glob was listed may not be now.
    fs.invalidate_cache(fs._parent(inside))
    info: Mapping[str, Any] = fs.info(inside)
    return info


def describe_many(
    sources: Sequence[str],
    known: Mapping[str, Shard] | None = None,
    *,
    wait: Callable[[float], None] = time.sleep,
) -> list[Shard]:
    """The shards in the order given, with one listing for a directory that many of them share.

    A shard that its store doesn't describe, where any other could be described, comes back without size and etag:
    it will be a failed shard if it is refused to its replica too, and costs no other.

    Args:
        sources: names, as `listing.expand` gives them.
        known: shards that a listing has already described, by source.
        wait: sleeps so many seconds between attempts.

    Raises:
        UsageError: as `describe`.
        EnvironmentFailure: not one shard could be described.
    """
    found: dict[str, Shard] = dict(known or {})
    told = len(found)
    alone: list[str] = []
    for (address, parent), group in _by_parent([source for source in sources if source not in found]).items():
        listed = _from_listing(parent, group, wait) if address and len(group) >= LIST_FROM else None
        if listed is None:
            alone.extend(group)
        else:
            found.update(listed)
            told += len(listed)
    failures: list[EnvironmentFailure] = []
    with ThreadPoolExecutor(REQUESTS) as threads:
        for source, shard in zip(alone, threads.map(partial(_described, wait=wait), alone), strict=True):
            if isinstance(shard, Shard):
                found[source] = shard
                told += 1
            else:
                found[source] = _unknown(source)
                failures.append(shard)
    if failures and not told:
        raise failures[0]
    return [found[source] for source in sources]


def _described(source: str, wait: Callable[[float], None]) -> Shard | EnvironmentFailure:
    try:
        return describe(source, wait=wait)
    except EnvironmentFailure as failure:
        return failure


def _by_parent(sources: Sequence[str]) -> Mapping[tuple[str, str], list[str]]:
    """Sources by (scheme or "" if local or on the web, parent); the web has no listings worth the name."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source in dict.fromkeys(sources):
        url = canonical(source)
        scheme = url.split("://", 1)[0] if "://" in url else ""
        listed = scheme not in ("", "http", "https") and "?" not in source
        groups[(scheme if listed else "", url.rsplit("/", 1)[0])].append(source)
    return groups


def _from_listing(parent: str, group: Sequence[str], wait: Callable[[float], None]) -> dict[str, Shard] | None:
    """Shards of one directory; None if the store lets nobody list it, as some let one read."""
    fs, first = filesystem(group[0])
    inside = fs._parent(first)

    def ls() -> list[Mapping[str, Any]]:
        fs.invalidate_cache(inside)
        try:
            entries: list[Mapping[str, Any]] = fs.ls(inside, detail=True)
        except FileNotFoundError:
            return []
        finally:
            fs.invalidate_cache(inside)  # a listing of 500,000 need not stay in memory
        return entries

    try:
        entries = patiently(ls, attempts=LOOKS, wait=wait)
    except PermissionError:
        return None
    except Exception as error:
        raise _unanswered(parent, error) from error
    infos = {str(info["name"]).lstrip("/"): info for info in entries}
    shards = {}
    for source in group:
        info = infos.get(str(fs._strip_protocol(source)).lstrip("/"))
        shards[source] = _absent(source) if info is None else from_info(source, info)
    return shards


def _local(source: str, path: Path) -> Shard:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _absent(source)
    if not path.is_file():
        return _absent(source)
    return replace(_unknown(str(path)), size=status.st_size, etag=_token(status))


def _token(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def _unknown(source: str) -> Shard:
    """A shard of which nothing is known but its name."""
    url = canonical(source)
    # One string for both where they are equal, as most are: 500,000 shards are held at once.
    return Shard(url=source if url == source else url, source=source)


def _absent(source: str) -> Shard:
    return replace(_unknown(source), missing=True)


def from_info(source: str, info: Mapping[str, Any]) -> Shard:
    """The shard that a driver's `info`, or an entry of its listing, describes."""
    if info.get("type", "file") != "file":
        return _absent(source)
    size = info.get("size")
    return replace(_unknown(source), size=None if size is None else int(size), etag=_etag(info))


def _etag(info: Mapping[str, Any]) -> str | None:
    """The mark of an object's bytes, under whichever name its store gives it."""
    large = info.get("lfs")
    candidates = [
        info.get("ETag"),
        info.get("etag"),
        info.get("md5Hash"),
        large.get("sha256") if isinstance(large, Mapping) else getattr(large, "sha256", None),
        info.get("blob_id"),
    ]
    for value in candidates:
        if isinstance(value, str) and value:
            return value.removeprefix("W/").strip('"')
    return None


def _unreachable(error: FileNotFoundError) -> bool:
    """Whether the store never said that the object is missing: fsspec's http says so of every failure."""
    cause = error.__cause__
    status = getattr(cause, "status", None)
    return isinstance(cause, OSError | TimeoutError) or (isinstance(status, int) and status not in (404, 410))


def _unanswered(source: str, error: Exception) -> EnvironmentFailure:
    said = redact(" ".join(str(error.__cause__ or error).split()))[:300]
    return EnvironmentFailure(
        f"{redact(source)!r} could not be looked up ({type(error).__name__}: {said}). Check credentials and network."
    )
