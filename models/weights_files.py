"""Weights from where they lie: a store, the hub, or an earlier download. What is in them is not read here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from maskmill.models import remote
from maskmill.models.errors import EnvironmentFailure, UsageError

MAX_BYTES = 16 * 2**30
"""Largest checkpoint that is read, also after unzipping."""


def check_size(size: int, shown: str) -> None:
    """Refuse more bytes than a checkpoint may have.

    Args:
        size: in bytes.
        shown: the option and its value, for the error.
    """
    if size > MAX_BYTES:
        raise UsageError(f"{shown}: {size} bytes, expected at most {MAX_BYTES}. Export the weights alone.")


def download(url: str, local: Path, shown: str) -> None:
    """Fetch a file from a store.

    Raises:
        UsageError: no such file, too large, or no file system for its URL.
        EnvironmentFailure: the store failed.
    """
    with _fetching(shown):
        filesystem, path = remote.filesystem(url)
        _check_remote_size(filesystem, path, shown)
        filesystem.get_file(path, str(local))


def check_remote(url: str, shown: str) -> None:
    """Ask a store for a file's size, and refuse what `download` would refuse for it."""
    with _fetching(shown):
        filesystem, path = remote.filesystem(url)
        _check_remote_size(filesystem, path, shown)


def _check_remote_size(filesystem: Any, path: str, shown: str) -> None:
    size = filesystem.size(path)
    if size is not None:
        check_size(size, shown)


@contextmanager
def _fetching(shown: str) -> Iterator[None]:
    """Raise what a store's driver raises as one line about the option."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"{shown}: no such file. Check the URL.") from error
    except (ImportError, ValueError) as error:
        raise UsageError(f"{shown}: no file system for this URL. Install its fsspec package, or fix it.") from error
    except UsageError:
        raise
    except Exception as error:  # each store has its own family of errors; none of their texts is safe to show
        raise EnvironmentFailure(
            f"{shown}: the store failed ({type(error).__name__}). Check credentials and network."
        ) from error


def cached(location: str, option: str) -> Path | None:
    """The copy of a hub file that an earlier download left here, if there is one; without a request."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repository, filename, revision = _on_hub(location, option)
    try:
        found = try_to_load_from_cache(repository, filename, revision=revision)
    except HFValidationError:
        return None  # `from_hub` says what is wrong
    return Path(found) if isinstance(found, str) else None


def _on_hub(location: str, option: str) -> tuple[str, str, str | None]:
    """OWNER/REPO, FILE and REVISION of a location on the Hugging Face hub."""
    owner, _, rest = location.removeprefix("hf://").partition("/")
    repository, _, filename = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not (owner and repository and filename):
        raise UsageError(
            f"{option} {location!r}: expected hf://OWNER/REPO/FILE, such as hf://Mendel192/san/san_vit_b_16.pth."
        )
    return f"{owner}/{repository}", filename, revision or None


def from_hub(location: str, option: str) -> Path:
    """The local copy of a file on the Hugging Face hub, downloaded if there is none.

    Raises:
        UsageError: the hub has no such file.
        EnvironmentFailure: it can't be reached, or refuses.
    """
    shown = f"{option} {location!r}"
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, filename, revision = _on_hub(location, option)
    download = "Download the file elsewhere and give its path"
    options = remote.options(location)  # endpoint and token are called alike here and in HfFileSystem
    try:
        return Path(hf_hub_download(repository, filename, revision=revision, **options))
    except LocalEntryNotFoundError as error:
        raise EnvironmentFailure(f"{shown}: huggingface.co can't be reached. {download}.") from error
    except GatedRepoError as error:
        raise EnvironmentFailure(f"{shown}: access is restricted. Run `hf auth login`, or: {download}.") from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError) as error:
        raise UsageError(f"{shown}: the hub has no such public file. Check owner, repository and name.") from error
    except Exception as error:  # network and hub errors; their texts may quote request headers
        raise EnvironmentFailure(
            f"{shown}: the hub failed ({type(error).__name__}). Check the network, or: {download}."
        ) from error
