"""The key and the extension of a member's name, by webdataset's rule. Knows nothing of archives."""

import re

_META = re.compile(r"__[^/]*__($|/)")
"""Names that webdataset keeps for itself and leaves out of samples (tariterators.tar_file_iterator)."""

_SYSTEM = re.compile(
    r"(?:^|/)(?:__MACOSX|PaxHeaders?(?:\.[^/]*)?)/"
    r"|(?:^|/)(?:\.[^/]*|(?i:thumbs\.db|ehthumbs(?:_vista)?\.db|desktop\.ini))\Z"
)
"""What operating systems and archivers leave beside a user's files: hidden files, among them macOS' `._NAME` and
`.DS_Store`, and all below __MACOSX/; Windows' thumbnails and folder settings; pax headers unpacked as files."""


def split_name(name: str, *, first_version: bool = False) -> tuple[str, str] | tuple[None, None]:
    """Key with directories, and extension in lower case; (None, None) for a name that belongs to no sample.

    The extension starts at the first dot of the file's name: `a/b.seg.png` is key `a/b`, extension `seg.png`.
    Extensions such as `__bad__` would be read as webdataset's own fields (and hide the sample), so they belong to none;
    neither do files of an operating system, of which webdataset, and with `first_version` this, makes samples of their
    own.
    """
    from webdataset.tariterators import base_plus_ext

    if "." not in name.rpartition("/")[2] or _META.match(name):
        return None, None
    if not first_version and _SYSTEM.search(name):
        return None, None
    key, extension = base_plus_ext(name)
    if key is None:
        return None, None
    lower = str(extension).lower()
    if lower.startswith("__") and lower.endswith("__"):
        return None, None
    return str(key), lower
