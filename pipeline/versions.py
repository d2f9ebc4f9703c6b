"""Versions of maskmill and of the packages whose code shapes labels, for run.json and footers."""

from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("maskmill", "torch", "open_clip_torch", "timm", "pillow", "webdataset", "pyarrow")


def versions() -> dict[str, str]:
    """Version by package name; what isn't installed as a package (a job's working directory) says so."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
