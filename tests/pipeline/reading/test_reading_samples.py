import json
import os
import tarfile
from pathlib import Path

import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmill.pipeline.reading.archive import check_archive
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.grouping import group
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.members import Member
from maskmill.pipeline.reading.samples import Sample, read_samples
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


_SAMPLES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "d/a", "c.b"]), st.sets(st.sampled_from(["jpg", "txt", "json", "SEG.png"]))),
    max_size=6,
    unique_by=lambda sample: sample[0],
)


@settings(max_examples=60, deadline=None)
@given(_SAMPLES)
def test_samples_whose_members_are_adjacent_are_those_of_webdataset(
    tmp_path_factory: pytest.TempPathFactory, samples: list[tuple[str, set[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    names = [f"{key}.{extension}" for key, extensions in samples for extension in sorted(extensions)]
    ours = read(folder, [(name, name.encode()) for name in names], extra=("jpg", "txt", "json", "seg.png", "b.jpg"))
    theirs = webdatasets(folder / "shard.tar")
    assert [sample.key for sample in ours] == [sample["__key__"] for sample in theirs]
    for index, (mine, their) in enumerate(zip(ours, theirs, strict=True)):
        assert list(mine.extensions) == [name for name in their if not name.startswith("__")]
        assert mine.index == index
        assert all(data == their[extension] for extension, data in mine.fields.items())
        assert mine.image == their.get("jpg")
        assert mine.warnings in ((), ("caption_json",))


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


def test_a_folder_that_was_packed_as_it_lay_is_read_with_its_captions(tmp_path: Path) -> None:
    files = [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.txt", b"of a"), ("b.txt", b"of b")]
    found = [(one.key, one.index, one.image, one.caption, one.warnings) for one in read(tmp_path, files)]
    assert found == [("a", 0, b"1", "of a", ("split_sample",)), ("b", 1, b"2", "of b", ("split_sample",))]


def test_a_link_in_the_archive_is_read_and_any_other_fails_its_sample_alone(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    path.write_bytes(
        hostile.tar(
            [("a.jpg", b"image"), ("a.txt", b"caption")],
            [
                ("b.jpg", tarfile.LNKTYPE, "a.jpg"),
                ("b.txt", tarfile.SYMTYPE, "a.txt"),
                ("c.jpg", tarfile.SYMTYPE, "/etc/passwd"),
                ("c.png", tarfile.SYMTYPE, "a.jpg"),
                ("d.jpg", tarfile.LNKTYPE, "a.jpg"),
                ("d.txt", tarfile.SYMTYPE, "nowhere"),
                ("e.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ],
        )
    )
    found = {one.key: one for one in read_samples(path, check_archive(path, ReadLimits()), ReadLimits())}
    assert [(one.image, one.caption, one.warnings) for one in found.values()] == [
        (b"image", "caption", ()),
        (b"image", "caption", ()),
        (b"image", None, ("several_images",)),
        (b"image", None, ("caption_text",)),
        (None, None, ()),
    ]
    assert found["e"].fault is not None
    assert found["e"].fault.reason == "link"


def test_options_name_the_image_and_the_caption(tmp_path: Path) -> None:
    files = [
        ("a.input.jpg", b"i"),
        ("a.target.jpg", b"t"),
        ("a.jpg", b"no"),
        ("a.caption.txt", b"yes"),
        ("a.txt", b"no"),
    ]
    limits = {"image_member": "input.jpg", "caption_member": "caption.txt"}
    (sample,) = read(tmp_path, files, **limits)
    assert (sample.image, sample.image_name, sample.caption, sample.warnings) == (b"i", "a.input.jpg", "yes", ())
    (sample,) = read(tmp_path, [("a.JPG", b"no"), ("a.meta.json", b'{"caption": "x"}')], **limits)
    assert (sample.image, sample.caption, sample.fault.reason) == (None, None, "missing_image")
    assert sample.fault.detail.startswith("no input.jpg among jpg, meta.json")
    (sample,) = read(tmp_path, [("a.jpg", b"i"), ("a.meta.json", b'{"caption": "x"}')], caption_member="meta.json")
    assert (sample.image, sample.caption) == (b"i", "x")


def test_a_sample_without_an_image_names_the_option_that_may_find_it(tmp_path: Path) -> None:
    (sample,) = read(tmp_path, [("a.input.jpg", b"i"), ("a.txt", b"t")])
    assert sample.fault is not None
    assert sample.fault.detail == (
        "no jpg, jpeg, png or webp among input.jpg, txt; if input.jpg is the image, --image-member input.jpg takes it"
    )


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
    assert all(isinstance(member, Member) for one in group(report) for member in one.members.values())
