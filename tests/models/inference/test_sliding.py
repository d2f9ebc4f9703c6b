"""Averaging over sliding windows against a plain sliding evaluation that builds every sum at every pixel."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from maskmill.models.inference import semantic, upsample
from maskmill.models.inference.semantic import semantic_segments
from maskmill.models.inference.sliding import SlidingGeometry, sliding_segments
from maskmill.models.inference.upsample import Geometry
from maskmill.models.segment import Segment
from maskmill.models.windows import WindowConfig, windows_of
from tests.models.inference.plain_inference import describe

CONFIG = WindowConfig(side=32, stride=21)


def case(size, mask_size, *, seed=0, queries=6, names=7, dtype=torch.float64, config=CONFIG, multiple=8):
    """Random smooth logits at stride 8 of every window of an image."""
    windows = windows_of(size, config)
    padded = tuple(-(-side // multiple) * multiple for side in windows.size)
    draw = torch.Generator().manual_seed(seed)
    count, cells = len(windows), [side // 8 for side in padded]
    masks = torch.randn(count, queries, *cells, generator=draw, dtype=torch.float64) * 4
    classes = torch.randn(count, queries, names + 1, generator=draw, dtype=torch.float64) * 3
    geometry = SlidingGeometry(windows=windows, padded=padded, size=size, mask_size=mask_size)
    return masks.to(dtype), classes.to(dtype), geometry


def plain_sums(masks, classes, geometry):
    """Sums over queries averaged by count, background last: [N + 1, H, W], with loops as a published slide has them.

    Each window's mask logits are enlarged to it, laid into the whole resized image with its border pixels repeated
    beyond it, and enlarged to the masks; a window counts at the mask pixels whose centres lie in it.
    """
    (height, width), (rows, columns) = geometry.size, geometry.mask_size
    side = geometry.windows.size
    total, count = torch.zeros(classes.shape[2], rows, columns, dtype=torch.float64), torch.zeros(rows, columns)
    down = (torch.arange(rows, dtype=torch.float64) + 0.5) * height / rows
    across = (torch.arange(columns, dtype=torch.float64) + 0.5) * width / columns
    starts = [(top, left) for top in geometry.windows.tops for left in geometry.windows.lefts]
    for (top, left), mask, logits in zip(starts, masks.double(), classes.double(), strict=True):
        own = functional.interpolate(mask[None], geometry.padded, mode="bilinear", align_corners=False)
        own = own[..., : side[0], : side[1]]
        beyond = (left, width - left - side[1], top, height - top - side[0])
        laid = functional.interpolate(
            functional.pad(own, beyond, mode="replicate"), (rows, columns), mode="bilinear", align_corners=False
        )[0]
        sums = torch.einsum("qc,qhw->chw", logits.softmax(1), laid.sigmoid())
        inside = ((down >= top) & (down < top + side[0]))[:, None] & ((across >= left) & (across < left + side[1]))
        total += sums * inside
        count += inside
    assert count.min() >= 1
    return total / count


def label_map(segments: list[Segment]) -> np.ndarray:
    labels = np.full(segments[0].mask_size, -1)
    for segment in segments:
        assert (labels[segment.mask] == -1).all()
        labels[segment.mask] = segment.vocab_id
    return labels


@pytest.mark.parametrize(
    ("size", "mask_size"),
    [
        ((64, 85), (64, 85)),  # masks of the resized image's size
        ((64, 85), (150, 200)),  # larger ones
        ((64, 85), (23, 31)),  # smaller ones
        ((54, 54), (54, 54)),  # the last window shifted to beside the one before: three cover a pixel
        ((20, 100), (40, 200)),  # lower than a window, padded
        ((33, 32), (5, 5)),
        ((90, 32), (1, 1)),  # some windows hold no pixel's centre
    ],
)
def test_segments_are_those_of_a_plain_sliding_evaluation(size, mask_size):
    masks, classes, geometry = case(size, mask_size)
    sums = plain_sums(masks, classes, geometry)
    segments = sliding_segments(masks, classes, geometry, top_k=4)
    labels = sums[:-1].argmax(0).numpy()
    np.testing.assert_array_equal(label_map(segments), labels)
    assert [segment.vocab_id for segment in segments] == sorted(np.unique(labels))
    for segment in segments:
        wanted = describe(np.log(sums[:, torch.from_numpy(segment.mask)].mean(1).numpy()), 4)
        assert list(segment.top_ids) == wanted["top_ids"]
        assert list(segment.top_logits) == pytest.approx(wanted["top_logits"], abs=1e-10)
        assert segment.background_logit == pytest.approx(wanted["background_logit"], abs=1e-10)
        assert (segment.score, segment.margin) == pytest.approx((wanted["score"], wanted["margin"]), abs=1e-10)
        assert (segment.query, segment.mask_score, segment.stability, segment.kept) == (-1, None, None, None)


def test_averaging_at_the_resized_images_pixels_is_the_same_where_masks_have_its_size():
    """The published order, spelled out: sums in each window at its own pixels, added, divided by the count."""
    masks, classes, geometry = case((64, 85), (64, 85), seed=3)
    total, count = torch.zeros(8, 64, 85, dtype=torch.float64), torch.zeros(64, 85)
    starts = [(top, left) for top in geometry.windows.tops for left in geometry.windows.lefts]
    for (top, left), mask, logits in zip(starts, masks, classes, strict=True):
        own = functional.interpolate(mask[None], (32, 32), mode="bilinear", align_corners=False)[0].sigmoid()
        total[:, top : top + 32, left : left + 32] += torch.einsum("qc,qhw->chw", logits.softmax(1), own)
        count[top : top + 32, left : left + 32] += 1
    np.testing.assert_array_equal(
        label_map(sliding_segments(masks, classes, geometry, top_k=1)), (total / count)[:-1].argmax(0)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("size", "mask_size"), [((32, 32), (32, 32)), ((30, 27), (90, 81)), ((17, 32), (9, 16))])
def test_one_window_gives_exactly_what_no_windows_give(dtype, size, mask_size):
    masks, classes, geometry = case(size, mask_size, dtype=dtype)
    whole = Geometry(padded=geometry.padded, size=size, mask_size=mask_size)
    assert len(geometry.windows) == 1
    assert sliding_segments(masks, classes, geometry, top_k=3) == semantic_segments(
        masks[0], classes[0], whole, top_k=3
    )


def test_a_large_vocabulary_has_no_sum_of_every_name_at_every_pixel():
    masks, classes, geometry = case((48, 64), (18, 24), names=21_000, dtype=torch.float32)
    labels = plain_sums(masks, classes, geometry)[:-1].argmax(0).numpy()
    np.testing.assert_array_equal(label_map(sliding_segments(masks, classes, geometry, top_k=1)), labels)


@pytest.mark.parametrize(("elements", "rows"), [(1, 3_000), (77, 1), (1 << 28, 1 << 28)])
def test_segments_do_not_depend_on_the_size_of_chunks(elements, rows, monkeypatch):
    masks, classes, geometry = case((64, 85), (64, 85))
    expected = sliding_segments(masks, classes, geometry, top_k=3)
    monkeypatch.setattr(semantic, "CPU_SUM_ELEMENTS", elements)
    monkeypatch.setattr(upsample, "CPU_BAND_ELEMENTS", rows)
    for ours, before in zip(sliding_segments(masks, classes, geometry, top_k=3), expected, strict=True):
        assert (ours.vocab_id, ours.rle, ours.top_ids) == (before.vocab_id, before.rle, before.top_ids)
        assert list(ours.top_logits) == pytest.approx(before.top_logits, abs=1e-12)


def test_masks_that_vanish_in_float32_still_leave_finite_numbers():
    masks, classes, geometry = case((64, 85), (64, 85), dtype=torch.float32)
    masks[:] = -1e6
    segments = sliding_segments(masks, classes, geometry, top_k=3)
    assert sum(segment.area for segment in segments) == 64 * 85
    assert np.isfinite([segment.top_logits for segment in segments]).all()
    assert all(segment.top_logits[0] > -100 for segment in segments)


def test_what_a_window_says_ends_at_its_border():
    """A window that is sure of a name of its own has all pixels that no other window sees, and no other ones."""
    masks, classes, geometry = case((32, 53), (32, 53), names=3)
    masks[:], classes[:] = 5.0, 0.0
    classes[0, :, 0], classes[1, :, 1] = 20.0, 10.0
    labels = label_map(sliding_segments(masks, classes, geometry, top_k=1))
    assert geometry.windows.lefts == (0, 21)
    assert (labels[:, :32] == 0).all()
    assert (labels[:, 32:] == 1).all()


def test_a_window_without_finite_numbers_spoils_its_image():
    masks, classes, geometry = case((64, 85), (64, 85))
    classes[3, 0, 0] = torch.inf
    with pytest.raises(FloatingPointError):
        sliding_segments(masks, classes, geometry, top_k=1)
