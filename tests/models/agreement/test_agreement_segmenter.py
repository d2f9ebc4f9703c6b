"""Agreement is what its definition says, by plain NumPy on decoded masks; labels stay as they are without it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from torch import Tensor

from maskmill.models import zoo
from maskmill.models.agreement.batches import view_of
from maskmill.models.agreement.segmenter import AgreementSegmenter, overlaps, with_agreement
from maskmill.models.agreement.views import View
from maskmill.models.inference.forms import GeneralInference, Inference, QueriesInference, SemanticInference
from maskmill.models.masks import rle
from maskmill.models.resize import ImageBatch, ResizeRule, Size, batch_of
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.synthesis.scene import scene
from tests.models.denseclip.plain_denseclip import described, tiny, vocabulary

FORMS = [
    GeneralInference(score_threshold=0.1, overlap_threshold=0.0),
    SemanticInference(),
    QueriesInference(score_threshold=0.1),
]


@pytest.fixture(scope="module")
def trained() -> Segmenter:
    return zoo.load("san-tiny", device="cpu")


@pytest.fixture(scope="module")
def batch(trained) -> ImageBatch:
    """Three scenes, one of them cropped, so that it has padding."""
    found = [scene(5, number).image for number in range(3)]
    found[1] = found[1][:120, :115]
    return batch_of(found, [(128, 128), (90, 86), (64, 64)], trained.rule)


@pytest.fixture(scope="module")
def classes(trained) -> ClassFeatures:
    return trained.classes(Vocabulary.load("scenes"))


def seen_in(segmenter: Segmenter, batch: ImageBatch, classes: ClassFeatures, form: Inference, view: View):
    """What a segmenter finds in a view of each image."""
    found = {}
    for part in view_of(batch, view, segmenter.rule):
        found |= zip(part.places, segmenter.segment(part.images, classes, form), strict=True)
    return [found[place] for place in range(len(batch))]


def plain(segments: Sequence[Segment], seen: Sequence[Segment], *, turned: bool) -> list[float]:
    """The definition, pixel by pixel, of masks that pycocotools decodes."""

    def pixels(segment: Segment) -> np.ndarray:
        return coco.decode({"size": list(segment.mask_size), "counts": segment.rle}).astype(bool)

    found = []
    for segment in segments:
        own, best = pixels(segment), 0.0
        for other in seen:
            if other.vocab_id == segment.vocab_id:
                mask = pixels(other)[:, ::-1] if turned else pixels(other)
                best = max(best, (own & mask).sum() / (own | mask).sum())
        found.append(best)
    return found


@pytest.mark.parametrize("form", FORMS, ids=["general", "semantic", "queries"])
@pytest.mark.parametrize("views", [("flip",), ("scale",), ("flip", "scale")])
def test_it_is_the_mean_over_views_of_the_best_iou_with_a_mask_of_the_same_class(trained, batch, classes, form, views):
    found = AgreementSegmenter(trained, views).segment(batch, classes, form)
    each = [seen_in(trained, batch, classes, form, view) for view in views]
    count = 0
    for i, segments in enumerate(found):
        expected = np.mean(
            [plain(segments, other[i], turned=view == "flip") for view, other in zip(views, each, strict=True)], axis=0
        )
        assert [segment.agreement for segment in segments] == expected.tolist()
        count += len(segments)
    assert count >= 6


@pytest.mark.parametrize("form", FORMS, ids=["general", "semantic", "queries"])
def test_labels_are_bit_for_bit_those_without_it(trained, batch, classes, form):
    without = trained.segment(batch, classes, form, top_k=3)
    with_it = AgreementSegmenter(trained, ("flip", "scale")).segment(batch, classes, form, top_k=3)
    for mine, theirs in zip(with_it, without, strict=True):
        assert all(segment.agreement is not None for segment in mine)
        assert [replace(segment, agreement=None) for segment in mine] == theirs


def test_soft_masks_are_kept(trained, batch, classes):
    found = AgreementSegmenter(trained, ("scale",)).segment(batch, classes, FORMS[0], soft_masks=True)
    assert all(segment.mask_logits is not None for segments in found for segment in segments)


def test_a_denseclip_agrees_too():
    segmenter = tiny()
    names = vocabulary(*described("tinyvit")["vocab"])
    images = [scene(6, number).image[:100] for number in range(2)]
    made = batch_of(images, [(100, 128)] * 2, segmenter.rule)
    classes = segmenter.classes(names)
    found = AgreementSegmenter(segmenter, ("flip", "scale")).segment(made, classes, SemanticInference())
    for i, segments in enumerate(found):
        each = [
            plain(segments, seen_in(segmenter, made, classes, SemanticInference(), view)[i],
                  turned=view == "flip")
            for view in ("flip", "scale")
        ]  # fmt: skip
        assert [segment.agreement for segment in segments] == np.mean(each, axis=0).tolist()
    # Made-up weights agree on little.
    assert any(segment.agreement > 0 for segments in found for segment in segments)


def test_a_sliding_san_agrees_too(classes):
    """Of a batch whose images take as many windows, some views take none."""
    sliding = zoo.load("san-tiny", device="cpu", windows=2.0)
    images = [np.resize(scene(8, side).image, (side, side, 3)) for side in (140, 200)]
    made = batch_of(images, [(64, 64)] * 2, sliding.rule)
    assert len(view_of(made, "scale", sliding.rule)) == 2
    found = AgreementSegmenter(sliding, ("flip", "scale")).segment(made, classes, SemanticInference())
    for i, segments in enumerate(found):
        each = [
            plain(segments, seen_in(sliding, made, classes, SemanticInference(), view)[i], turned=view == "flip")
            for view in ("flip", "scale")
        ]
        assert [segment.agreement for segment in segments] == np.mean(each, axis=0).tolist()
    assert all(found)


@pytest.mark.parametrize("form", FORMS, ids=["general", "semantic", "queries"])
def test_neighbours_change_nothing_and_the_batch_size_next_to_nothing(trained, batch, classes, form):
    agreeing = AgreementSegmenter(trained, ("flip", "scale"))
    whole = agreeing.segment(batch, classes, form)
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, tuple(batch.pixels.shape), np.uint8))
    noise[1] = batch.pixels[1]
    replaced = agreeing.segment(replace(batch, pixels=noise), classes, form)
    assert replaced[1] == whole[1]
    alone = agreeing.segment(batch.part(1, 2), classes, form)[0]
    assert [segment.vocab_id for segment in alone] == [segment.vocab_id for segment in whole[1]]
    assert [segment.agreement for segment in alone] == pytest.approx(
        [segment.agreement for segment in whole[1]], abs=1e-3
    )


def test_one_image_of_pil_is_labeled_in_one_call(trained):
    found = AgreementSegmenter(trained, ("flip",))(Image.fromarray(scene(7, 1).image), Vocabulary.load("scenes"))
    assert found
    assert all(0.0 <= segment.agreement <= 1.0 for segment in found)


def test_without_views_the_segmenter_is_itself(trained):
    assert with_agreement(trained, ()) is trained
    wrapped = with_agreement(trained, ("flip",))
    assert (wrapped.name, wrapped.weights, wrapped.rule, wrapped.forms) == (
        trained.name, trained.weights, trained.rule, trained.forms,
    )  # fmt: skip


# --- small cases by hand


def segment(rows: Sequence[str], vocab_id: int) -> Segment:
    """A segment whose mask is drawn with `#`."""
    mask = np.array([[character == "#" for character in row] for row in rows])
    (found,) = rle.encode_and_measure(torch.from_numpy(mask)[None])
    return Segment(
        query=0, vocab_id=vocab_id, score=0.5, margin=0.5, top_ids=(vocab_id,), top_logits=(0.0,), background_logit=0.0,
        mask_score=None, stability=None, kept=None, area=found.area, bbox=found.bbox, rle=found.rle,
        mask_size=mask.shape,
    )  # fmt: skip


LEFT, RIGHT, HALF = ["##..", "##.."], ["..##", "..##"], ["###.", "###."]


def test_masks_of_the_same_class_are_compared_and_no_others():
    assert overlaps([segment(LEFT, 1)], [segment(LEFT, 1)], turned=False).tolist() == [1.0]
    assert overlaps([segment(LEFT, 1)], [segment(LEFT, 2)], turned=False).tolist() == [0.0]
    assert overlaps([segment(LEFT, 1)], [], turned=False).tolist() == [0.0]
    assert overlaps([segment(LEFT, 1)], [segment(HALF, 1)], turned=False).tolist() == [4 / 6]


def test_a_mirrored_views_masks_are_turned_back():
    assert overlaps([segment(LEFT, 1)], [segment(RIGHT, 1)], turned=True).tolist() == [1.0]
    assert overlaps([segment(LEFT, 1)], [segment(LEFT, 1)], turned=True).tolist() == [0.0]


def test_of_several_masks_the_best_counts_and_may_count_twice():
    mine = [segment(LEFT, 1), segment(HALF, 1), segment(RIGHT, 3)]
    seen = [segment(RIGHT, 2), segment(LEFT, 1), segment(["#...", "#..."], 1)]
    assert overlaps(mine, seen, turned=False).tolist() == [1.0, 4 / 6, 0.0]


class Bright(Segmenter):
    """A segmenter that can be followed by hand: class 1 where red is bright, class 0 elsewhere.

    Its numbers aren't finite where the first pixel is blue.
    """

    name, weights, rule, device = "bright", "none", ResizeRule(short_side=8, multiple=4), torch.device("cpu")

    compiled: Sequence[Size] = ()

    def compile(self, sizes: Sequence[Size], batch_size: int) -> None:
        self.compiled = sizes

    def encode_text(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        return torch.ones(len(vocabulary), 1)

    def segment(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> list[list[Segment] | None]:
        found: list[list[Segment] | None] = []
        for pixels, (height, width), size in zip(batch.pixels, batch.sizes, batch.mask_sizes, strict=True):
            red = pixels[:1, :height, :width].float()[None]
            bright = torch.nn.functional.interpolate(red, size=size, mode="nearest")[0, 0].numpy() > 128
            rows = [["".join("#" if on else "." for on in row) for row in mask] for mask in (~bright, bright)]
            both = [segment(drawn, vocab_id) for vocab_id, drawn in enumerate(rows) if "#" in "".join(drawn)]
            found.append(None if pixels[2, 0, 0] == 255 else both)
        return found


def bright(image: np.ndarray, *views: str) -> list[float] | None:
    made = batch_of([image], [image.shape[:2]], Bright.rule)
    classes = Bright().classes(Vocabulary.of(["dark", "bright"]), ["{}"])
    (found,) = AgreementSegmenter(Bright(), views).segment(made, classes, SemanticInference())
    return None if found is None else [one.agreement for one in found]


@pytest.mark.parametrize(
    ("views", "more"), [(("flip",), []), (("scale",), [(12, 12)]), (("flip", "scale"), [(12, 12)])]
)
def test_sizes_of_scaled_views_are_compiled_too(views, more):
    segmenter, sizes = Bright(), [(16, 16), (8, 12)]
    AgreementSegmenter(segmenter, views).compile(sizes, 4)
    # 0.75 of 8 x 12 is 6 x 9, padded 8 x 12 again.
    assert segmenter.compiled == sizes + more


def test_a_batch_that_was_begun_is_finished_as_it_would_have_been(trained, batch, classes):
    agreeing = AgreementSegmenter(trained, ("flip", "scale"))
    first = agreeing.begin(batch, classes, FORMS[0])
    second = agreeing.begin(batch.part(1, 3), classes, FORMS[0])
    assert first() == agreeing.segment(batch, classes, FORMS[0])
    assert second() == agreeing.segment(batch.part(1, 3), classes, FORMS[0])


def test_a_model_that_treats_left_and_right_alike_agrees_with_itself_wholly():
    image = np.random.default_rng(0).integers(0, 256, (7, 10, 3), np.uint8)
    image[..., 2] = 0
    assert bright(image, "flip") == [1.0, 1.0]


def test_a_view_whose_numbers_are_not_finite_agrees_with_nothing():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4, 0] = 255
    image[0, 7, 2] = 255  # the mirrored image's first pixel
    assert bright(image, "flip") == [0.0, 0.0]
    one, two = bright(image, "scale")
    assert bright(image, "flip", "scale") == [one / 2, two / 2]
    assert one > 0.5
    # An image whose own numbers are not finite has no labels, whatever its views say.
    assert bright(image[:, ::-1], "flip") is None


def test_an_image_without_segments_stays_so(trained, classes):
    empty = batch_of([np.zeros((128, 128, 3), np.uint8)], [(16, 16)], trained.rule)
    found = AgreementSegmenter(trained, ("flip",)).segment(empty, classes, GeneralInference(score_threshold=1.0))
    assert found == [[]]


@pytest.mark.gpu
@pytest.mark.parametrize("form", FORMS, ids=["general", "semantic", "queries"])
def test_on_a_gpu_it_is_the_same_but_for_pixels_at_a_threshold(trained, batch, form):
    there = zoo.load("san-tiny", device="cuda")
    found, expected = (
        AgreementSegmenter(one, ("flip", "scale")).segment(
            batch, one.classes(Vocabulary.load("scenes")).to(one.device), form
        )
        for one in (there, trained)
    )
    for mine, theirs in zip(found, expected, strict=True):
        assert [segment.vocab_id for segment in mine] == [segment.vocab_id for segment in theirs]
        assert [segment.agreement for segment in mine] == pytest.approx(
            [segment.agreement for segment in theirs], abs=0.01
        )
