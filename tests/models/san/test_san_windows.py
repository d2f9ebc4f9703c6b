"""A SAN with sliding windows: each window as the model sees it alone, averaged as the plain evaluation does."""

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill import GeneralInference, SemanticInference, Vocabulary
from maskmill.models import zoo
from maskmill.models.compiled import FixedShapes
from maskmill.models.errors import UsageError
from maskmill.models.inference.sliding import SlidingGeometry
from maskmill.models.resize import ImageBatch, batch_of, usual_sizes
from maskmill.models.san.config import SAN_TINY
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.san.untrained import FillRule
from maskmill.models.san.windows import SlidingSan
from maskmill.models.segment import Segment
from tests.golden_rule import image
from tests.models.inference.test_sliding import label_map, plain_sums

VOCABULARY = Vocabulary.load("scenes")
SEMANTIC = SemanticInference()


def mild(dtype="float32") -> SanSegmenter:
    """san-tiny by a rule that isn't so sure of background that names vanish in float32."""
    rule = FillRule(salt="mild/", overrides={"ov_classifier.logit_scale": 2.0})
    return zoo.build(SAN_TINY, rule.state(zoo.shapes(SAN_TINY)), rule=zoo.MODELS["san-tiny"].rule, dtype=dtype)


@pytest.fixture(scope="module")
def san() -> SanSegmenter:
    return mild()


@pytest.fixture(scope="module")
def sliding(san) -> SlidingSan:
    return SlidingSan(san, 2.0)


@pytest.fixture(scope="module")
def classes(san):
    return san.classes(VOCABULARY, ["a {}"])


def batch(sliding: SlidingSan, *shapes: tuple[int, int], seeds: tuple[int, ...] = (1, 2, 3, 4)) -> ImageBatch:
    """Images of these heights and widths, resized; their masks have the images' sizes."""
    images = [Image.fromarray(image(*shape, seed)) for shape, seed in zip(shapes, seeds, strict=False)]
    return batch_of([sliding.rule.apply(one) for one in images], shapes, sliding.rule)


def same(found: list[Segment], wanted: list[Segment]) -> None:
    """The same labels but for rounding."""
    assert (label_map(found) != label_map(wanted)).mean() <= 1e-3
    assert [one.vocab_id for one in found] == [one.vocab_id for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-3)


@pytest.mark.parametrize(
    "shape",
    [(140, 150), *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((256, 256), (300, 400), (128, 700)))],
)
def test_an_image_is_labeled_as_its_windows_one_by_one(shape):
    sliding = SlidingSan(mild("float64"), 2.0)
    classes = sliding.classes(VOCABULARY, ["a {}"])
    one = batch(sliding, shape)
    (size,) = one.sizes
    grid = sliding.rule.grid(size)
    assert len(grid) > 1
    outputs = []
    for window in grid.cut(one.pixels[0]):
        alone = batch_of([window.permute(1, 2, 0).numpy()], [(1, 1)], sliding.san.rule)
        outputs.append(sliding.san.logits(alone, classes))
    padded = sliding.san.rule.padded(grid.size)
    sums = plain_sums(
        torch.cat([output.mask_logits for output in outputs]),
        torch.cat([output.class_logits for output in outputs]),
        SlidingGeometry(windows=grid, padded=padded, size=size, mask_size=shape),
    )
    (segments,) = sliding.segment(one, classes, SEMANTIC)
    np.testing.assert_array_equal(label_map(segments), sums[:-1].argmax(0).numpy())


@pytest.mark.parametrize("shape", [(128, 128), (60, 90), (96, 512), (20, 300)])
def test_an_image_of_its_usual_size_gets_exactly_the_labels_it_has_without_windows(san, sliding, classes, shape):
    one = batch(sliding, shape, shape)
    plain = batch_of([san.rule.apply(Image.fromarray(image(*shape, seed))) for seed in (1, 2)], [shape] * 2, san.rule)
    assert torch.equal(one.pixels, plain.pixels)
    assert sliding.segment(one, classes, SEMANTIC, top_k=3) == san.segment(plain, classes, SEMANTIC, top_k=3)


def test_neighbours_and_what_lies_beyond_an_image_change_nothing(sliding, classes):
    shapes = (250, 300), (256, 340), (230, 310)
    first = batch(sliding, *shapes)
    noisy = batch(sliding, *shapes, seeds=(7, 2, 8))
    for pixels, (height, width) in zip(noisy.pixels, noisy.sizes, strict=True):
        pixels[:, height:], pixels[:, :, width:] = 99, 99
    assert sliding.segment(first, classes, SEMANTIC)[1] == sliding.segment(noisy, classes, SEMANTIC)[1]


