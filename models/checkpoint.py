"""Weights from and to files: what is read is tensors alone, never code. Which model they fit is said here too."""

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from maskmill.models import torch_file, weights_files
from maskmill.models.errors import UsageError
from maskmill.models.pickled import PickleError, StandIn
from maskmill.models.redaction import redact_url
from maskmill.models.scratch import scratch_folder
from maskmill.models.torch_file import StoredTensor

_SHOWN, _SHOWN_CHARACTERS = 3, 80
"""Names that an error line quotes, and characters of one."""

_INNER = ("model", "state_dict", "model_state_dict", "module", "net", "model_ema")
"""Where checkpoints keep their tensors, the likeliest first: SAN's, those of MMSegmentation, such as DenseCLIP's, and
those that PyTorch's own examples, DeepSpeed and timm write."""

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")

_WRAPPERS, _WRAPPED = ("module.", "_orig_mod.", "model."), 3
"""What DistributedDataParallel, torch.compile and Lightning put before every name; so many of them are taken off."""

_log = logging.getLogger(__name__)


def load(location: str, *, option: str = "--weights") -> dict[str, Tensor]:
    """The tensors of a checkpoint, on the CPU.

    What else a .pth holds (an optimiser's state, arguments, numpy's arrays) is not read, nothing in it is executed, and
    a warning in the log names it. A prefix that all names share, such as `module.`, is taken off.

    Args:
        location: a path, any fsspec URL, or `hf://OWNER/REPO/FILE` (`OWNER/REPO@REVISION` for a certain revision).
            `.safetensors`, or `.pth`, `.pt`, `.bin`, `.ckpt` as torch.save writes: name -> tensor, or
            {"model": {...}} or {"state_dict": {...}} as released.
        option: what named it, for errors.

    Raises:
        UsageError: no such file, or it holds no tensors by name.
        EnvironmentFailure: the store or the hub doesn't answer.
    """
    shown, suffix = _named(location, option)
    if location.startswith("hf://"):
        return _read(weights_files.from_hub(location, option), shown, suffix, option)
    if "://" not in location:
        return _read(Path(location), shown, suffix, option)
    with scratch_folder() as scratch:
        local = scratch / f"weights{suffix}"
        weights_files.download(location, local, f"{option} {shown!r}")
        return _read(local, shown, suffix, option)


def headers(location: str, *, option: str = "--weights") -> dict[str, Tensor] | None:
    """Names, shapes and types of a checkpoint's tensors, as tensors of the meta device: their data isn't read.

    Args:
        location: as for `load`.
        option: as for `load`.

    Returns:
        None for a file in a store, or one on the hub that no earlier download left here: `load` would fetch it first.

    Raises:
        UsageError, EnvironmentFailure: as `load`, for all that can be seen without the data.
    """
    shown, suffix = _named(location, option)
    path: Path | None = Path(location)
    if location.startswith("hf://"):
        path = weights_files.cached(location, option)
    elif "://" in location:
        weights_files.check_remote(location, f"{option} {shown!r}")
        path = None
    if path is None:
        return None
    return {name: tensor.to("meta") for name, tensor in _read(path, shown, suffix, option, data=False).items()}


def _named(location: str, option: str) -> tuple[str, str]:
    """A location as it may be shown, and its suffix."""
    shown = redact_url(location)
    suffix = Path(shown).suffix.lower()
    if suffix not in _SUFFIXES:
        raise UsageError(f"{option} {shown!r}: expected a file that ends with {', '.join(_SUFFIXES)}. Name one.")
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
    option: str = "--weights",
) -> dict[str, Tensor]:
    """The tensors that a model has names for, checked to be all of them, of the right shapes, and finite.

    Args:
        state: what a checkpoint holds; of tensors on the meta device only names, shapes and types are checked.
        shapes: the model's names and shapes.
        ignored: names that a checkpoint may hold without use.
        integers: those of the model's names that count something; the others are floating point.
        source: where the checkpoint comes from, for the error.
        option: what named it, for the error.

    Raises:
        UsageError: one line with how many names are missing, unexpected, of another shape or not finite, and the first
            of each.
    """
    shown = f"{option} {redact_url(source)!r}"
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
        f"{len(names)} {what} ({_listed(names)})"
        for names, what in ((missing, "missing"), (unexpected, "unexpected"), (reshaped, "of another shape"))
        if names
    ]
    if said:
        raise UsageError(f"{shown}: does not fit the model: {'; '.join(said)}. Name their --model.")
    numbers = {name: state[name] for name in shapes if name not in integers and not state[name].is_meta}
    # Models compute in 32 bits, beyond which a larger number is infinite.
    infinite = [name for name, tensor in numbers.items() if not bool(tensor.float().isfinite().all())]
    if infinite:
        raise UsageError(
            f"{shown}: {len(infinite)} tensors hold NaN or infinity ({_listed(infinite)}). Take an earlier checkpoint."
        )
    return {name: state[name] for name in shapes}


