"""Weights from and to files: what is read is tensors alone, never code. Which model they fit is said here too."""

import hashlib
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskmill.models import remote
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.redaction import redact

MAX_BYTES = 16 * 2**30
"""Largest checkpoint that is read, also after unzipping."""

_SHOWN = 3
"""Names that an error line quotes."""

_INNER = ("model", "state_dict")
"""Where released checkpoints keep their tensors: SAN's, and those of MMSegmentation, such as DenseCLIP's."""


def load(location: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU.

    Args:
        location: a path, any fsspec URL, or `hf://OWNER/REPO/FILE` (`OWNER/REPO@REVISION` for a certain revision).
            `.safetensors`, or `.pth`, `.pt`, `.bin` as torch.save writes: name -> tensor, or
            {"model": {...}} or {"state_dict": {...}} as released.

    Raises:
        UsageError: no such file, or it holds anything but tensors.
        EnvironmentFailure: the store or the hub doesn't answer.
    """
    shown, suffix = _named(location)
    if location.startswith("hf://"):
        return _read(_from_hub(location), shown, suffix)
    if "://" not in location:
        return _read(Path(location), shown, suffix)
    with tempfile.TemporaryDirectory(prefix="maskmill-weights-") as scratch:
        local = Path(scratch, f"weights{suffix}")
        _download(location, local, shown)
        return _read(local, shown, suffix)


def headers(location: str) -> dict[str, Tensor] | None:
    """Names, shapes and types of a checkpoint's tensors, as tensors of the meta device: their data isn't read.

    Args:
        location: as for `load`.

    Returns:
        None for a file in a store, or one on the hub that no earlier download left here: `load` would fetch it first.

    Raises:
        UsageError, EnvironmentFailure: as `load`, for all that can be told without the data.
    """
    shown, suffix = _named(location)
    path: Path | None = Path(location)
    if location.startswith("hf://"):
        path = _cached(location)
    elif "://" in location:
        path = None
        with _fetching(shown):
            _check_remote_size(*remote.filesystem(location), shown)
    if path is None:
        return None
    return {name: tensor.to("meta") for name, tensor in _read(path, shown, suffix, device="meta").items()}


def _named(location: str) -> tuple[str, str]:
    """A location as it may be shown, and its suffix."""
    shown = redact(location)
    suffix = Path(shown).suffix.lower()
    if suffix not in (".safetensors", ".pth", ".pt", ".bin"):
        raise UsageError(f"--weights {shown!r}: expected a .safetensors, .pth or .pt file. Name one.")
    return shown, suffix


def save_safetensors(state: Mapping[str, Tensor], path: str | Path) -> None:
    """Write tensors as safetensors: the twin of a .pth, with the same hash."""
    from safetensors.torch import save_file

    place = Path(path)
    place.touch()
    # safetensors leaves a file that only its owner may read; the process's own mask decides here, as for other files.
    mode = place.stat().st_mode
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in sorted(state.items())}, str(place))
    place.chmod(mode)


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """sha256 over names in order, each with its shape, type and bytes; blind to the file's form and the device."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        kind = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name} {list(tensor.shape)} {kind}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def fitted(
    state: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    ignored: Iterable[str] = (),
    integers: Collection[str] = (),
    source: str,
) -> dict[str, Tensor]:
    """The tensors that a model has names for, checked to be all of them and of the right shapes.

    Args:
        state: what a checkpoint holds.
        shapes: the model's names and shapes.
        ignored: names that a checkpoint may hold without use.
        integers: those of the model's names that count something; the others are floating point.
        source: where the checkpoint comes from, for the error.

    Raises:
        UsageError: one line with how many names are missing, unexpected or of another shape, and the first of each.
    """
    surplus = set(ignored)
    missing = [name for name in shapes if name not in state]
    unexpected = [name for name in state if name not in shapes and name not in surplus]
    reshaped = [
        f"{name} {_kind(state[name])} instead of {list(shape)}"
        for name, shape in shapes.items()
        if name in state
        and not (tuple(state[name].shape) == tuple(shape) and state[name].is_floating_point() is (name not in integers))
    ]
    said = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for names, what in ((missing, "missing"), (unexpected, "unexpected"), (reshaped, "of another shape"))
        if names
    ]
    if said:
        raise UsageError(
            f"--weights {redact(source)!r}: does not fit the model: {'; '.join(said)}. Name their --model."
        )
    return {name: state[name] for name in shapes}


def _kind(tensor: Tensor) -> str:
    shape = str(list(tensor.shape))
    return shape if tensor.is_floating_point() else f"{shape} of {str(tensor.dtype).removeprefix('torch.')}"


