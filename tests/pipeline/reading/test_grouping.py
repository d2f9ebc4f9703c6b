import io
import subprocess
import tarfile
from collections import defaultdict
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.reading.archive import check_archive
from maskmill.pipeline.reading.grouping import Group, group
from maskmill.pipeline.reading.limits import ReadLimits
from tests import hostile

Found = list[tuple[str, list[str], set[str]]]


def grouped(path: Path, data: bytes, **limits: object) -> Found:
    path.write_bytes(data)
    return told(group(check_archive(path, ReadLimits(**limits))))


def told(groups: list[Group]) -> Found:
    return [(one.key, list(one.members), set(one.warnings)) for one in groups]


def empty(*names: str) -> bytes:
    return hostile.tar([(name, name.encode()) for name in names])


def webdatasets(path: Path) -> list[tuple[str, list[str]]]:
    """Keys and extensions as webdataset reads them."""
    samples = webdataset.WebDataset(
        [str(path)], shardshuffle=False, handler=webdataset.ignore_and_continue, empty_check=False
    )
    return [(one["__key__"], [name for name in one if not name.startswith("__")]) for one in samples]


_NAMES = st.lists(
    st.sampled_from(["a.jpg", "a.JPG", "a.txt", "b.jpg", "b.json", "d/a.jpg", "c.seg.png", "README", ".x", "a.b.jpg"]),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(_NAMES)
def test_samples_are_webdatasets_and_parts_of_one_that_complement_each_other_are_put_together(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    path = tmp_path_factory.mktemp("any") / "a.tar"
    ours = grouped(path, empty(*names))
    theirs = webdatasets(path)
    parts = defaultdict(list)
    for key, extensions in theirs:
        parts[key].append(extensions)
    expected = []
    for key, extensions in theirs:
        every = [name for part in parts[key] for name in part]
        if len(parts[key]) == 1 or len(every) > len(set(every)):
            expected.append((key, extensions))
        elif (key, every) not in expected:
            expected.append((key, every))
    assert [(key, extensions) for key, extensions, _ in ours] == expected


def test_members_of_a_sample_that_lie_apart_are_put_together_where_the_first_is(tmp_path: Path) -> None:
    assert grouped(tmp_path / "a.tar", empty("b.txt", "a.jpg", "c.jpg", "b.jpg", "a.txt", "b.json")) == [
        ("b", ["txt", "jpg", "json"], {"split_sample"}),
        ("a", ["jpg", "txt"], {"split_sample"}),
        ("c", ["jpg"], set()),
    ]


def test_a_key_that_repeats_an_extension_stays_as_many_samples(tmp_path: Path) -> None:
    assert grouped(tmp_path / "a.tar", empty("a.jpg", "a.txt", "b.jpg", "a.jpg", "c.jpg", "a.json")) == [
        ("a", ["jpg", "txt"], {"duplicate_key"}),
        ("b", ["jpg"], set()),
        ("a", ["jpg"], {"duplicate_key"}),
        ("c", ["jpg"], set()),
        ("a", ["json"], {"duplicate_key"}),
    ]


def test_a_member_named_twice_within_a_part_does_not_keep_parts_apart(tmp_path: Path) -> None:
    assert grouped(tmp_path / "a.tar", empty("a.JPG", "a.jpg", "b.jpg", "a.txt"))[0] == (
        "a",
        ["jpg", "txt"],
        {"duplicate_member", "split_sample"},
    )


@pytest.mark.parametrize(
    "between",
    ["photos/._1.txt", "photos/.DS_Store", "__MACOSX/photos/1.jpg", "photos/Thumbs.db", "README", "PaxHeaders.7/1.txt"],
)
def test_a_file_that_belongs_to_no_sample_ends_none(tmp_path: Path, between: str) -> None:
    found = grouped(tmp_path / "a.tar", empty("photos/1.jpg", between, "photos/1.txt", "photos/2.jpg"))
    assert found == [("photos/1", ["jpg", "txt"], set()), ("photos/2", ["jpg"], set())]


def test_neither_does_a_directory_and_a_link_is_a_member_like_any(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target in [
            ("a.jpg", tarfile.REGTYPE, ""),
            ("a.v1", tarfile.DIRTYPE, ""),
            ("a.txt", tarfile.SYMTYPE, "elsewhere"),
            ("b.jpg", tarfile.LNKTYPE, "a.jpg"),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    assert grouped(tmp_path / "a.tar", out.getvalue()) == [("a", ["jpg", "txt"], set()), ("b", ["jpg"], set())]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("a.jpg", "a.txt", "b.jpg", "b.txt"), ["a"]),
        (("a.jpg", "b.jpg", "a.txt", "b.txt"), ["a"]),
        (("a.jpg", "b.jpg", "a.txt"), ["b"]),
        (("a.jpg", "b.jpg", "a.jpg"), ["a", "b"]),
    ],
)
def test_the_sample_in_which_an_archive_was_cut_is_left_out(
    tmp_path: Path, names: tuple[str, ...], keys: list[str]
) -> None:
    cut = empty(*names)[: 1024 * len(names)]
    assert [key for key, *_ in grouped(tmp_path / "a.tar", cut, keep_truncated=True)] == keys


def test_the_command_that_a_summary_names_packs_samples_together(tmp_path: Path) -> None:
    """Names that a locale sorts in another way than bytes, and folders in folders."""
    names = [
        f"{key}.{end}" for key in ("a", "B", "a-1", "a 1", "a+", "ä", "d/x", "d/X") for end in ("jpg", "txt", "json")
    ]
    for name in sorted(names, key=lambda name: name[::-1]):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    subprocess.run(["tar", "--sort=name", "-cf", "new.tar", "folder"], cwd=tmp_path, check=True)
    found = told(group(check_archive(tmp_path / "new.tar", ReadLimits())))
    assert all(sorted(extensions) == ["jpg", "json", "txt"] and not warnings for _, extensions, warnings in found)
    assert len(found) == len(webdatasets(tmp_path / "new.tar")) == 8
