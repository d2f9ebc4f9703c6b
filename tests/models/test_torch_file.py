"""Files of torch.save's: the same bits as torch.load, whatever form and type; damaged and hostile ones are refused."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from maskmill.models import pickled, torch_file
from maskmill.models.pickled import PickleError, StandIn
from maskmill.models.torch_file import META, StoredTensor

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64,
)  # fmt: skip
MODERN = (torch.uint16, torch.uint32, torch.float8_e4m3fn, torch.float8_e5m2)

FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "stream"])


def views() -> dict[str, Tensor]:
    base = torch.arange(60.0).reshape(3, 4, 5)
    return {
        "whole": base, "part": base[1:, ::2, 3], "turned": base.permute(2, 0, 1), "wide": torch.ones(1).expand(7),
        "last": base.view(-1)[59:], "scalar": torch.tensor(2.5), "none": torch.empty(0, 3), "of none": base[3:],
        "parameter": torch.nn.Parameter(torch.rand(2, 2)), "channels last": torch.rand(2, 3, 4, 5).to(
            memory_format=torch.channels_last),
    }  # fmt: skip


def read(path: Path) -> dict[str, Tensor]:
    with torch_file.open_file(path) as file:
        assert isinstance(file.held, dict)
        return file.tensors({name: one for name, one in file.held.items() if isinstance(one, StoredTensor)})


def saved(path: Path, value: object, *, zipped: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@FORMS
def test_tensors_are_those_of_torch_load_bit_for_bit(tmp_path, zipped):
    made = {str(dtype): torch.randint(0, 2, (3, 5)).to(dtype) for dtype in DTYPES + (MODERN if zipped else ())}
    path = saved(tmp_path / "a.pth", made | views() | {"odd": torch.tensor([float("nan"), -0.0])}, zipped=zipped)
    theirs, ours = torch.load(path), read(path)
    assert list(theirs) == list(ours)
    for name, tensor in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (tensor.dtype, tensor.shape)
        assert ours[name].stride() == tensor.stride()
        assert bits(ours[name]) == bits(tensor)


@FORMS
def test_tensors_of_one_storage_share_memory(tmp_path, zipped):
    ours = read(saved(tmp_path / "a.pth", views(), zipped=zipped))
    ours["whole"].zero_()
    assert not ours["part"].any()
    assert ours["scalar"] == 2.5


def test_only_what_is_wanted_is_read(tmp_path):
    path = saved(tmp_path / "a.pth", {"small": torch.ones(2), "large": torch.ones(10)})
    with zipfile.ZipFile(path) as archive:
        damaged = next(info for info in archive.infolist() if info.file_size == 40 and "/data/" in info.filename)
        data = bytearray(path.read_bytes())
        data[data.index(torch.ones(10).numpy().tobytes(), damaged.header_offset)] ^= 1
    path.write_bytes(data)
    with torch_file.open_file(path) as file:
        assert isinstance(file.held, dict)
        assert torch.equal(file.tensors({"small": file.held["small"]})["small"], torch.ones(2))
        with pytest.raises(PickleError, match="damaged"):
            file.tensors({"large": file.held["large"]})


def test_tensors_without_plain_numbers_are_stand_ins(tmp_path):
    negative = torch.tensor([1j]).conj().imag
    made = {"meta": torch.empty(3, device="meta"), "sparse": torch.eye(2).to_sparse(), "negative": negative}
    with torch_file.open_file(saved(tmp_path / "a.pth", made)) as file:
        assert isinstance(file.held, dict)
        assert file.held["meta"] == StandIn(META)
        assert all(isinstance(one, StandIn) for one in file.held.values())


@FORMS
@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path, zipped, share):
    path = saved(tmp_path / "a.pth", {"a": torch.zeros(1_000), "b": torch.zeros(500)}, zipped=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(PickleError):
        read(path)


@FORMS
def test_every_flipped_byte_gives_tensors_or_one_kind_of_error(tmp_path, zipped):
    path = saved(tmp_path / "a.pth", {"a": torch.ones(3), "b": torch.ones(2, 2)}, zipped=zipped)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7 if zipped else 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xA5]) + whole[place + 1 :])
        try:
            read(path)
        except (PickleError, AssertionError):  # the assertion is this test's own: no dict any more
            continue


def forged(path: Path, data: bytes, storage: bytes = b"\0" * 16, copies: int = 1) -> Path:
    """An archive with this pickle and one storage, under several names."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", data)
        for key in range(copies):
            archive.writestr(f"x/data/{key}", storage)
    return path


def opcodes(value: object) -> bytes:
    return pickle.dumps(value, 2)[2:-1]


def tensor(offset: object = 0, size: object = (4,), stride: object = (1,), count: object = 4, key: str = "0") -> bytes:
    """A pickle of {"a": tensor} whose numbers may be anything."""
    storage = (
        b"(" + opcodes("storage") + b"ctorch\nFloatStorage\n" + b"".join(map(opcodes, (key, "cpu", count))) + b"tQ"
    )
    numbers = b"".join(map(opcodes, (offset, size, stride, False, {})))
    return b"\x80\x02}" + opcodes("a") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + numbers + b"tRs."


def test_the_forgery_reads_where_its_numbers_fit(tmp_path):
    assert torch.equal(read(forged(tmp_path / "a.pth", tensor()))["a"], torch.zeros(4))


@pytest.mark.parametrize(
    "numbers",
    [
        {"offset": 1}, {"size": (5,)}, {"stride": (2,)}, {"size": (2, 3), "stride": (2, 1)}, {"offset": -1},
        {"size": (-4,)}, {"stride": (-1,)}, {"size": (4, 1)}, {"size": 4}, {"size": ("4",)}, {"size": [4]},
        {"size": (2**62,), "stride": (0,)}, {"size": (10**400,)}, {"size": (1,) * 65, "stride": (1,) * 65},
        {"count": 3}, {"count": 5}, {"count": 2**40}, {"key": "1"}, {"key": "../0"}, {"key": "/etc/passwd"},
    ],
    ids=str,
)  # fmt: skip
def test_a_tensor_that_is_not_in_the_file_is_refused_before_memory_is_taken(tmp_path, numbers):
    with pytest.raises(PickleError):
        read(forged(tmp_path / "a.pth", tensor(**numbers)))


def test_a_pickle_above_the_bound_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled, "MAX_BYTES", 1_000)
    with pytest.raises(PickleError, match="1001 bytes in one record, expected at most 1000"):
        read(forged(tmp_path / "a.pth", b"N" * 1_001))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PK\x03\x04" * 100, b"\x80\x02N.", pickle.dumps({"a": 1})])
def test_what_is_no_file_of_torch_saves_is_refused(tmp_path, data):
    (tmp_path / "a.pth").write_bytes(data)
    with pytest.raises(PickleError):
        read(tmp_path / "a.pth")


def test_another_byte_order_is_refused(tmp_path):
    path = forged(tmp_path / "a.pth", tensor())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/byteorder", b"big")
    with pytest.raises(PickleError, match="byte order"):
        read(path)
