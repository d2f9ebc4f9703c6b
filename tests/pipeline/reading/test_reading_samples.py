import json
import os
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.reading.archive import check_archive
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.samples import Sample, group, read_samples
from tests import hostile

IMAGE = hostile.encode()


def read(folder: Path, files: hostile.Files, *, extra: tuple[str, ...] = (), **limits: object) -> list[Sample]:
    path = folder / "shard.tar"
    path.write_bytes(hostile.tar(files))
    bounds = ReadLimits(**limits)
    return list(read_samples(path, check_archive(path, bounds), bounds, extra=extra))


def webdatasets(path: Path) -> list[dict[str, object]]:
    return list(
        webdataset.WebDataset(
            [str(path)], shardshuffle=False, handler=webdataset.ignore_and_continue, empty_check=False
        )
    )


_NAMES = st.lists(
    st.sampled_from(["a.jpg", "a.JPG", "a.txt", "b.jpg", "b.json", "d/a.jpg", "c.seg.png", "README", ".x", "a.b.jpg"]),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(_NAMES)
def test_samples_are_those_of_webdataset(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    ours = read(folder, [(name, str(i).encode()) for i, name in enumerate(names)], extra=tuple(n[2:] for n in names))
    theirs = webdatasets(folder / "shard.tar")
    assert [sample.key for sample in ours] == [sample["__key__"] for sample in theirs]
    for mine, their in zip(ours, theirs, strict=True):
        assert list(mine.extensions) == [name for name in their if not name.startswith("__")]
        assert mine.index == ours.index(mine)
        for extension in ("jpg", "json", "txt", "seg.png"):
            if extension in their and extension in mine.fields:
                assert mine.fields[extension] == their[extension]
        assert mine.image == their.get("jpg")


def test_the_image_is_chosen_by_extension_in_any_case(tmp_path: Path) -> None:
    files = [("a.SEG.png", b"s"), ("a.JPeG", b"i"), ("b.webp", b"w"), ("c.PNG", b"p"), ("d.gif", b"g")]
    found = read(tmp_path, files)
    assert [(sample.image_name, sample.image) for sample in found] == [
        ("a.JPeG", b"i"),
        ("b.webp", b"w"),
        ("c.PNG", b"p"),
        (None, None),
    ]


def test_of_several_images_the_first_kind_is_taken(tmp_path: Path) -> None:
    (sample,) = read(tmp_path, [("a.webp", b"w"), ("a.png", b"p"), ("a.jpeg", b"j")])
    assert (sample.image, sample.warnings) == (b"j", ("several_images",))


def test_of_an_extension_named_twice_the_first_is_taken(tmp_path: Path) -> None:
    first, second = read(tmp_path, [("a.JPG", b"1"), ("a.jpg", b"2"), ("a.txt", b"t"), ("b.jpg", b"3")])
    assert (first.image, first.caption, first.warnings) == (b"1", "t", ("duplicate_member",))
    assert second.warnings == ()


def test_a_key_that_comes_back_is_a_split_sample_or_a_duplicate_key(tmp_path: Path) -> None:
    files = [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.txt", b"t"), ("c.jpg", b"3"), ("b.jpg", b"4")]
    found = [(sample.key, sample.index, sample.warnings) for sample in read(tmp_path, files)]
    assert found == [
        ("a", 0, ("split_sample",)),
        ("b", 1, ("duplicate_key",)),
        ("a", 2, ("split_sample",)),
        ("c", 3, ()),
        ("b", 4, ("duplicate_key",)),
    ]


def test_webdatasets_own_words_hide_no_sample(tmp_path: Path) -> None:
    files = [("a.jpg", b"1"), ("a.__bad__", b"1"), ("a.__key__", b"x"), ("a.__url__", b"y")]
    assert [(sample.key, sample.extensions) for sample in read(tmp_path, files)] == [("a", ("jpg",))]


@pytest.mark.parametrize(
    ("members", "caption", "warnings"),
    [
        ({"txt": b" a dog \n"}, "a dog", ()),
        ({"txt": b"\xef\xbb\xbfa dog", "json": b'{"caption": "no"}'}, "a dog", ()),
        ({"txt": b""}, "", ()),
        ({"txt": b"caf\xe9"}, "caf�", ("caption_text",)),
        ({"txt": bytes(100), "json": b'{"caption": "yes"}'}, "yes", ("caption_text",)),
        ({"json": b'{"caption": "yes"}'}, "yes", ()),
        ({"json": b'{"caption": null}'}, None, ()),
        ({"json": b"{}"}, None, ()),
        ({"json": b'{"caption": ["x"]}'}, None, ("caption_json",)),
        ({"json": b"[1, 2]"}, None, ("caption_json",)),
        ({"json": b"{caption"}, None, ("caption_json",)),
        ({"json": b""}, None, ("caption_json",)),
        ({"json": b"\xff\xfe\x00"}, None, ("caption_json",)),
        ({"json": b"[" * 60}, None, ("caption_json",)),
        ({"json": b'{"caption": "\\ud83d"}'}, "?", ("caption_json",)),
        ({"json": b'{"caption": "' + b"x" * 60 + b'"}'}, None, ("caption_json",)),
        ({}, None, ()),
    ],
)
def test_a_caption_never_fails_a_sample(
    tmp_path: Path, members: dict[str, bytes], caption: str | None, warnings: tuple[str, ...]
) -> None:
    files = [("a.jpg", IMAGE), *((f"a.{name}", data) for name, data in members.items())]
    (sample,) = read(tmp_path, files, max_caption_bytes=64)
    assert (sample.caption, sample.warnings, sample.image) == (caption, warnings, IMAGE)


@pytest.mark.parametrize("text", [b"[" * 500_000, b'{"a":' * 200_000, b'{"caption": ' + b"9" * 10_000 + b"}"])
def test_a_json_bomb_is_a_warning(tmp_path: Path, text: bytes) -> None:
    (sample,) = read(tmp_path, [("a.jpg", IMAGE), ("a.json", text)])
    assert sample.warnings == ("caption_json",)


def test_further_members_are_read_only_where_asked_for(tmp_path: Path) -> None:
    files = [("a.jpg", IMAGE), ("a.seg.png", b"map"), ("a.cls", b"3"), ("a.json", json.dumps({}).encode())]
    assert dict(read(tmp_path, files)[0].fields) == {}
    assert dict(read(tmp_path, files, extra=("seg.png", "none"))[0].fields) == {"seg.png": b"map"}


def test_a_name_that_is_no_utf_8_is_written_with_its_bytes(tmp_path: Path) -> None:
    (sample,) = read(tmp_path, [("caf\udce9.jpg", IMAGE)])
    assert (sample.key, sample.warnings) == ("caf\\xe9", ("key_text",))


@pytest.mark.parametrize(
    ("cut", "keys"),
    [
        ("inside the second image", ["a"]),
        ("after the second image", ["a"]),
        ("inside the second caption", ["a"]),
        ("after the second caption", ["a"]),
        ("inside the third image", ["a", "b"]),
        ("after the first end block", ["a", "b", "c"]),
    ],
)
def test_of_a_cut_shard_only_whole_samples_are_kept(tmp_path: Path, cut: str, keys: list[str]) -> None:
    files = [(f"{key}.{end}", bytes(600)) for key in "abc" for end in ("jpg", "txt")]
    step = 512 + 1024
    at = {
        "inside the second image": 2 * step + 700,
        "after the second image": 3 * step,
        "inside the second caption": 3 * step + 700,
        "after the second caption": 4 * step,
        "inside the third image": 4 * step + 700,
        "after the first end block": 6 * step + 512,
    }[cut]
    path = tmp_path / "cut.tar"
    path.write_bytes(hostile.tar(files)[:at])
    limits = ReadLimits(keep_truncated=True)
    found = read_samples(path, check_archive(path, limits), limits)
    assert [sample.key for sample in found] == keys


def test_a_file_that_shrinks_while_it_is_read_is_a_changed_shard(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(hostile.tar(hostile.samples(2)))
    found = read_samples(path, check_archive(path, ReadLimits()), ReadLimits())
    next(found)
    os.truncate(path, 4000)
    with pytest.raises(ShardError, match=r"^changed"):
        next(found)


def test_bodies_are_not_in_memory_before_their_turn(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(hostile.tar([(f"{i}.jpg", bytes(1000)) for i in range(5)]))
    report = check_archive(path, ReadLimits())
    assert all(type(m).__name__ == "Member" for g in group(report.entries) for m in g.members.values())
