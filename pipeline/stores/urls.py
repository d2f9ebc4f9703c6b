"""URLs become file systems: what is refused, which driver opens it, with which options. Reads no file."""

import re
import shlex
from typing import Any

from maskmill.models.errors import UsageError
from maskmill.models.redaction import redact, userinfo, without_userinfo
from maskmill.pipeline.stores import stores
from maskmill.pipeline.stores.names import canonical, hash16, local_name, scheme_of, stem

__all__ = ["canonical", "check", "filesystem", "hash16", "redact", "stem"]

MAX_ARGUMENT = 4096
"""Most characters of one name."""

_DRIVERS = {
    "s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "adl": "adlfs", "hf": "huggingface_hub", "http": "aiohttp",
    "https": "aiohttp", "sftp": "paramiko", "ssh": "paramiko", "oss": "ossfs", "smb": "smbprotocol", "hdfs": "pyarrow",
    "oci": "ocifs", "webhdfs": "requests", "tos": "tosfs",
}  # fmt: skip
"""Scheme -> the package that fsspec needs for it."""

_SCHEMES = frozenset({*_DRIVERS, "file", "memory", "ftp"})
"""Stores of plain files. Schemes that wrap other files, run programs or hold their data in the name are left out."""

_WITH_USERS = frozenset({"http", "https", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs"})
"""Stores that take a user, and perhaps a password, from their URLs."""

_COLON = re.compile(r"(pipe|exec|sh|bash|cmd|data|python|javascript|file|local):(?!//)", re.IGNORECASE)


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, with the options that `stores.use` gave its prefix, and the path inside it.

    Raises:
        UsageError: a scheme that isn't a store of files, or a driver that isn't installed.
    """
    from fsspec.core import url_to_fs

    check(url)
    path = local_name(url)
    scheme = scheme_of(url)
    try:
        if path is not None:
            found: tuple[Any, str] = url_to_fs("file://" + path)
        else:
            found = url_to_fs(f"{scheme}://{url.split('://', 1)[1]}", **stores.driver_options(url))
            if scheme == "s3":
                found[0].retries = stores.S3_RETRIES
    except ImportError:
        driver = _DRIVERS.get(scheme or "", "the driver that fsspec names for it")
        raise UsageError(
            f"{redact(url)!r}: {scheme}:// needs a driver that is not installed. Run: pip install {driver}"
        ) from None
    except ValueError as error:
        raise UsageError(f"{redact(url)!r}: fsspec cannot open it ({redact(str(error))}).") from None
    return found


def quoted(url: str) -> str:
    """A URL or path without credentials as a word of a shell, for a command that a message offers."""
    return shlex.quote(redact(url))


def check(name: str) -> None:
    """Refuses what names no file in a store: programs, wrappers, unknown schemes, credentials where none belong."""
    shown = repr(redact(without_userinfo(name)[:200]))
    if not 0 < len(name) <= MAX_ARGUMENT or "\x00" in name or any("\ud800" <= c <= "\udfff" for c in name):
        raise UsageError(f"name {shown}: expected 1 to {MAX_ARGUMENT} characters of UTF-8, no NUL. Rename it.")
    if "::" in name and "://" in name:
        raise UsageError(f"{shown}: chained URLs are not opened. Name the file itself; it is spooled to --scratch.")
    if _COLON.match(name):
        raise UsageError(
            f"{shown}: not a file or a URL; nothing is run to read data. For a local file write ./{name[:40]}"
        )
    scheme = scheme_of(name)
    if scheme is None:
        return
    if scheme not in _SCHEMES:
        known = ", ".join(sorted(_SCHEMES - {"memory"}))
        raise UsageError(f"{shown}: unknown scheme {scheme}://; known are {known}. Use one of these.")
    user = userinfo(name)
    if user and scheme not in _WITH_USERS:
        raise UsageError(
            f"{shown}: credentials in a {scheme}:// URL are not used. Set them in the environment and name the bucket."
        )
    plain = name.replace(user, "", 1)
    if re.search(r"[\s/?#'\"]", user) or userinfo(plain):
        raise UsageError(
            f"{shown}: a ':' and an '@' after it: in a password write / as %2F and other such characters as %XX; in a "
            "path write @ as %40."
        )
    host = plain.split("://", 1)[1].split("/", 1)[0]
    if re.search(r"[\s'\"<>]", host):
        raise UsageError(f"{shown}: no host or bucket has such a name. Check the quotes and spaces.")
