"""The ledger of one shard adds up: read = labeled + failed."""

import json

import pytest

from maskmill.models.segment import Segment
from maskmill.pipeline.ledger.counts import ClassCount, Counts, Tally


def segment(vocab_id: int) -> Segment:
    return Segment(
        query=0, vocab_id=vocab_id, score=0.5, margin=0.5, top_ids=(vocab_id,), top_logits=(1.0,),
        background_logit=0.0, mask_score=0.5, stability=1.0, kept=1.0, area=1, bbox=(0, 0, 1, 1), rle=b"01",
        mask_size=(1, 1),
    )  # fmt: skip


def test_a_tally_counts_samples_by_reason_and_classes_by_segment_and_image():
    tally = Tally()
    tally.labeled((segment(5), segment(5), segment(2)))
    tally.failed("too_large")
    tally.labeled(())
    tally.labeled((segment(5),))
    tally.failed("decode")
    tally.failed("too_large")
    tally.warned(("split_sample", "caption_text"))
    tally.warned(("split_sample",))
    counts = tally.counts(unkeyed=4, truncated=True, directories=2)
    assert counts == Counts(
        read=6,
        labeled=3,
        failed={"decode": 1, "too_large": 2},
        segments=4,
        classes=(ClassCount(vocab_id=2, segments=1, images=1), ClassCount(vocab_id=5, segments=3, images=2)),
        unkeyed=4,
        truncated=True,
        directories=2,
        warned={"caption_text": 1, "split_sample": 2},
    )
    assert list(counts.failed) == ["decode", "too_large"]


def test_a_tally_of_nothing_is_zero():
    assert Tally().counts() == Counts()


def test_counts_that_do_not_add_up_cannot_be_made():
    with pytest.raises(AssertionError, match="doesn't add up"):
        Counts(read=3, labeled=1, failed={"decode": 1})


def test_counts_come_back_from_json():
    tally = Tally()
    tally.labeled((segment(1), segment(40)))
    tally.failed("empty")
    tally.warned(("key_text",))
    counts = tally.counts(unkeyed=1, directories=0)
    assert Counts.from_json(json.loads(json.dumps(counts.to_json()))) == counts


def test_counts_of_an_earlier_version_come_back_from_json():
    value = Counts(read=1, labeled=1, unkeyed=2).to_json()
    del value["directories"], value["warned"]
    assert Counts.from_json(value) == Counts(read=1, labeled=1, unkeyed=2)
