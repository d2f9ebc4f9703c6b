"""One PUT of a file into an object store, kept from replacing what stands there. File systems are publish.py's."""

import base64
import errno
import hashlib
import time
from pathlib import Path
from typing import Any

from maskmill.pipeline.stores.errors import OutputError
from maskmill.pipeline.stores.urls import canonical, filesystem, redact

ONE_PUT = 5 * 2**30
"""Bytes that S3 takes in one PUT; a larger file goes up in parts, which appear all at once too."""

CONFLICTS = 5
"""How often a PUT is tried again that S3 turned away because another for the same key was under way."""

_READ = 8 * 2**20


def put(local: Path, url: str, *, overwrite: bool, remove_damaged: bool = True) -> bool:
    """Store a local file as one object.

    S3, Google and Azure refuse by themselves to replace an object (If-None-Match, if-generation-match). Other stores
    are asked first, and two processes at once may then replace a whole file by another whole file.

    A PUT of which only the answer was lost is sent again by the driver and is told that the object exists: so an
    object with these very bytes is ours.

    Args:
        local: the file.
        url: its place.
        overwrite: replace what stands there.
        remove_damaged: remove what came out otherwise than it was sent. Where a store can't refuse to replace an object
            that may also be what another process put there meanwhile.

    Returns:
        Whether these bytes stand there now; False if others do and `overwrite` or `remove_damaged` is False.

    Raises:
        OutputError: something else came out than was sent; it was removed.
        Exception: whatever the driver raises.
    """
    fs, path = filesystem(url)
    scheme = canonical(url).partition("://")[0]
    size = local.stat().st_size
    for attempt in range(CONFLICTS):
        try:
            if not overwrite and scheme not in _CREATE and fs.exists(path):
                raise FileExistsError(path)
            fs.put_file(str(local), path, **_options(scheme, size, create=not overwrite))
            break
        except Exception as error:
            if overwrite:
                raise
            if _conflicts(error) and attempt < CONFLICTS - 1:
                time.sleep(0.1 * 2**attempt)
            elif _unknown(error):
                # A store that speaks S3 and not this part of it.
                scheme = ""
            elif _exists(error):
                return _stands(fs, path, local)
            else:
                raise
    if not _arrived(fs, path, local):
        if not remove_damaged:
            return False
        fs.rm_file(path)
        raise OutputError(f"{redact(url)} can't be written: the store holds other bytes than were sent. Run again.")
    return True


def _options(scheme: str, size: int, *, create: bool) -> dict[str, Any]:
    """Keyword arguments of the driver's put_file. Sources: s3fs, gcsfs, adlfs, fsspec (`mode="create"`)."""
    options: dict[str, Any] = {}
    if create and scheme in _CREATE:
        options["mode"] = "create"
    if scheme == "s3" and size < ONE_PUT:
        # s3fs sends parts from twice its chunk size on.
        options["chunksize"] = ONE_PUT
    if scheme == "gs":
        options["consistency"] = "md5"
    return options


_CREATE = ("s3", "gs", "az")
"""Stores that can refuse to replace an object."""


def _arrived(fs: Any, path: str, local: Path) -> bool:
    """Whether the store tells nothing else of an object than that it is the file that was sent."""
    size, digest = _told(fs, path)
    if size not in (None, local.stat().st_size):
        return False
    if digest is None or digest == _md5(local):
        return True
    # Some stores' ETags look like an MD5 and are none; what is there decides.
    return _has_own_key(fs, path) or _equal(fs, path, local)


def _stands(fs: Any, path: str, local: Path) -> bool:
    """Whether the object has the file's bytes; they are read where the store can't tell."""
    size, digest = _told(fs, path)
    if size not in (None, local.stat().st_size):
        return False
    return (digest is not None and digest == _md5(local)) or _equal(fs, path, local)


def _told(fs: Any, path: str) -> tuple[int | None, bytes | None]:
    """Size and MD5 of an object, as far as its store tells without sending it."""
    fs.invalidate_cache(path)
    info = fs.info(path)
    size = info.get("size")
    etag, md5, settings = info.get("ETag"), info.get("md5Hash"), info.get("content_settings")
    digest: bytes | None = None
    if isinstance(etag, str) and _is_md5(etag.strip('"')):
        digest = bytes.fromhex(etag.strip('"'))
    elif isinstance(md5, str):
        digest = base64.b64decode(md5)
    elif content := getattr(settings, "content_md5", None):
        digest = bytes(content)
    return None if size is None else int(size), digest


def _equal(fs: Any, path: str, local: Path) -> bool:
    size = local.stat().st_size
    with local.open("rb") as file:
        for start in range(0, size, _READ):
            mine = file.read(_READ)
            if fs.cat_file(path, start=start, end=start + len(mine)) != mine:
                return False
    return True


def _is_md5(tag: str) -> bool:
    return len(tag) == 32 and all(digit in "0123456789abcdef" for digit in tag)


def _has_own_key(fs: Any, path: str) -> bool:
    """Whether an S3 object's ETag says nothing of its bytes (SSE-KMS, SSE-C)."""
    if not hasattr(fs, "call_s3"):
        return False
    bucket, key, _ = fs.split_path(path)
    head = fs.call_s3("head_object", Bucket=bucket, Key=key)
    return str(head.get("ServerSideEncryption", "")).startswith("aws:kms") or "SSECustomerAlgorithm" in head


def _md5(local: Path) -> bytes:
    with local.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()


def _code(error: BaseException) -> str:
    """S3's word for what went wrong, from the error that the driver's own came from."""
    response = getattr(error.__cause__, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _exists(error: Exception) -> bool:
    return isinstance(error, FileExistsError) or _code(error) in ("PreconditionFailed", "412")


def _conflicts(error: Exception) -> bool:
    return _code(error) in ("ConditionalRequestConflict", "409")


def _unknown(error: Exception) -> bool:
    return _code(error) in ("NotImplemented", "501") or getattr(error, "errno", None) == errno.ENOSYS
