"""The segmenter: bytes to input, arithmetic types, text, and segments of whole batches."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import maskmill.models.san.segmenter as segmenter_module
from maskmill import (
    ClassFeatures,
    GeneralInference,
    QueriesInference,
    SemanticInference,
    Vocabulary,
)
from maskmill.models import checkpoint, zoo
from maskmill.models.clip.pixels import CLIP_MEAN, CLIP_STD, extents
from maskmill.models.compiled import FixedShapes
from maskmill.models.resize import batch_of
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.segmenter import Segmenter
from maskmill.pipeline.synthesis.scene import scene
from tests.golden_rule import image
from tests.models.san.tiny16 import tiny16
from tests.untrained_tiny import untrained_tiny

VOCABULARY = Vocabulary.of(["person", "dining table", "sky", "grass"])


@pytest.fixture(scope="module")
def tiny() -> Segmenter:
    return untrained_tiny()


@pytest.fixture(scope="module")
def batch():
    images = [image(128, 176, 1), image(128, 170, 2), image(120, 176, 3)]
    return batch_of(images, [(128, 176), (64, 85), (240, 352)], zoo.MODELS["san-tiny"].rule)


def test_input_is_normalised_first_and_padded_with_zeros_after():
    segmenter = tiny16()
    pixels = torch.from_numpy(image(64, 96, 1)).permute(2, 0, 1)[None]
    images = segmenter.normalised(pixels, [(50, 70)])
    expected = (pixels[0, :, 10, 20].double() - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    assert torch.allclose(images[0, :, 10, 20].double(), expected, atol=1e-6)
    assert not images[0, :, 50:].any()
    assert not images[0, :, :, 70:].any()
    assert images[0, :, 49, 69].all()


def test_bytes_in_the_padding_mean_nothing(tiny, batch):
    classes = tiny.classes(VOCABULARY)
    noisy = batch.pixels.clone()
    noisy[1, :, :, 170:] = 255
    noisy[2, :, 120:] = 77
    before, after = tiny.logits(batch, classes), tiny.logits(dataclasses.replace(batch, pixels=noisy), classes)
    assert torch.equal(before.mask_logits, after.mask_logits)
    assert torch.equal(before.class_logits, after.class_logits)


@pytest.mark.parametrize("form", [GeneralInference(score_threshold=0.1, overlap_threshold=0.0), SemanticInference(),
                                  QueriesInference(score_threshold=0.1)])  # fmt: skip
def test_segments_have_the_size_asked_for(tiny, batch, form):
    found = tiny.segment(batch, tiny.classes(VOCABULARY), form, top_k=2)
    assert len(found) == 3
    for segments, size in zip(found, batch.mask_sizes, strict=True):
        assert segments
        for segment in segments:
            assert segment.mask.shape == size
            assert segment.mask.sum() == segment.area > 0
            assert len(segment.top_ids) == 2


def test_an_image_of_pil_is_labeled_in_one_call(tiny):
    segments = tiny(Image.fromarray(image(90, 60, 4)).convert("L"), VOCABULARY, SemanticInference(), mask_side=45)
    assert sum(segment.area for segment in segments) == 45 * 30


def test_images_without_finite_numbers_are_none(batch):
    broken = untrained_tiny()
    classes = broken.classes(VOCABULARY)
    with torch.no_grad():
        broken.model.ov_classifier.bg_embed.fill_(float("nan"))
    assert broken.segment(batch, classes, GeneralInference()) == [None, None, None]
    with pytest.raises(FloatingPointError):
        broken(Image.fromarray(image(128, 128, 1)), classes)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-4), ("bfloat16", 0.2)])
def test_types_of_arithmetic_agree_with_float32(batch, dtype, tolerance):
    state = tiny16().model.state_dict()
    config = tiny16().model.config
    exact, other = zoo.build(config, state), zoo.build(config, state, dtype=dtype)
    classes = exact.classes(VOCABULARY)
    whole = batch_of([image(128, 160, 1)], [(128, 160)], exact.rule)
    one, two = exact.logits(whole, classes), other.logits(whole, classes)
    assert two.mask_logits.dtype == two.class_logits.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    for mine, theirs in ((two.mask_logits, one.mask_logits), (two.class_logits, one.class_logits)):
        assert (mine - theirs).abs().max() <= tolerance * theirs.abs().max()
    assert other.encode_text(VOCABULARY, ["a {}."]).dtype == torch.float32


def test_synonyms_are_averaged_into_one_feature(tiny):
    entry = VOCABULARY[0]
    both = Vocabulary((dataclasses.replace(entry, synonyms=("human",)),))
    alone = tiny.encode_text(Vocabulary.of(["person", "human"]), ["a {}."])
    expected = torch.nn.functional.normalize(alone.mean(dim=0), dim=0)
    assert torch.allclose(tiny.encode_text(both, ["a {}."])[0], expected, atol=1e-6)


def test_the_default_form_finds_three_segments_in_a_picture(tiny):
    """What untrained weights say means nothing, but tables made with them must hold something to count."""
    images = [scene(0, i).image for i in range(16)]
    classes = tiny.classes(Vocabulary.load("scenes"))
    whole = batch_of(images, [(128, 128)] * 16, tiny.rule)
    found = tiny.segment(whole, classes, GeneralInference())
    assert sum(map(len, found)) / 16 >= 3
    assert isinstance(classes, ClassFeatures)
    assert np.isfinite([segment.score for segments in found for segment in segments]).all()


def test_text_features_can_be_trained_against(tiny):
    weights = tiny.model.ov_classifier.class_weights(tiny.encode_text(VOCABULARY, ["a {}."]))
    weights[-1].sum().backward()
    assert tiny.model.ov_classifier.bg_embed.grad is not None
    tiny.model.ov_classifier.bg_embed.grad = None


@pytest.mark.parametrize("form", [GeneralInference(score_threshold=0.1), SemanticInference()])
def test_weights_held_in_bfloat16_label_as_autocast_does(batch, form):
    cast, held = untrained_tiny(dtype="bfloat16"), untrained_tiny(dtype="bfloat16")
    held.settle()
    assert held.model.get_parameter("clip_visual_extractor.conv1.weight").dtype == torch.bfloat16
    assert cast.model.get_parameter("clip_visual_extractor.conv1.weight").dtype == torch.float32
    kept = {name: p.dtype for name, p in held.model.named_parameters() if p.dtype == torch.float32}
    assert "side_adapter_network.mask_decoder.bias_scaling.weight" in kept
    classes = cast.classes(VOCABULARY)
    assert torch.equal(classes.features, held.classes(VOCABULARY).features)
    one, two = cast.logits(batch, classes), held.logits(batch, classes)
    assert torch.equal(one.mask_logits, two.mask_logits)
    assert torch.equal(one.class_logits, two.class_logits)
    assert [len(segments) for segments in cast.segment(batch, classes, form)] == [
        len(segments) for segments in held.segment(batch, classes, form)
    ]


def test_a_batch_beyond_a_cpus_cache_gives_what_its_images_give_alone(tiny, batch, monkeypatch):
    classes = tiny.classes(VOCABULARY)
    together = tiny.logits(batch, classes)
    monkeypatch.setattr(segmenter_module, "CPU_PIXELS", 1)
    assert tiny.images_at_once((128, 176)) == 1
    apart = tiny.logits(batch, classes)
    for mine, theirs in ((apart.mask_logits, together.mask_logits), (apart.class_logits, together.class_logits)):
        assert (mine - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_batches_begun_together_give_what_each_gives_alone(tiny, batch):
    classes, form = tiny.classes(VOCABULARY), GeneralInference(score_threshold=0.1, overlap_threshold=0.0)
    parts = [batch.part(0, 2), batch.part(2, 3), batch]
    finishes = [tiny.begin(part, classes, form) for part in parts]
    assert [finish() for finish in finishes] == [tiny.segment(part, classes, form) for part in parts]


class NoWaiting(TorchDispatchMode):
    """Refuses operators for which a GPU would be waited for: values that the host reads, shapes that values decide."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.overloadpacket._qualified_op_name.removeprefix("aten::")
        assert name not in {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2"}, name
        return operator(*args, **kwargs or {})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_forward_pass_waits_for_nothing(batch, dtype):
    segmenter = untrained_tiny(dtype=dtype)
    segmenter.settle()
    classes = segmenter.classes(VOCABULARY)
    with NoWaiting():
        segmenter.logits(batch, classes)
        with torch.inference_mode(), segmenter.arithmetic():
            segmenter._fixed_pass(batch.pixels, extents(batch.sizes, segmenter.device))


@pytest.fixture
def compiled(tiny, batch):
    """A segmenter that has compiled pieces of two images of the batch's size, by a compiler that changes nothing."""
    made = SanSegmenter(tiny.model, name=tiny.name, weights=tiny.weights, rule=tiny.rule, dtype="float32")
    made.images_at_once = lambda padded: 2
    seen = []

    def backend(graph, _inputs):
        def run(*given):
            seen.append(len(given))
            return graph.forward(*given)

        return run

    made._compiled = FixedShapes(made._fixed_pass, made.arithmetic, backend=backend)
    made.compile([(128, 176)], 8)
    seen.clear()
    return made, seen


@pytest.mark.slow
def test_full_pieces_are_compiled_and_the_rest_is_not(tiny, batch, compiled):
    made, seen = compiled
    classes = tiny.classes(VOCABULARY)
    for part, runs in ((batch, 1), (batch.part(0, 2), 1), (batch.part(0, 1), 0)):
        seen.clear()
        mine, theirs = made.logits(part, classes), tiny.logits(part, classes)
        assert len(seen) == runs, len(part)
        for one, other in ((mine.mask_logits, theirs.mask_logits), (mine.class_logits, theirs.class_logits)):
            assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.slow
def test_what_runs_compiled_does_not_depend_on_what_came_before(tiny, batch, compiled):
    made, _ = compiled
    classes = tiny.classes(VOCABULARY)
    first = made.logits(batch, classes)
    for part in (batch.part(0, 1), batch.part(1, 3), batch):
        made.logits(part, classes)
    again = made.logits(batch, classes)
    assert torch.equal(first.mask_logits, again.mask_logits)
    assert torch.equal(first.class_logits, again.class_logits)


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-9)])
def test_compiled_numbers_are_within_what_another_device_may_give(dtype, bound):
    """With trained weights; the untrained ones of other tests magnify any rounding tenfold, also eager's."""
    spec = zoo.MODELS["san-tiny"]
    segmenter = zoo.build(spec.config, checkpoint.load(spec.default_weights), rule=spec.rule, dtype=dtype)
    batch = batch_of(
        [np.pad(scene(7, n).image[: 128 - n], ((0, 0), (0, 42), (0, 0)), "wrap") for n in range(4)],
        [(9, 9)] * 4,
        spec.rule,
    )
    classes = segmenter.classes(Vocabulary.load("scenes"))
    eager = segmenter.logits(batch, classes)
    segmenter.compile([(128, 176)], 4)
    found = segmenter.logits(batch, classes)
    for mine, theirs in ((found.mask_logits, eager.mask_logits), (found.class_logits, eager.class_logits)):
        assert mine.dtype == theirs.dtype
        assert (mine - theirs).abs().max() <= bound * theirs.abs().max()


def test_class_weights_follow_the_names_asked_for_and_the_background(tiny, batch):
    few, other = tiny.classes(VOCABULARY), tiny.classes(Vocabulary.of(["cat", "dog"]))
    first = tiny.logits(batch, few).class_logits
    assert tiny.logits(batch, other).class_logits.shape[2] == 3
    assert torch.equal(tiny.logits(batch, few).class_logits, first)
    background = tiny.model.ov_classifier.bg_embed
    with torch.no_grad():
        background.neg_()
        moved = tiny.logits(batch, few).class_logits
        background.neg_()
    assert not torch.equal(moved[..., -1], first[..., -1])
    assert torch.equal(moved[..., :-1], first[..., :-1])
