"""PNGs of class ids, and what `train` and `evaluate` make of them."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from maskmill.jobs.cli import run
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.checks import MAX_ENTRIES
from maskmill.pipeline.evaluation.table import paint
from maskmill.pipeline.export.class_map import ClassMaps, _png
from maskmill.pipeline.export.formats import Context
from maskmill.pipeline.export.masks import stretched
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.truth.class_map import IGNORED, decode_class_map
from maskmill.pipeline.truth.pairs import open_pairs, sources_of
from tests.export_rules import rows_of


@pytest.mark.parametrize("form", ["general", "queries", "semantic"])
def test_an_export_is_ground_truth_and_says_what_the_table_says(export, request, form, tmp_path):
    output = request.getfixturevalue(form)
    folder, tally = export(output, "png", images=True)
    vocabulary = Vocabulary.load(str(folder / "vocabulary.json"))
    assert vocabulary.hash == Vocabulary.load("scenes").hash
    (source,) = sources_of([str(folder)])
    rows = {(row["shard"], row["sample_index"]): row for row in rows_of(output)}
    by_sha = {row["sha256"]: row for row in rows.values()}
    with open_pairs(source, tmp_path, ReadLimits()) as opened:
        assert (len(opened.pairs), opened.bare) == (tally.images, 0) == (len(rows), 0)
        for pair in opened.pairs:
            row = by_sha[hashlib.sha256(pair.image.read()).digest()]
            truth = decode_class_map(pair.truth.read(), len(vocabulary), ReadLimits())
            segments = row["segments"]
            masks = [mask.astype(bool) for mask in row["decoded"]]
            ids, scores = zip(*[(s["vocab_id"], s["score"]) for s in segments], strict=True) if segments else ((), ())
            size = (row["mask_height"], row["mask_width"])
            expected = stretched(paint(masks, ids, scores, size, IGNORED), (row["height"], row["width"]))
            assert np.array_equal(truth, expected)


def test_evaluate_takes_an_export(export, general, capsys):
    folder, tally = export(general, "png", images=True)
    vocabulary = str(folder / "vocabulary.json")
    assert run(["evaluate", str(folder), "--model", "san-tiny", "--vocab", vocabulary, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["images"] == tally.images


def test_what_the_filter_drops_is_unlabeled(export, general):
    folder, tally = export(general, "png", min_area=10**9)
    assert tally.segments == 0
    pngs = list((folder / "annotations").rglob("*.png"))
    assert len(pngs) == tally.images
    for path in pngs:
        assert np.asarray(Image.open(path)).min() == 255


def _maps(classes: int) -> ClassMaps:
    vocabulary = Vocabulary.of(f"class {number}" for number in range(classes))
    return ClassMaps(context=Context(vocabulary=vocabulary, info={}, shards=1))


@pytest.mark.parametrize(("classes", "unlabeled"), [(1, 255), (255, 255), (256, 65535), (MAX_ENTRIES, 65535)])
def test_more_classes_than_a_byte_holds_take_16_bits(classes, unlabeled):
    assert _maps(classes).unlabeled == unlabeled


def test_16_bit_maps_are_read_back_as_ground_truth():
    ids = np.array([[0, 255, 846, 65535]], np.int32)
    found = decode_class_map(_png(ids, None), 847, ReadLimits())
    assert found.tolist() == [[0, 255, 846, IGNORED]]


def test_an_image_without_segments_is_a_map_all_the_same():
    found = decode_class_map(_png(np.full((3, 2), 255, np.int32), bytes(768)), 48, ReadLimits())
    assert (found == IGNORED).all()
