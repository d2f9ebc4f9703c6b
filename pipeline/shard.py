"""A shard as the store describes it: name, size, etag. Nothing of its bytes is read here."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import EnvironmentFailure
from pipeline.urls import canonical, filesystem, hash16, redact, stem

LIST_FROM = 32
"""From this many shards in one directory on, the directory is listed once; fewer are asked for one by one."""

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


def describe(source: str) -> Shard:
    """The shard as the store has it now; one request.

    Raises:
        UsageError: a refused scheme or a driver that isn't installed.
        EnvironmentFailure: the store refuses or doesn't answer; a missing object is a Shard, no error.
    """
    path = local_path(source)
    if path is not None:
        return _local(source, path)
    fs, inside = filesystem(source)
    try:
        # Listings are cached by fsspec; what was true when the glob was listed may not be now.
        fs.invalidate_cache(fs._parent(inside))
        info = fs.info(inside)
    except FileNotFoundError as error:
        if _unreachable(error):
            raise _unanswered(source, error) from error
        return _absent(source)
    except Exception as error:
        raise _unanswered(source, error) from error
    return _from_info(source, info)


def describe_many(sources: Sequence[str]) -> list[Shard]:
    """The shards in the order given, with one listing for a directory that many of them share.

    Raises:
        UsageError, EnvironmentFailure: as `describe`.
    """
    found: dict[str, Shard] = {}
    alone: list[str] = []
    for (address, parent), group in _by_parent(sources).items():
        if address and len(group) >= LIST_FROM:
            found.update(_from_listing(parent, group))
        else:
            alone.extend(group)
    with ThreadPoolExecutor(REQUESTS) as threads:
        found.update(zip(alone, threads.map(describe, alone), strict=True))
    return [found[source] for source in sources]


def _by_parent(sources: Sequence[str]) -> Mapping[tuple[str, str], list[str]]:
    """Sources by (scheme or "" if local or on the web, parent); the web has no listings worth the name."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source in dict.fromkeys(sources):
        url = canonical(source)
        scheme = url.split("://", 1)[0] if "://" in url else ""
        listed = scheme not in ("", "http", "https") and "?" not in source
        groups[(scheme if listed else "", url.rsplit("/", 1)[0])].append(source)
    return groups


def _from_listing(parent: str, group: Sequence[str]) -> dict[str, Shard]:
    fs, _ = filesystem(group[0])
    inside = fs._parent(filesystem(group[0])[1])
    try:
        fs.invalidate_cache(inside)
        infos = {str(info["name"]).lstrip("/"): info for info in fs.ls(inside, detail=True)}
    except FileNotFoundError:
        infos = {}
    except Exception as error:
        raise _unanswered(parent, error) from error
    shards = {}
    for source in group:
        info = infos.get(filesystem(source)[1].lstrip("/"))
        shards[source] = _absent(source) if info is None else _from_info(source, info)
    return shards


def _local(source: str, path: Path) -> Shard:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return _absent(source)
    except OSError as error:
        raise _unanswered(source, error) from error
    if not path.is_file():
        return _absent(source)
    return Shard(url=canonical(source), source=str(path), size=status.st_size, etag=_token(status))


def _token(status: os.stat_result) -> str:
    return f"{status.st_mtime_ns:x}-{status.st_size:x}"


def _absent(source: str) -> Shard:
    return Shard(url=canonical(source), source=source, missing=True)


def _from_info(source: str, info: Mapping[str, Any]) -> Shard:
    if info.get("type", "file") != "file":
        return _absent(source)
    size = info.get("size")
    return Shard(url=canonical(source), source=source, size=None if size is None else int(size), etag=_etag(info))


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