def test_batches_of_any_size_say_the_same(sliding, classes):
    shapes = (250, 300), (256, 340), (230, 310)
    together = sliding.segment(batch(sliding, *shapes), classes, SEMANTIC)
    for index, shape in enumerate(shapes):
        alone = batch(sliding, shape, seeds=(index + 1,))
        same(sliding.segment(alone, classes, SEMANTIC)[0], together[index])


def test_windows_go_through_the_model_in_bounded_numbers_and_one_shape(classes):
    seen = []

    class Watched(SanSegmenter):
        def logits(self, batch, classes):
            seen.append(tuple(batch.pixels.shape))
            return super().logits(batch, classes)

    plain = mild()
    watched = Watched(plain.model, name="san-tiny", weights="", rule=plain.rule, dtype="float32")
    sliding = SlidingSan(watched, 4.0)
    (one,) = [batch(sliding, (480, 900))]
    assert len(sliding.rule.grid(one.sizes[0])) == 6 * 11
    sliding.segment(one, classes, SEMANTIC)
    assert sum(shape[0] for shape in seen) == 66
    assert {shape[1:] for shape in seen} == {(3, 128, 128)}
    assert max(shape[0] for shape in seen) == 16


@pytest.mark.slow
def test_windows_of_full_batches_are_compiled_once_for_all_grids(classes, sliding):
    seen = []

    def backend(graph, _inputs):
        def run(*given):
            seen.append(1)
            return graph.forward(*given)

        return run

    plain = sliding.san
    san = SanSegmenter(plain.model, name="san-tiny", weights="", rule=plain.rule, dtype="float32")
    san._compiled = FixedShapes(san._fixed_pass, san.arithmetic, backend=backend)
    made = SlidingSan(san, 2.0)
    made.compile(usual_sizes(made.rule), 8)
    seen.clear()
    # Of 8 images with 4 times the pixels 2 are a batch, whose 18 windows go through the model in 8, 8 and 2.
    full = batch(made, (256, 256), (250, 250))
    found = made.segment(full, classes, SEMANTIC)
    assert len(seen) == 2
    for mine, theirs in zip(found, sliding.segment(full, classes, SEMANTIC), strict=True):
        same(mine, theirs)


def test_where_windows_do_not_fit_together_fewer_are_tried(sliding, classes):
    class Small(SanSegmenter):
        def logits(self, batch, classes):
            if len(batch) > 1:
                raise torch.OutOfMemoryError("made up")
            return super().logits(batch, classes)

    plain = sliding.san
    small = SlidingSan(Small(plain.model, name="san-tiny", weights="", rule=plain.rule, dtype="float32"), 2.0)
    one = batch(sliding, (256, 256))
    same(small.segment(one, classes, SEMANTIC)[0], sliding.segment(one, classes, SEMANTIC)[0])


def test_a_low_panorama_has_low_windows_padded_as_images_are(sliding, classes):
    one = batch(sliding, (100, 1000))
    assert one.sizes == ((100, 1000),)
    assert sliding.rule.grid((100, 1000)).size == (100, 128)
    (segments,) = sliding.segment(one, classes, SEMANTIC)
    assert sum(segment.area for segment in segments) == 100 * 1000


def test_an_image_of_pil_is_labeled_in_one_call(sliding):
    segments = sliding(Image.fromarray(image(300, 260, 4)), VOCABULARY, mask_side=150)
    assert sum(segment.area for segment in segments) == 150 * 130


def test_images_without_finite_numbers_are_none(classes):
    broken = SlidingSan(mild(), 2.0)
    with torch.no_grad():
        broken.san.model.ov_classifier.bg_embed.fill_(float("nan"))
    assert broken.segment(batch(broken, (256, 256)), classes, SEMANTIC) == [None]


def test_forms_whose_segments_are_queries_are_refused(sliding, classes):
    one = batch(sliding, (256, 256))
    with pytest.raises(UsageError, match="san with windows offers semantic alone"):
        sliding.segment(one, classes, GeneralInference())
    with pytest.raises(UsageError, match="--soft-masks with --windows"):
        sliding.segment(one, classes, SEMANTIC, soft_masks=True)


def test_a_model_is_loaded_with_windows_by_name():
    found = zoo.load("san-tiny", device="cpu", windows=2)
    assert isinstance(found, SlidingSan)
    assert (found.name, found.forms) == ("san-tiny", ("semantic",))
    assert found.rule == zoo.MODELS["san-tiny"].rule_with(2)
    with pytest.raises(UsageError, match=r"--windows 1: expected a number above 1, up to 4"):
        zoo.load("san-tiny", windows=1)
    with pytest.raises(UsageError, match=r"--windows 2: denseclip-tiny slides by itself, 128 every 85\. Leave it out"):
        zoo.load("denseclip-tiny", windows=2)
