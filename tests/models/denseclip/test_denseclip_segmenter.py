"""DenseCLIP behind the door: names it takes, forms it offers, segments that follow from pixel logits."""

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import GeneralInference
from maskmill.models.masks import rle
from maskmill.models.segmenter import ClassFeatures
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import TEMPLATE_SETS
from tests.golden_rule import image
from tests.models.denseclip.plain_denseclip import described, tiny, vocabulary


@pytest.fixture(scope="module")
def segmenter():
    return tiny()


@pytest.fixture(scope="module")
def names() -> Vocabulary:
    return vocabulary(*described("tinyvit")["vocab"])


def test_segments_follow_from_the_logits_of_their_pixels(segmenter, names):
    pixels = image(90, 150, 3, 160.0)
    classes = segmenter.classes(names)
    segments = segmenter(Image.fromarray(pixels), classes, top_k=12)
    assert len(segments) > 3
    size = segmenter.rule.apply(Image.fromarray(pixels)).shape[:2]
    batch = torch.tensor(segmenter.rule.apply(Image.fromarray(pixels))).permute(2, 0, 1)[None]
    inputs = segmenter.normalised(batch, [size])
    (bands,) = segmenter.bands_of_images(inputs, classes.features, [size], [(90, 150)], segmenter.model.config.windows)
    logits = torch.cat([band.clone() for _, band in bands], dim=1)
    labels = logits.argmax(0)
    assert [segment.vocab_id for segment in segments] == labels.unique().tolist()
    for segment in segments:
        mask = torch.from_numpy(np.ascontiguousarray(rle.decode(segment.rle, (90, 150))))
        assert torch.equal(mask.bool(), labels == segment.vocab_id)
        means = logits[:, labels == segment.vocab_id].double().mean(1)
        found = dict(zip(segment.top_ids, segment.top_logits, strict=True))
        assert found == pytest.approx(dict(enumerate(means.tolist())), abs=1e-4)
        assert segment.score == pytest.approx(means.softmax(0)[segment.vocab_id].item(), abs=1e-6)
        assert segment.query == -1
        assert segment.background_logit is segment.mask_score is segment.stability is segment.kept is None


def test_a_small_image_is_labeled_at_its_own_size(segmenter, names):
    segments = segmenter(Image.fromarray(image(5, 9, 1)), names)
    assert sum(segment.area for segment in segments) == 45


def test_other_numbers_of_names_long_names_and_templates_are_refused(segmenter, names):
    with pytest.raises(UsageError, match="2 names; tinyvit"):
        segmenter.classes(vocabulary("wall", "sky"))
    long = [entry.name for entry in names]
    long[3] = "a very long name for a road"
    with pytest.raises(UsageError, match=r"id 3 .* tokens"):
        segmenter.classes(vocabulary(*long))
    with pytest.raises(UsageError, match="--templates"):
        segmenter.encode_text(names, TEMPLATE_SETS["single"])
    with pytest.raises(UsageError, match="--inference general"):
        segmenter(Image.new("RGB", (40, 40)), names, GeneralInference())


def test_any_names_of_the_right_number_are_read(segmenter, names):
    other = vocabulary(*(f"thing {letter}" for letter in "abcdefghijkl"))
    assert not torch.equal(segmenter.encode_text(other, ("{}",)), segmenter.encode_text(names, ("{}",)))


def test_the_text_encoder_runs_for_names_alone_not_for_images(segmenter, names):
    classes = segmenter.classes(names)
    calls = []
    hook = segmenter.model.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    segmenter(Image.fromarray(image(64, 200, 1)), ClassFeatures(features=classes.features, stuff=classes.stuff))
    hook.remove()
    assert not calls