def _read(path: Path, location: str, suffix: str, *, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of a local file; `location` is what the user called it. On the meta device no data is read."""
    if not path.is_file():
        raise UsageError(f"--weights {location!r}: no such file. Check the path.")
    _check_size(path.stat().st_size, location)
    # What safetensors loads is mapped into memory, and read when it is used.
    held = _read_safetensors(path, location) if suffix == ".safetensors" else _read_torch(path, location, device)
    for inner in _INNER:
        if isinstance(held, Mapping) and isinstance(held.get(inner), Mapping):
            held = held[inner]
    if not isinstance(held, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided
        for name, tensor in held.items()
    ):
        raise UsageError(
            f"--weights {location!r}: expected names and tensors, bare or under 'model' or 'state_dict'. "
            "Export a state dict."
        )
    return dict(held)


def _read_safetensors(path: Path, location: str) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(
            f"--weights {location!r}: not a whole safetensors file. Download or write it again."
        ) from error


def _read_torch(path: Path, location: str, device: str) -> object:
    try:
        if zipfile.is_zipfile(path):
            # torch.save stores its records uncompressed; a file that unzips to more than it may hold was made to.
            with zipfile.ZipFile(path) as archive:
                _check_size(sum(record.file_size for record in archive.infolist()), location)
        return torch.load(path, map_location=device, weights_only=True)
    except UsageError:
        raise
    except Exception as error:
        # Whatever a damaged or hostile pickle makes the reader raise: to the user it is one thing.
        raise UsageError(
            f"--weights {location!r}: cut short, or holds more than tensors, which could run code and is not read. "
            "Download it again, or convert it to .safetensors where you trust it."
        ) from error


def _check_size(size: int, location: str) -> None:
    if size > MAX_BYTES:
        raise UsageError(
            f"--weights {location!r}: {size} bytes, expected at most {MAX_BYTES}. Export the weights alone."
        )


def _download(url: str, local: Path, shown: str) -> None:
    with _fetching(shown):
        filesystem, path = remote.filesystem(url)
        _check_remote_size(filesystem, path, shown)
        filesystem.get_file(path, str(local))


def _check_remote_size(filesystem: Any, path: str, shown: str) -> None:
    size = filesystem.size(path)
    if size is not None:
        _check_size(size, shown)


@contextmanager
def _fetching(shown: str) -> Iterator[None]:
    """Raise what a store's driver raises as one line about the option."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"--weights {shown!r}: no such file. Check the URL.") from error
    except (ImportError, ValueError) as error:
        raise UsageError(
            f"--weights {shown!r}: no file system for this URL. Install its fsspec package, or fix it."
        ) from error
    except UsageError:
        raise
    except Exception as error:  # each store has its own family of errors; none of their texts is safe to show
        raise EnvironmentFailure(
            f"--weights {shown!r}: the store failed ({type(error).__name__}). Check credentials and network."
        ) from error


def _on_hub(location: str) -> tuple[str, str, str | None]:
    """OWNER/REPO, FILE and REVISION of a location on the Hugging Face hub."""
    owner, _, rest = location.removeprefix("hf://").partition("/")
    repository, _, filename = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not (owner and repository and filename):
        raise UsageError(
            f"--weights {location!r}: expected hf://OWNER/REPO/FILE, such as hf://Mendel192/san/san_vit_b_16.pth."
        )
    return f"{owner}/{repository}", filename, revision or None


def _cached(location: str) -> Path | None:
    """The copy of a hub file that an earlier download left here, if there is one; asks nobody."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repository, filename, revision = _on_hub(location)
    try:
        found = try_to_load_from_cache(repository, filename, revision=revision)
    except HFValidationError:
        return None  # `_from_hub` says what is wrong
    return Path(found) if isinstance(found, str) else None


def _from_hub(location: str) -> Path:
    """The local copy of a file on the Hugging Face hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    repository, filename, revision = _on_hub(location)
    download = "Download the file elsewhere and give its path"
    options = remote.options(location)  # endpoint and token are called alike here and in HfFileSystem
    try:
        return Path(hf_hub_download(repository, filename, revision=revision, **options))
    except LocalEntryNotFoundError as error:
        raise EnvironmentFailure(f"--weights {location!r}: huggingface.co can't be reached. {download}.") from error
    except GatedRepoError as error:
        raise EnvironmentFailure(
            f"--weights {location!r}: access is restricted. Run `hf auth login`, or: {download}."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError) as error:
        raise UsageError(
            f"--weights {location!r}: the hub has no such public file. Check owner, repository and name."
        ) from error
    except Exception as error:  # network and hub errors; their texts may quote request headers
        raise EnvironmentFailure(
            f"--weights {location!r}: the hub failed ({type(error).__name__}). Check the network, or: {download}."
        ) from error