def _kind(tensor: Tensor) -> str:
    shape = str(list(tensor.shape))
    return shape if tensor.is_floating_point() else f"{shape} of {str(tensor.dtype).removeprefix('torch.')}"


def _read(path: Path, location: str, suffix: str, option: str, *, data: bool = True) -> dict[str, Tensor]:
    """The tensors of a local file; `location` is what the user called it. Without `data` they may be on `meta`."""
    shown = f"{option} {location!r}"
    if not path.is_file():
        raise UsageError(f"{shown}: no such file. Check the path.")
    weights_files.check_size(path.stat().st_size, shown)
    if suffix == ".safetensors":
        return _unprefixed(_read_safetensors(path, shown))  # mapped into memory, and read when it is used
    try:
        with torch_file.open_file(path) as file:
            chosen, left_out = _state_dict(file.held, shown)
            weights_files.check_size(sum(stored.nbytes for stored in chosen.values()), shown)
            read = file.tensors(chosen) if data else {name: _without_data(stored) for name, stored in chosen.items()}
    except (PickleError, OSError) as error:
        raise UsageError(
            f"{shown}: no whole file of torch.save's ({error}). Download it again, or save a state dict."
        ) from error
    if left_out and data:
        _log.warning("%s: only tensors are read, left out: %s", shown, _listed(left_out))
    return _unprefixed(read)


def _without_data(stored: StoredTensor) -> Tensor:
    return torch.empty(stored.size, dtype=stored.dtype, device="meta")


def _state_dict(held: object, shown: str) -> tuple[dict[str, StoredTensor], list[str]]:
    """The tensors of a state dict by name, and what else was saved beside and among them."""
    left_out: list[str] = []
    for _ in _INNER:
        inner = next((name for name in _INNER if isinstance(held, dict) and _holds_tensors(held.get(name))), None)
        if inner is not None and isinstance(held, dict):
            left_out += [_described(name, value) for name, value in held.items() if name != inner]
            held = held[inner]
    items = held if isinstance(held, dict) else {}
    tensors = {name: value for name, value in items.items() if isinstance(value, StoredTensor)}
    if empty := [name for name, value in items.items() if value == StandIn(torch_file.META)]:
        raise UsageError(
            f"{shown}: {len(empty)} tensors without data ({_listed(empty)}): they were saved on the meta device. "
            "Save the model with its weights loaded."
        )
    if not tensors:
        raise UsageError(
            f"{shown}: expected names and tensors, bare or under {' or '.join(map(repr, _INNER))}"
            f"{f', found a whole {_listed([held.name])}' if isinstance(held, StandIn) else ''}. Save a state_dict()."
        )
    return tensors, left_out + [_described(name, value) for name, value in items.items() if name not in tensors]


def _holds_tensors(value: object) -> bool:
    return isinstance(value, dict) and any(
        isinstance(one, StoredTensor) or one == StandIn(torch_file.META) or (name in _INNER and isinstance(one, dict))
        for name, one in value.items()
    )


def _described(name: str, value: object) -> str:
    return f"{name} ({value.name})" if isinstance(value, StandIn) else name


def _listed(names: Sequence[str]) -> str:
    """The first of some names, which come from a file: without what a terminal would act on, and cut."""
    shown = [name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}..." for name in names[:_SHOWN]]
    return ", ".join([*(repr(name)[1:-1] for name in shown), *(["..."] if len(names) > _SHOWN else [])])


def _unprefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without what a wrapper put before each name."""
    for _ in range(_WRAPPED):
        prefix = next((one for one in _WRAPPERS if state and all(name.startswith(one) for name in state)), "")
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _read_safetensors(path: Path, shown: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(f"{shown}: not a whole safetensors file. Download or write it again.") from error
