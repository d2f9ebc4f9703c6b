"""The tensors of a file that torch.save wrote, without running anything in it. Which of them are weights is not asked.

Both forms are read: the zip archive (data.pkl, and a record a storage), and the stream of pickles and storages of
PyTorch before 1.6. Source of the formats: torch/serialization.py and torch/_utils.py of PyTorch.
"""

import io
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import torch
from torch import Tensor

from maskmill.models import pickled
from maskmill.models.pickled import Calls, Global, PickleError, StandIn

META = "a tensor without data"
"""Name of the stand-in for a tensor of the meta device: a shape without numbers."""

_ZIP_MAGIC = b"PK\x03\x04"
_STREAM_MAGIC = 0x1950A86A20F9469CFC6C

_MOST_DIMENSIONS, _LARGEST = 64, 2**48
"""Bounds of a shape and its numbers, so that arithmetic on them stays cheap."""

_CHUNK = 16 * 2**20

_STORAGES: Mapping[str, torch.dtype] = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128, "Untyped": torch.uint8,
}  # fmt: skip
"""Storage class, as pickles name it, without `Storage` -> type of its elements."""

_DTYPES: Mapping[str, torch.dtype] = {
    str(dtype): dtype
    for dtype in (
        *_STORAGES.values(), torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storage:
    """Numbers in a file that tensors are views of."""

    key: str
    """Its name in the file."""

    dtype: torch.dtype
    """Type of its elements."""

    count: int
    """Number of its elements."""

    @property
    def nbytes(self) -> int:
        """Its size."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that is still in its file."""

    storage: Storage
    """What it is a view of."""

    dtype: torch.dtype
    """Type of its elements."""

    offset: int
    """Elements of the storage before its first."""

    size: tuple[int, ...]
    """Its shape."""

    stride: tuple[int, ...]
    """Elements between neighbours, by dimension."""

    @property
    def nbytes(self) -> int:
        """Its size once it is contiguous."""
        return math.prod(self.size) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Elements of the storage up to its last."""
        if 0 in self.size:
            return 0
        return self.offset + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True)) + 1


@dataclass(frozen=True, slots=True)
class TorchFile:
    """An open file of torch.save's."""

    held: object
    """What was saved: dicts by string, lists, tuples, numbers and texts; `StoredTensor`s; `StandIn`s for the rest."""

    nbytes: int
    """Size of the file."""

    find: Callable[[Storage], AbstractContextManager[IO[bytes]]]
    """Opens the bytes of a storage."""

    def tensors(self, wanted: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
        """Read tensors of `held`, on the CPU; those of one storage share memory, as they did when they were saved.

        Raises:
            PickleError: the file is cut short or damaged.
        """
        storages = {stored.storage.key: stored.storage for stored in wanted.values()}
        if sum(storage.nbytes for storage in storages.values()) > self.nbytes:
            raise PickleError("cut short")
        read = {key: self._read(storage) for key, storage in storages.items()}
        found = {}
        for name, stored in wanted.items():
            held = read[stored.storage.key]
            elements = held[: len(held) - len(held) % stored.dtype.itemsize].view(stored.dtype)
            if stored.end > len(elements):
                raise PickleError(f"tensor {name[:80]!r} reaches beyond its storage")
            found[name] = elements.as_strided(stored.size, stored.stride, stored.offset)
        return found

    def _read(self, storage: Storage) -> Tensor:
        """The bytes of a storage, uint8 [bytes]."""
        read = torch.empty(storage.nbytes, dtype=torch.uint8)
        view = read.numpy().data
        with _damage(), self.find(storage) as source:
            for start in range(0, storage.nbytes, _CHUNK):
                stop = min(start + _CHUNK, storage.nbytes)
                view[start:stop] = source.read(stop - start)
        return read


@contextmanager
def open_file(path: Path) -> Iterator[TorchFile]:
    """A file of torch.save's; its pickle is read, and none of its tensors yet.

    Raises:
        PickleError: it isn't one, is cut short, or passes a bound of `pickled.py`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
            file.seek(0)
            yield _stream(file, size)
            return
        with _damage():
            archive = zipfile.ZipFile(file)
        with archive:
            yield _archive(archive, size)


@contextmanager
def _damage() -> Iterator[None]:
    """What a damaged archive makes the standard library raise, as `PickleError`."""
    try:
        yield
    except PickleError:
        raise
    except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError, EOFError) as error:
        raise PickleError(f"cut short or damaged ({type(error).__name__})") from error


def _archive(archive: zipfile.ZipFile, size: int) -> TorchFile:
    names = set(archive.namelist())
    folders = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise PickleError("an archive, but none of torch.save's")
    (folder,) = folders
    if f"{folder}constants.pkl" in names:
        raise PickleError("a TorchScript archive and no state dict")

    def opened(name: str, least: int, most: int) -> IO[bytes]:
        info = archive.getinfo(f"{folder}{name}")
        if info.compress_type != zipfile.ZIP_STORED:  # torch.save compresses nothing: memory is never above the file's
            raise PickleError("compressed")
        if not least <= info.file_size <= most:
            raise PickleError(f"{info.file_size} bytes in one record, expected at most {most}")
        return archive.open(info)

    def record(name: str, most: int) -> bytes:
        with _damage(), opened(name, 0, most) as source:
            return source.read()

    def find(storage: Storage) -> AbstractContextManager[IO[bytes]]:
        return opened(f"data/{storage.key}", storage.nbytes, storage.nbytes)

    if f"{folder}byteorder" in names and record("byteorder", 16) != b"little":
        raise PickleError("written on a machine of other byte order")
    held = pickled.read(io.BytesIO(record("data.pkl", pickled.MAX_BYTES)), _CALLS, _storage)
    return TorchFile(held=held, nbytes=size, find=find)


def _stream(file: BinaryIO, size: int) -> TorchFile:
    """The form before PyTorch 1.6: pickles, then each storage behind its number of elements (int64)."""
    head = io.BytesIO(file.read(pickled.MAX_BYTES))
    if pickled.read(head, {}, _storage) != _STREAM_MAGIC:
        raise PickleError("a pickle, but none of torch.save's")
    pickled.read(head, {}, _storage)  # the format's version
    machine = pickled.read(head, {}, _storage)
    if isinstance(machine, dict) and machine.get("little_endian") is False:
        raise PickleError("written on a machine of other byte order")
    storages: dict[str, Storage] = {}

    def noted(key: object) -> object:
        found = _storage(key)
        return storages.setdefault(found.key, found) if isinstance(found, Storage) else found

    held = pickled.read(head, _CALLS, noted)
    keys = pickled.read(head, {}, _storage)
    places: dict[Storage, int] = {}
    place = head.tell()
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in storages:
            raise PickleError("a storage that no tensor is of")
        places[storages[key]] = place + 8
        place += 8 + storages[key].nbytes
    if place > size:
        raise PickleError("cut short")

    def find(storage: Storage) -> AbstractContextManager[IO[bytes]]:
        file.seek(places[storage] - 8)
        if int.from_bytes(file.read(8), "little") != storage.count:
            raise PickleError("a storage of another size")
        return nullcontext(file)

    return TorchFile(held=held, nbytes=size, find=find)


def _storage(key: object) -> object:
    """What a persistent id stands for."""
    match key:
        case ("storage", Global(name), str(text), _, int(count), *rest) if not any(rest):  # rest: a view, long gone
            kind = name.rpartition(".")[2].removesuffix("Storage")
            if kind in _STORAGES and 0 <= count < _LARGEST:
                return Storage(text, _STORAGES[kind], count)
            return StandIn(name)
    return StandIn("object")


def _tensor(arguments: tuple[Any, ...]) -> object:
    """_rebuild_tensor(storage, offset, size, stride), or _v2 with more behind."""
    storage, offset, size, stride, *rest = arguments
    return _view(storage, None, (offset, size, stride), rest[2:])


def _tensor_of_type(arguments: tuple[Any, ...]) -> object:
    """_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)."""
    storage, offset, size, stride, _, _, dtype, *rest = arguments
    return _view(storage, dtype, (offset, size, stride), rest)


def _view(storage: object, dtype: object, place: tuple[Any, Any, Any], metadata: list[Any]) -> object:
    offset, size, stride = place
    # Metadata says that a tensor is to be negated or conjugated when it is read, which no weights are.
    if not isinstance(storage, Storage) or any(metadata):
        return StandIn("a tensor of another kind")
    if dtype is not None and not (isinstance(dtype, Global) and dtype.name in _DTYPES):
        return StandIn("a tensor of another type")
    element = _DTYPES[dtype.name] if isinstance(dtype, Global) else storage.dtype
    if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= _MOST_DIMENSIONS):
        raise PickleError("a tensor without a shape")
    if not all(isinstance(number, int) and 0 <= number < _LARGEST for number in (offset, *size, *stride)):
        raise PickleError("a tensor of an impossible shape")
    return StoredTensor(storage=storage, dtype=element, offset=offset, size=size, stride=stride)


def _subclass(arguments: tuple[Any, ...]) -> object:
    """_rebuild_from_type_v2(function, type, arguments, state): a tensor with attributes."""
    function, _, inner, _ = arguments
    known = _TENSORS.get(function.name) if isinstance(function, Global) else None
    return StandIn("a tensor of another kind") if known is None else known(inner)


_TENSORS: Calls = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
    "torch._utils._rebuild_meta_tensor_no_storage": lambda _: StandIn(META),
}

_CALLS: Calls = {
    **_TENSORS,
    "torch._utils._rebuild_parameter": lambda arguments: arguments[0],
    "torch._utils._rebuild_parameter_with_state": lambda arguments: arguments[0],
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "collections.OrderedDict": lambda arguments: StandIn("collections.OrderedDict") if arguments else {},
    "collections.defaultdict": lambda _: {},
}
"""What is put in the place of PyTorch's functions that rebuild tensors, whose names are part of its file format."""
