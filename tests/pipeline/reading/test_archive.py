import io
import subprocess
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


def test_nothing_in_an_archive_goes_uncounted(tmp_path: Path) -> None:
    report = check(tmp_path, hostile.links())
    assert (report.members, report.unkeyed, report.directories) == (6, 0, 1)


def test_a_link_to_an_earlier_member_is_its_bytes_and_any_other_has_a_fault(tmp_path: Path) -> None:
    report = check(tmp_path, hostile.inner_links())
    found = {entry.name: entry for entry in report.entries}
    image, caption = found["photos/0.jpg"], found["photos/0.txt"]
    whole = [name for name, entry in found.items() if (entry.offset, entry.size) == (image.offset, image.size)]
    assert whole == ["photos/0.jpg", "photos/1.jpg", "photos/2.jpg", "other/3.jpg", "other/4.jpg"]
    assert found["photos/1.txt"].offset == found["README"].offset == caption.offset
    assert {name: entry.fault.reason for name, entry in found.items() if entry.fault} == {
        f"other/{number}.jpg": "link" for number in (5, 6, 7, 8)
    }
    assert found["other/6.jpg"].fault is not None
    assert found["other/6.jpg"].fault.detail == (
        "'other/6.jpg' is a symbolic link to '7.jpg', no earlier file of the archive"
    )


def test_links_are_those_that_gnu_tar_writes(tmp_path: Path) -> None:
    folder, long = tmp_path / "photos", "n" * 200 + ".jpg"
    folder.mkdir()
    (folder / long).write_bytes(b"the image")
    for name in ("z1.jpg", "z2.jpg"):
        (folder / name).hardlink_to(folder / long)
    (folder / "z3.jpg").symlink_to(long)
    for format in ("gnu", "pax"):
        command = ["tar", f"--format={format}", "--sort=name", "-cf", "a.tar", "photos"]
        subprocess.run(command, cwd=tmp_path, check=True)
        report = check_archive(tmp_path / "a.tar", ReadLimits())
        assert (report.members, report.directories) == (4, 1)
        assert len({(entry.offset, entry.size) for entry in report.entries}) == 1
        assert all(entry.fault is None for entry in report.entries)


def test_a_link_leads_to_the_last_of_the_earlier_members_of_its_name(tmp_path: Path) -> None:
    report = check(tmp_path, hostile.tar([("a.jpg", b"1"), ("a.jpg", b"2")], [("b.jpg", tarfile.LNKTYPE, "a.jpg")]))
    assert report.entries[2].offset == report.entries[1].offset


def test_the_rest_of_a_file_from_another_volume_is_no_file(tmp_path: Path) -> None:
    rest = hostile.header("a.jpg", 700, b"M") + bytes(1024)
    report = check(tmp_path, hostile.header("volume 2.x", 0, b"V") + rest + hostile.tar([("b.jpg", b"x")]))
    assert [(entry.name, entry.fault is not None) for entry in report.entries] == [("a.jpg", True), ("b.jpg", False)]
    assert report.entries[0].fault is not None
    assert report.entries[0].fault.reason == "special_file"
    assert report.directories == 1


def test_members_after_a_sparse_file_with_a_long_map_are_found(tmp_path: Path) -> None:
    block = bytearray(hostile.old_sparse()[:512])
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\x00 " % sum(block)
    more = bytearray(512)
    more[504] = 1
    data = bytes(block) + bytes(more) + bytes(512) + bytes(512) + hostile.tar([("b.jpg", b"x")])
    report = check(tmp_path, data)
    assert [(entry.name, entry.offset) for entry in report.entries] == [("s0.jpg", 1536), ("b.jpg", 2560)]
    assert reason(tmp_path, data[:1024]) == "truncated"


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


@pytest.mark.parametrize("record", [b"10 size=1\n", b"10 path=x\n", b"14 linkpath=x\n", b"22 GNU.sparse.major=1\n"])
def test_one_name_size_or_map_for_all_members_is_refused(tmp_path: Path, record: bytes) -> None:
    data = hostile.header("g", len(record), b"g") + record.ljust(512, b"\x00") + hostile.tar([("a.jpg", b"")])
    assert reason(tmp_path, data) == "bad_header"


def test_a_shard_that_may_not_be_read_is_a_failed_shard(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ShardError, match=r"^read"):
        check_archive(tmp_path / "folder", ReadLimits())
