"""Files on their way to their places: their names, and the removal of those that killed processes left behind."""

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from maskmill.models.scratch import holds, lock
from maskmill.pipeline.stores.names import canonical, scheme_of
from maskmill.pipeline.stores.urls import filesystem

LEFT_SECONDS = 3600.0
"""Age from which a copy that another machine wrote, or that can't be locked, was left by a process that was killed."""

UPLOAD_SECONDS = 24 * 3600.0
"""Age from which an upload in parts that was never completed was left by a process that was killed."""

_COPY = re.compile(r"\.[0-9a-f]{32}\.tmp")


def _machine() -> str:
    """Eight hexadecimal digits of the running system: an flock is known to its processes, and to no other machine's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        boot = uuid.uuid4().bytes
    return sha256(boot).hexdigest()[:8]


_MACHINE = _machine()


@contextmanager
def held_copy(folder: Path) -> Iterator[Path]:
    """An empty file in a folder that exists, locked while the `with` lasts and gone after it unless it was renamed.

    No reader's glob takes its name, which is short, whatever the target's: a file system may cut names at 255 bytes.
    """
    copy, descriptor = _made(folder)
    try:
        yield copy
    finally:
        # Removed while still held: nobody else may begin to remove it meanwhile.
        copy.unlink(missing_ok=True)
        os.close(descriptor)


def _made(folder: Path) -> tuple[Path, int]:
    while True:
        copy = folder / f".{_MACHINE}{uuid.uuid4().hex[8:]}.tmp"
        descriptor = os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)
        if holds(descriptor, copy):
            return copy, descriptor
        os.close(descriptor)


def leftovers(url: str) -> list[Path]:
    """Copies on their way to a place in a local folder, or left by a process that was killed; a store has none."""
    if not canonical(url).startswith("/"):
        return []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(filesystem(url)[1]) as entries:
        return [Path(entry.path) for entry in entries if _COPY.fullmatch(entry.name)]
    return []


def remove_leftovers(url: str) -> None:
    """Remove copies in a local folder that no process writes any more.

    A lock tells for those of this machine, and `LEFT_SECONDS` for the others.
    """
    for copy in leftovers(url):
        # Whatever it is that can't be removed, it harms nobody where it is.
        with contextlib.suppress(OSError):
            old = time.time() - copy.stat().st_mtime > LEFT_SECONDS
            if old or copy.name.startswith(f".{_MACHINE}"):
                _remove_unless_held(copy, old=old)


def _remove_unless_held(copy: Path, *, old: bool) -> None:
    descriptor = os.open(copy, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            free = lock(descriptor)
        except OSError:
            free = old
        if free:
            copy.unlink()
    finally:
        os.close(descriptor)


def remove_uploads(url: str) -> None:
    """Abort uploads in parts below an S3 prefix that began more than `UPLOAD_SECONDS` ago, as far as that is allowed.

    Only files of several GB go up in parts. What was sent of one that a kill cut off stands in no listing, and is paid
    for. Other stores drop such uploads by themselves.
    """
    if scheme_of(url) != "s3":
        return
    fs, path = filesystem(url)
    bucket, key, _ = fs.split_path(path)
    before = datetime.now(UTC) - timedelta(seconds=UPLOAD_SECONDS)
    # Many may write and not list uploads; a rule of the bucket may remove them all the same.
    with contextlib.suppress(Exception):
        found = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{key.rstrip('/')}/")
        for upload in found.get("Uploads", []):
            if upload["Initiated"] < before:
                fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
