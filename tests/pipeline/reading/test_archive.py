import io
import tarfile
from pathlib import Path

import pytest
import webdataset

from maskmill.pipeline.reading.archive import ArchiveReport, check_archive
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.limits import ReadLimits
from tests import hostile


def check(folder: Path, data: bytes, **limits: object) -> ArchiveReport:
    path = folder / "shard.tar"
    path.write_bytes(data)
    return check_archive(path, ReadLimits(**limits))


def reason(folder: Path, data: bytes, **limits: object) -> str:
    with pytest.raises(ShardError) as raised:
        check(folder, data, **limits)
    return raised.value.reason


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_tarfile_sees(tmp_path: Path, format: int) -> None:
    long = "d" * 90 + "/" + "n" * 90 + ".jpg"
    names = ["a.jpg", "ü/b.txt", long, "c.json"] + ["n" * 300 + ".png"] * (format != tarfile.USTAR_FORMAT)
    data = hostile.tar([(name, name.encode() * 100) for name in names], format=format)
    report = check(tmp_path, data)
    assert [entry.name for entry in report.entries] == names
    assert all(data[e.offset : e.offset + e.size] == e.name.encode() * 100 for e in report.entries)
    assert (report.members, report.bytes, report.truncated, report.partial) == (len(names), len(data), False, False)


def test_an_archive_that_webdataset_wrote_is_whole(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "w.tar")) as writer:
        writer.write({"__key__": "a/b", "jpg": b"image", "json": {"caption": "x"}})
    report = check_archive(tmp_path / "w.tar", ReadLimits())
    assert [entry.name for entry in report.entries] == ["a/b.jpg", "a/b.json"]


def test_a_pax_size_overrides_the_header(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a.jpg")
        info.pax_headers = {"size": "700"}
        info.size = 700
        archive.addfile(info, io.BytesIO(b"x" * 700))
    data = out.getvalue()
    at = data.index(b"a.jpg", 1024)
    block = bytearray(data[at : at + 512])
    block[124:136] = b"00000000000\x00"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\x00 " % sum(block)
    report = check(tmp_path, data[:at] + bytes(block) + data[at + 512 :])
    assert [(entry.name, entry.size) for entry in report.entries] == [("a.jpg", 700)]


def test_names_without_a_key_are_counted(tmp_path: Path) -> None:
    report = check(tmp_path, hostile.tar([("README", b""), ("a.jpg", b""), (".x", b""), ("b.__bad__", b"")]))
    assert (report.members, report.unkeyed) == (4, 3)


def test_links_and_devices_are_counted_and_left_alone(tmp_path: Path) -> None:
    report = check(tmp_path, hostile.links())
    assert (report.members, report.skipped) == (2, 5)


def test_an_archive_without_members_is_whole(tmp_path: Path) -> None:
    assert check(tmp_path, hostile.tar([])).members == 0


def test_a_tar_may_be_cut_nowhere_without_being_noticed(tmp_path: Path) -> None:
    data = hostile.tar([("a.jpg", b"x" * 700), ("n" * 200 + ".txt", b"y"), ("b.jpg", b"z" * 512)])
    end = -(-len(data.rstrip(b"\x00")) // 512) * 512
    assert check(tmp_path, data[: end + 1024]).members == 3
    for length in [*range(512, end + 1024, 97), *range(512, end + 1024, 512)]:
        assert reason(tmp_path, data[:length]) == "truncated", length
        kept = check(tmp_path, data[:length], keep_truncated=True)
        assert kept.truncated
        assert kept.partial == (length < end + 512)


@pytest.mark.parametrize("name", [name for name, (_, how) in
                                  ((n, make()) for n, make in hostile.cases().items())
                                  if how.shard not in (None, "missing")])  # fmt: skip
def test_a_hostile_archive_is_refused_with_its_reason(tmp_path: Path, name: str) -> None:
    data, expected = hostile.cases()[name]()
    assert data is not None
    assert reason(tmp_path, data) == expected.shard


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_refused_with_the_fix(tmp_path: Path, kind: str) -> None:
    with tarfile.open(tmp_path / "a.tar", f"w:{kind}") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(ShardError, match=r"compressed: .* plain \.tar"):
        check_archive(tmp_path / "a.tar", ReadLimits())


def test_a_member_at_the_limit_passes_and_above_is_refused(tmp_path: Path) -> None:
    data = hostile.tar([("a.jpg", bytes(100))])
    assert check(tmp_path, data, max_member_bytes=100).members == 1
    assert reason(tmp_path, data, max_member_bytes=99) == "member_too_large"


def test_more_members_than_the_limit_are_refused(tmp_path: Path) -> None:
    data = hostile.tar(hostile.samples(2))
    assert check(tmp_path, data, max_members=4).members == 4
    assert reason(tmp_path, data, max_members=3) == "too_many_members"


def test_a_corrupt_header_is_no_truncation_even_if_those_are_kept(tmp_path: Path) -> None:
    assert reason(tmp_path, hostile.corrupt_header(), keep_truncated=True) == "bad_header"


@pytest.mark.parametrize("record", [b"12 path=\n", b"0 path=x\n", b"99 path=x\n", b"path=x\n", b"14 size=-12\n\n"])
def test_a_broken_pax_record_is_refused(tmp_path: Path, record: bytes) -> None:
    body = record.ljust(512, b"\x00")
    data = hostile.header("p", len(record), b"x") + body + hostile.tar([("a.jpg", b"")])
    assert reason(tmp_path, data) == "bad_header"


def test_one_name_or_size_for_all_members_is_refused(tmp_path: Path) -> None:
    record = b"10 size=1\n"
    data = hostile.header("g", len(record), b"g") + record.ljust(512, b"\x00") + hostile.tar([("a.jpg", b"")])
    assert reason(tmp_path, data) == "bad_header"


def test_a_shard_that_may_not_be_read_is_a_failed_shard(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ShardError, match=r"^read"):
        check_archive(tmp_path / "folder", ReadLimits())
