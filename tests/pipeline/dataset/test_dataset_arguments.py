"""What Python callers pass to the training reader and its helpers: checked before anything is opened."""

import pytest
import torch

from maskmill import LabeledImage, LabeledImages, SegmentFilter, collate, mask_set, semantic_map
from maskmill.models.errors import UsageError

SAMPLE = LabeledImage(
    image=torch.zeros(3, 4, 5, dtype=torch.uint8),
    masks=torch.ones(1, 4, 5, dtype=torch.bool),
    class_ids=torch.tensor([0]),
    scores=torch.tensor([0.5]),
    ignore=torch.zeros(4, 5, dtype=torch.bool),
    soft_masks=None,
    key="a",
    shard="/s.tar",
    sample_index=0,
    caption=None,
)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: LabeledImages(3), "output=3: expected a path or a URL"),
        (lambda: LabeledImages("out", steps="pads"), "steps='pads': expected 'exact', 'pad', 'drop'"),
        (lambda: LabeledImages("out", steps=None), "steps=None"),
        (lambda: LabeledImages("out", shuffle=-1), "shuffle=-1: expected a whole number, 0 or more"),
        (lambda: LabeledImages("out", shuffle=True), "shuffle=True"),
        (lambda: LabeledImages("out", seed=0.5), "seed=0.5"),
        (lambda: LabeledImages("out", rank="0"), "rank='0'"),
        (lambda: LabeledImages("out", world=2.0), "world=2.0"),
        (lambda: LabeledImages("out", keep={"min_score": 0.8}), "a filter, such as SegmentFilter(min_score=0.8)"),
        (lambda: LabeledImages("out", shards="a.tar"), "shards='a.tar': expected a list of texts"),
        (lambda: LabeledImages("out", scratch=3), "scratch=3: expected a path"),
        (lambda: SegmentFilter(min_score="0.8"), "min_score='0.8': expected a number"),
        (lambda: SegmentFilter(min_kept=True), "min_kept=True"),
        (lambda: SegmentFilter(min_area=None), "min_area=None"),
        (lambda: SegmentFilter(classes="zebra"), "classes='zebra': expected a list of texts"),
        (lambda: SegmentFilter(leave_out=[3]), "leave_out[0]=3"),
        (lambda: collate([]), "samples=[]: expected a list of LabeledImages, at least one"),
        (lambda: collate(SAMPLE), "expected a list of LabeledImages"),
        (lambda: collate([SAMPLE, None]), "expected a list of LabeledImages"),
        (lambda: collate([SAMPLE], multiple=0), "multiple=0"),
        (lambda: collate([SAMPLE], mean=0.5), "mean=0.5: expected a number for each of 3 channels"),
        (lambda: collate([SAMPLE], std=(1, 1, 0)), "std=(1, 1, 0)"),
        (lambda: collate([SAMPLE], std=(1, 1, "1")), "std='1': expected a number"),
        (lambda: collate([SAMPLE], ignore=1), "ignore=1: expected True or False"),
        (lambda: mask_set(SAMPLE, 0), "slots=0: expected a whole number, 1 or more"),
        (lambda: mask_set([SAMPLE], 2), "expected a LabeledImage"),
        (lambda: semantic_map(None), "sample=None: NoneType; expected a LabeledImage"),
        (lambda: semantic_map(SAMPLE, unlabeled="255"), "unlabeled='255'"),
    ],
)
def test_calls_say_what_was_expected(call, text):
    with pytest.raises(UsageError) as raised:
        call()
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_right_passes():
    assert SegmentFilter(classes=["zebra"]) == SegmentFilter(classes=("zebra",))
    assert collate([SAMPLE], mean=[0, 0, 0], std=[1, 1, 1])["pixel_values"].shape == (1, 3, 32, 32)
    assert mask_set(SAMPLE, 2).valid.tolist() == [True, False]
    assert semantic_map(SAMPLE, unlabeled=-1).unique().tolist() == [0]
