from dataclasses import replace

import pytest
import torch

from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset import LabeledImages, collate


@pytest.fixture
def samples(run_of):
    return list(LabeledImages(run_of[1].url))[-3:]


def emptied(sample):
    """What a filter leaves of a sample that it drops all segments of."""
    return replace(
        sample,
        masks=sample.masks[:0], class_ids=sample.class_ids[:0], scores=sample.scores[:0], soft_masks=None,
        ignore=sample.masks.any(0),
    )  # fmt: skip


def test_a_batch_holds_images_masks_and_what_is_ignored(samples):
    batch = collate(samples)
    assert batch["pixel_values"].shape == (3, 3, 128, 128)
    assert batch["pixel_mask"].sum((1, 2)).tolist() == [s.image.shape[1] * s.image.shape[2] for s in samples]
    for masks, labels, ignore, sample in zip(
        batch["mask_labels"], batch["class_labels"], batch["ignore_mask"], samples, strict=True
    ):
        height, width = sample.image.shape[1:]
        assert torch.equal(masks[:, :height, :width], sample.masks)
        assert torch.equal(labels, sample.class_ids)
        assert torch.equal(ignore[:height, :width], sample.ignore)
        assert ignore[height:].all()
        assert ignore[:, width:].all()
        assert masks.sum() == sample.masks.sum()
    red = (samples[-1].image[0, 0, 0] / 255 - 0.485) / 0.229
    assert batch["pixel_values"][-1, 0, 0, 0] == pytest.approx(float(red))
    assert batch["skipped"] == 0


def test_images_in_unit_range_are_taken_as_they_are(samples):
    as_floats = [replace(sample, image=sample.image / 255) for sample in samples]
    assert torch.allclose(collate(as_floats)["pixel_values"], collate(samples)["pixel_values"])


def test_images_that_were_normalised_already_are_refused(samples):
    normalised = [replace(sample, image=(sample.image / 255.0 - 0.45) / 0.225) for sample in samples]
    with pytest.raises(UsageError, match="Leave Normalize out of the transform, or pass mean"):
        collate(normalised)
    collate(normalised, mean=(0, 0, 0), std=(1, 1, 1))


def test_images_with_nothing_to_learn_are_skipped_and_counted(samples):
    batch = collate([emptied(samples[0]), *samples[1:]])
    assert batch["skipped"] == 1
    assert len(batch["pixel_values"]) == len(batch["ignore_mask"]) == 2
    assert torch.equal(batch["class_labels"][0], samples[1].class_ids)


def test_a_batch_with_nothing_to_learn_at_all_is_one_ignored_image(samples):
    batch = collate([emptied(sample) for sample in samples])
    assert batch["skipped"] == 3
    assert len(batch["pixel_values"]) == 1
    assert batch["ignore_mask"].all()
    assert batch["mask_labels"][0].shape == (0, *batch["ignore_mask"].shape[1:])


def test_without_ignored_pixels_a_batch_is_exactly_mask2formers_arguments(samples):
    batch = collate(samples, ignore=False)
    assert set(batch) == {"pixel_values", "pixel_mask", "mask_labels", "class_labels"}
    assert {masks.dtype for masks in batch["mask_labels"]} == {torch.float32}
