import io
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from maskmill.jobs.show import show
from maskmill.models.errors import UsageError
from maskmill.models.masks import rle
from maskmill.models.segment import Segment
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.scenes import names
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.shard import Shard, describe
from maskmill.pipeline.showing.fonts import Fonts
from maskmill.pipeline.showing.lookup import find, locate, read
from maskmill.pipeline.showing.masks import Region, draw
from maskmill.pipeline.showing.page import wrap
from maskmill.pipeline.showing.palette import PALETTE, colours
from maskmill.pipeline.synthesis.scene import scene
from maskmill.pipeline.synthesis.shards import synthesize
from maskmill.pipeline.table import vocabulary_table
from maskmill.pipeline.table.footer import Footer
from maskmill.pipeline.table.rows import LabelRow, to_table
from tests.plain_run import write_tar

SAMPLES = 3


def segment(mask: np.ndarray, vocab_id: int, score: float) -> Segment:
    found = rle.encode_and_measure(torch.from_numpy(mask[None]))[0]
    return Segment(
        query=0,
        vocab_id=vocab_id,
        score=score,
        margin=score,
        top_ids=(vocab_id,),
        top_logits=(1.0,),
        background_logit=0.0,
        mask_score=1.0,
        stability=1.0,
        kept=1.0,
        area=found.area,
        bbox=found.bbox,
        rle=found.rle,
        mask_size=mask.shape,
    )


def image_digest(path: Path, index: int) -> bytes:
    import hashlib

    with tarfile.open(path) as archive:
        images = [member for member in archive.getmembers() if member.name.endswith(".jpg")]
        return hashlib.sha256(archive.extractfile(images[index]).read()).digest()


def labels_of(shard: Shard, rows: list[LabelRow]) -> pa.Table:
    """A label table as a run writes it, with a footer."""
    reasons = Counter(row.error.partition(":")[0] for row in rows if row.error is not None)
    counts = Counts(read=len(rows), labeled=len(rows) - reasons.total(), failed=dict(reasons), directories=0)
    footer = Footer(
        fingerprint="f" * 64,
        shard=shard.url,
        size=shard.size,
        etag=shard.etag,
        counts=counts,
        versions={},
        device="cpu",
        batch_size=1,
    )
    table = to_table(shard.url, rows)
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **footer.encode()})


def label(path: Path, out: Path, rows: list[LabelRow]) -> None:
    shard = describe(str(path))
    (out / "labels").mkdir(parents=True, exist_ok=True)
    pq.write_table(labels_of(shard, rows), out / "labels" / f"{shard.label_name}.parquet")
    vocabulary = vocabulary_table.to_table(Vocabulary.load("scenes"))
    pq.write_table(vocabulary, out / "vocabulary.parquet")


def true_rows(path: Path, start: int) -> list[LabelRow]:
    """Rows that say what is true, as a perfect model would."""
    rows = []
    for index in range(SAMPLES):
        drawn = scene(5, start + index)
        ids = np.unique(drawn.class_map).tolist()
        rows.append(
            LabelRow(
                key=f"{start + index:09d}",
                sample_index=index,
                sha256=image_digest(path, index),
                size=(128, 128),
                mask_size=(128, 128),
                caption=drawn.caption,
                segments=tuple(segment(drawn.class_map == i, i, 0.5 + i / 100) for i in ids),
            )
        )
    return rows


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return synthesize(tmp_path_factory.mktemp("shards"), 2, SAMPLES, 5)


@pytest.fixture
def out(tmp_path, shards):
    for number, path in enumerate(shards):
        label(path, tmp_path / "out", true_rows(path, number * SAMPLES))
    return tmp_path / "out"


def test_the_picture_shows_image_labels_and_ground_truth(out, tmp_path, capsys):
    png = tmp_path / "new" / "sample.png"
    assert show(str(out), "000000004", output=png) == 0
    drawn = scene(5, 4)
    said = capsys.readouterr().out
    assert f"{len(np.unique(drawn.class_map))} segments, ground truth beside them" in said
    with Image.open(png) as picture:
        assert picture.format == "PNG"
        assert picture.width > 3 * 512
        assert picture.height > 512
        shown = np.asarray(picture.convert("RGB"))
    assert list(png.parent.iterdir()) == [png]
    # A perfect model's labels and the ground truth have the same colours, the image has none of them.
    ids = {names()[i]: i for i in np.unique(drawn.class_map).tolist()}
    for colour in colours(sorted(ids.values(), key=lambda i: -(drawn.class_map == i).sum())).values():
        spots = (shown == np.array(colour)).all(-1)
        left, middle, right = spots[:, :530], spots[:, 560:1080], spots[:, 1100:]
        assert middle.sum() > 200
        assert right.sum() > 200
        assert left.sum() < 20


