"""Sizes on the command line, such as 256MB."""

import re

from maskmill.models.errors import UsageError

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def byte_size(option: str, text: str) -> int:
    """Bytes, 1 or more, of a number with KB, MB, GB or TB after it, or none.

    Args:
        option: whose value it is, for the error.
        text: what the user wrote.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"(\d{1,15})\s*([KMGT]B|)", text.strip().upper(), re.ASCII)
    size = 0 if found is None else int(found[1]) * _UNITS[found[2]]
    if size < 1:
        raise UsageError(f"{option} {text[:40]!r}: expected a number of bytes, such as 256MB or 1GB.")
    return size
