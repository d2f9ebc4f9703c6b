"""instances.json as pycocotools reads it."""

import json
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskmill.models.vocabulary import Vocabulary
from tests.export_rules import rows_of


@pytest.mark.parametrize("form", ["general", "queries", "semantic"])
def test_the_labels_score_1_against_themselves(export, request, form):
    folder, tally = export(request.getfixturevalue(form), "coco")
    truth = COCO(str(folder / "instances.json"))
    assert len(truth.getAnnIds()) == tally.segments > 30
    for kind in ("segm", "bbox"):
        evaluation = COCOeval(truth, truth.loadRes(truth.dataset["annotations"]), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[0] == evaluation.stats[8] == 1.0


@pytest.mark.parametrize("form", ["general", "queries"])
def test_an_annotation_is_its_segment_at_the_images_size(export, request, form):
    output = request.getfixturevalue(form)
    folder, _ = export(output, "coco")
    coco = COCO(str(folder / "instances.json"))
    smaller = 0
    for image, row in zip(coco.loadImgs(sorted(coco.getImgIds())), rows_of(output), strict=True):
        assert (image["shard"], image["sample_index"], image["key"]) == (row["shard"], row["sample_index"], row["key"])
        assert (image["width"], image["height"], image["sha256"]) == (row["width"], row["height"], row["sha256"].hex())
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        for found, segment, stored in zip(annotations, row["segments"], row["decoded"], strict=True):
            mask = coco.annToMask(found)
            ys, xs = np.nonzero(mask)
            assert mask.shape == (row["height"], row["width"])
            assert found["area"] == len(xs)
            assert found["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert (found["category_id"], found["iscrowd"], found["query"]) == (
                segment["vocab_id"],
                0,
                segment["query"],
            )
            for name in ("score", "margin", "mask_score", "stability", "kept"):
                assert np.float32(found[name]) == np.float32(segment[name])
            if mask.shape == stored.shape:
                assert np.array_equal(mask, stored)
            else:
                smaller += 1
                assert mask.mean() == pytest.approx(stored.mean(), abs=0.02)
    assert (smaller > 0) == (form == "general")


def test_categories_are_the_vocabulary(export, general):
    folder, _ = export(general, "coco")
    found = json.loads((folder / "instances.json").read_text())["categories"]
    vocabulary = Vocabulary.load("scenes")
    assert [(category["id"], category["name"]) for category in found] == [(e.vocab_id, e.name) for e in vocabulary]
    assert {category["supercategory"] for category in found} <= {"thing", "stuff"}


def test_numbers_of_semantic_form_that_it_has_not_are_null(export, semantic):
    folder, _ = export(semantic, "coco")
    (annotation, *_) = json.loads((folder / "instances.json").read_text())["annotations"]
    assert (annotation["mask_score"], annotation["stability"], annotation["kept"]) == (None, None, None)


def test_a_filter_leaves_the_ids_of_the_others(export, general):
    before = json.loads((export(general, "coco", to="all")[0] / "instances.json").read_text())
    scores = sorted(annotation["score"] for annotation in before["annotations"])
    least = scores[len(scores) // 2]
    folder, tally = export(general, "coco", min_score=least)
    after = json.loads((folder / "instances.json").read_text())
    assert after["images"] == before["images"]
    assert after["annotations"] == [found for found in before["annotations"] if found["score"] >= least]
    assert (tally.segments, tally.filtered) == (len(after["annotations"]), len(scores) - len(after["annotations"]))
    assert tally.empty == len(after["images"]) - len(Counter(found["image_id"] for found in after["annotations"]))


def test_only_classes_that_were_asked_for_and_images_that_have_one(export, general):
    classes = Counter(segment["vocab_id"] for row in rows_of(general) for segment in row["segments"])
    vocabulary = Vocabulary.load("scenes")
    wanted = classes.most_common()[-1][0]
    folder, tally = export(general, "coco", classes=(vocabulary[wanted].name,), skip_empty=True)
    found = json.loads((folder / "instances.json").read_text())
    assert {annotation["category_id"] for annotation in found["annotations"]} == {wanted}
    assert {image["id"] for image in found["images"]} == {one["image_id"] for one in found["annotations"]}
    assert tally.images + tally.skipped == len(rows_of(general))
    assert (tally.images, tally.empty) == (len(found["images"]), 0)


def test_a_filter_that_nothing_passes_leaves_a_sound_file(export, general):
    folder, tally = export(general, "coco", min_area=10**9, skip_empty=True)
    coco = COCO(str(folder / "instances.json"))
    assert (coco.dataset["images"], coco.dataset["annotations"], tally.images) == ([], [], 0)


def test_failed_samples_are_left_out_and_counted(export, general, sources):
    folder, tally = export(general, "coco")
    ledger = pq.read_table(f"{general.url}/ledger.parquet")
    assert tally.failed == sum(ledger["failed"].to_pylist()) == 3
    images = json.loads((folder / "instances.json").read_text())["images"]
    assert len(images) == tally.images == sum(ledger["labeled"].to_pylist())
    # An id is 1 + samples of the shards before, by URL, failed ones too, + sample_index.
    firsts, first = {}, 1
    for url, read in sorted(zip(ledger["url"].to_pylist(), ledger["read"].to_pylist(), strict=True)):
        firsts[url] = first
        first += read
    assert [image["id"] for image in images] == [firsts[i["shard"]] + i["sample_index"] for i in images]