def test_a_found_sample_has_exact_masks_and_truth(out):
    found = find(Output.of(str(out)), "000000001")
    drawn = scene(5, 1)
    assert found.caption == drawn.caption
    assert np.array_equal(found.truth, drawn.class_map)
    assert {s.name for s in found.segments} == {names()[i] for i in np.unique(drawn.class_map)}
    for one in found.segments:
        assert np.array_equal(one.mask, drawn.class_map == one.vocab_id)
    assert found.notes == ()


def test_a_failed_sample_shows_its_error(out, shards, tmp_path, capsys):
    rows = true_rows(shards[0], 0)
    rows[1] = LabelRow(key="000000001", sample_index=1, error="decode: broken stream", sha256=rows[1].sha256)
    label(shards[0], out, rows)
    assert show(str(out), "000000001", output=tmp_path / "failed.png") == 0
    assert "failed sample (decode: broken stream)" in capsys.readouterr().out


def test_an_image_that_cannot_be_decoded_is_drawn_without_it(tmp_path, capsys):
    path = tmp_path / "broken.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in (("a.jpg", b"\xff\xd8\xff nothing"), ("a.seg.png", b"not a png")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    label(path, tmp_path / "out", [LabelRow(key="a", sample_index=0, error="decode: x", sha256=image_digest(path, 0))])
    assert show(str(tmp_path / "out"), "a", output=tmp_path / "a.png") == 0
    said = capsys.readouterr().out
    assert "The image cannot be decoded" in said
    assert "The ground truth (seg.png) can't be used: the ground truth is not a PNG" in said


def test_a_key_that_is_not_there_is_wrong_usage_with_close_ones(out, tmp_path):
    with pytest.raises(UsageError, match=r"'00000004'.*'000000004'.*maskmill query"):
        show(str(out), "00000004", output=tmp_path / "x.png")
    with pytest.raises(UsageError, match="at --sample-index 9"):
        show(str(out), "000000004", output=tmp_path / "x.png", sample_index=9)
    assert not (tmp_path / "x.png").exists()


def test_a_key_of_several_samples_has_to_be_chosen_among(out, shards, tmp_path):
    rows = true_rows(shards[0], 0)
    label(shards[0], out, [rows[0], LabelRow(key=rows[0].key, sample_index=1, segments=()), rows[2]])
    with pytest.raises(UsageError, match=r"2 samples have it.*--sample-index 0; --shard .* --sample-index 1$"):
        show(str(out), rows[0].key, output=tmp_path / "x.png")
    assert find(Output.of(str(out)), rows[0].key, sample_index=1).segments == ()


def test_a_shard_chooses_too(out, shards):
    found = find(Output.of(str(out)), "000000003", shard=str(shards[1]))
    assert found.shard == str(shards[1])
    with pytest.raises(UsageError, match="no such sample"):
        find(Output.of(str(out)), "000000003", shard=str(shards[0]))
    with pytest.raises(UsageError, match="no labels of that shard"):
        find(Output.of(str(out)), "000000003", shard="other.tar")


def test_a_run_and_its_shard_may_be_in_an_object_store(shards):
    import fsspec

    store = fsspec.filesystem("memory")
    store.put_file(str(shards[0]), "/bucket/scenes.tar")
    shard = describe("memory://bucket/scenes.tar")
    rows = labels_of(shard, true_rows(shards[0], 0))
    tables = {
        f"labels/{shard.label_name}": rows,
        "vocabulary": vocabulary_table.to_table(Vocabulary.load("scenes")),
    }
    for name, table in tables.items():
        with store.open(f"/bucket/shown/{name}.parquet", "wb") as file:
            pq.write_table(table, file)
    found = find(Output.of("memory://bucket/shown"), "000000002")
    assert found.notes == ()
    assert np.array_equal(found.truth, scene(5, 2).class_map)


def test_a_changed_shard_is_told_in_the_picture(out, tmp_path):
    moved = tmp_path / "moved"
    path = synthesize(moved, 1, SAMPLES, 5)[0]
    rows = true_rows(path, 0)
    synthesize(moved, 1, SAMPLES, 6)
    label(path, out, rows)
    assert "has changed since" in find(Output.of(str(out)), "000000000", shard=str(path)).notes[0]


def test_a_missing_shard_or_run_is_wrong_usage(out, shards, tmp_path):
    path = synthesize(tmp_path / "gone", 1, 1, 5)[0]
    label(path, out, [LabelRow(key="gone", sample_index=0, segments=())])
    path.unlink()
    with pytest.raises(UsageError, match="Put the shard back"):
        find(Output.of(str(out)), "gone")
    with pytest.raises(UsageError, match="no vocabulary"):
        find(Output.of(str(tmp_path / "nowhere")), "x")


def test_a_truth_of_other_ids_or_another_size_is_told_and_left_out(tmp_path, shards):
    import hashlib

    drawn = scene(5, 0)
    image, other = io.BytesIO(), [io.BytesIO(), io.BytesIO()]
    Image.fromarray(np.zeros((128, 128, 3), np.uint8)).save(image, "PNG")
    Image.fromarray(np.full((128, 128), 200, np.uint8)).save(other[0], "PNG")
    Image.fromarray(drawn.class_map.astype(np.uint8)[:64]).save(other[1], "PNG")
    members = {}
    for number, truth in enumerate(other):
        members |= {f"{number}.png": image.getvalue(), f"{number}.seg.png": truth.getvalue()}
    path = write_tar(tmp_path / "odd.tar", members)
    digest = hashlib.sha256(image.getvalue()).digest()
    label(path, tmp_path / "out", [LabelRow(key=str(n), sample_index=n, segments=(), sha256=digest) for n in range(2)])
    for key, note in (("0", "holds class id 200, the vocabulary has 48"), ("1", "it has 128 x 64 pixels")):
        found = find(Output.of(str(tmp_path / "out")), key)
        assert found.truth is None
        assert note in found.notes[0]


def test_unlabeled_pixels_are_no_class_of_the_truth(tmp_path):
    import hashlib

    image, truth = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image, "PNG")
    ids = np.full((8, 8), 255, np.uint8)
    ids[:4] = 3
    Image.fromarray(ids).save(truth, "PNG")
    path = write_tar(tmp_path / "a.tar", {"a.png": image.getvalue(), "a.seg.png": truth.getvalue()})
    row = LabelRow(key="a", sample_index=0, segments=(), sha256=hashlib.sha256(image.getvalue()).digest())
    label(path, tmp_path / "out", [row])
    found = find(Output.of(str(tmp_path / "out")), "a")
    assert found.truth_names == {3: names()[3]}
    assert (found.truth == -1).sum() == 32


def test_a_truth_in_coco_stuffs_own_numbers_is_read_as_such(tmp_path):
    import hashlib

    image, truth = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(image, "PNG")
    Image.fromarray(np.full((8, 8), 13, np.uint8)).save(truth, "PNG")
    path = write_tar(tmp_path / "a.tar", {"a.png": image.getvalue(), "a.seg.png": truth.getvalue()})
    row = LabelRow(key="a", sample_index=0, segments=(), sha256=hashlib.sha256(image.getvalue()).digest())
    label(path, tmp_path / "out", [row])
    output = Output.of(str(tmp_path / "out"))
    (found,) = read(output, [locate(output, "a")], truth_ids="coco-stuff")
    assert found.truth_names == {12: names()[12]}, "its category 12 is one that nothing belongs to"
    assert show(str(tmp_path / "out"), "a", output=tmp_path / "a.png", truth_ids="coco-stuff") == 0


@pytest.mark.parametrize("size", [(3000, 40), (40, 3000), (1, 1), (2000, 1500)])
def test_odd_sizes_are_drawn(size):
    from maskmill.pipeline.showing.drawing import picture
    from maskmill.pipeline.showing.lookup import Found, FoundSegment

    mask = np.zeros((size[1] // 2 + 1, size[0] // 2 + 1), bool)
    mask[: size[1] // 4 + 1] = True
    segments = tuple(
        FoundSegment(vocab_id=i, name=f"name {i}", score=0.5, agreement=i / 40 if i % 2 else None, mask=mask)
        for i in range(40)
    )
    found = Found(
        key="k",
        shard="s.tar",
        sample_index=0,
        error=None,
        caption="word " * 500 + "x" * 3000,
        segments=segments,
        left_out=0,
        image=Image.new("RGB", size),
        truth=None,
        truth_names={},
        notes=("a note",),
    )
    drawn = picture(found, Fonts([]))
    assert max(drawn.size) < 4000


def test_masks_tint_what_they_cover_and_nothing_else():
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    grey = Image.new("RGB", (64, 64), (100, 100, 100))
    drawn = np.asarray(draw(grey, [Region(mask=mask, colour=(200, 0, 0), tag="", short_tag="")], Fonts([]).at(10)))
    outside = np.ones((64, 64), bool)
    outside[16:48, 16:48] = False
    assert (drawn[outside] == 100).all()
    assert drawn[20, 20].tolist() == [160, 40, 40]
    assert drawn[16, 30].tolist() == [200, 0, 0]


def test_classes_keep_their_colour_and_never_share_one_while_colours_last():
    assert colours([3])[3] == colours([3, 4, 5])[3]
    many = colours([i * len(PALETTE) for i in range(len(PALETTE))])
    assert len(set(many.values())) == len(PALETTE)
    assert len(colours(range(50))) == 50


def test_text_is_wrapped_within_its_width():
    font = Fonts([]).at(20)
    lines = wrap("two\nwords and " + "w" * 200 + " end", font, 300, 4)
    assert len(lines) == 4
    assert lines[-1].endswith("…")
    assert all(font.length(line) <= 300 for line in lines)
    assert wrap("short", font, 300, 4) == ["short"]
    assert wrap("", font, 300, 4) == [""]
