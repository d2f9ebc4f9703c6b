"""What Python callers pass to models: refused in one line with the value, what was expected, and the fix."""

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

import maskmill
from maskmill.models import arguments
from maskmill.models.errors import UsageError


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, -1, float("nan"), [1]])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(UsageError, match=r"^shuffle=.*: expected a whole number, 0 or more.$"):
        arguments.whole("shuffle", value, 0)


@pytest.mark.parametrize("value", [0, 5, numpy.int64(7)])
def test_whole_numbers_pass(value):
    arguments.whole("shuffle", value, 0)


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5], 1j])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(UsageError, match=r"^min_score=.*: expected a number.$"):
        arguments.number("min_score", value)


@pytest.mark.parametrize("value", [0, 0.5, numpy.float32(0.5)])
def test_numbers_pass(value):
    arguments.number("min_score", value)


def test_long_values_are_cut():
    with pytest.raises(UsageError) as raised:
        arguments.whole("n", ["x" * 1_000] * 1_000, 0)
    assert len(str(raised.value)) < 400


def test_paths_and_texts_are_places():
    assert arguments.location("output", Path("a/b")) == "a/b"
    assert arguments.location("output", "s3://a/b") == "s3://a/b"


IMAGE = Image.new("RGB", (32, 32))
NAMES = maskmill.Vocabulary.of(["sky", "sand"])


@pytest.fixture(scope="module")
def segmenter():
    return maskmill.load("san-tiny", device="cpu")


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda s: s(Image.new("RGB", (0, 5)), NAMES), "image: 0 x 5 pixels, expected one at least"),
        (lambda s: s("photo.jpg", NAMES), "image='photo.jpg': str; expected a PIL image, such as PIL.Image.open"),
        (lambda s: s(numpy.zeros((4, 4, 3)), NAMES), "ndarray; expected a PIL image"),
        (lambda s: s(IMAGE, ["sky"]), "vocabulary=['sky']: list; expected a vocabulary, such as Vocabulary.of("),
        (lambda s: s(IMAGE, "voc-20"), "vocabulary='voc-20': str; expected a vocabulary"),
        (lambda s: s(IMAGE, NAMES, "general"), "inference='general': str; expected an inference form"),
        (lambda s: s(IMAGE, NAMES, mask_side=0), "mask_side=0: expected a whole number, 1 or more"),
        (lambda s: s(IMAGE, NAMES, top_k=True), "top_k=True"),
        (lambda s: s(IMAGE, NAMES, soft_masks=1), "soft_masks=1: expected True or False"),
        (lambda s: s.classes(["sky"]), "vocabulary=['sky']"),
        (lambda s: s.classes(NAMES, "a {}"), "templates='a {}': expected a list of texts"),
        (lambda s: s.classes(NAMES, ["a photo"]), "templates 'a photo': expected exactly one {}"),
        (lambda s: s.classes(NAMES, []), "templates []: expected at least one"),
        (lambda s: maskmill.ClassFeatures(features=[1.0], stuff=torch.zeros(1, dtype=torch.bool)), "features=[1.0]"),
        (lambda s: maskmill.ClassFeatures(features=torch.ones(2, 3), stuff=torch.zeros(1, dtype=torch.bool)), "[2, 3]"),
        (lambda s: maskmill.load(["san-tiny"]), "--model ['san-tiny']: no such model"),
        (lambda s: maskmill.load("san-tiny", weights=3), "weights=3: expected a path or a URL"),
        (lambda s: maskmill.load("san-tiny", device="gpu"), "--device 'gpu'"),
        (lambda s: maskmill.load("san-tiny", device=0), "--device 0"),
        (lambda s: maskmill.load("san-tiny", dtype="half"), "--dtype 'half'"),
        (lambda s: maskmill.load("san-tiny", windows="2"), "windows='2': expected a number"),
        (lambda s: maskmill.GeneralInference(score_threshold="0.5"), "--score-threshold='0.5'"),
        (lambda s: maskmill.QueriesInference(score_threshold=2), "--score-threshold 2"),
    ],
)
def test_calls_say_what_was_expected(segmenter, call, text):
    with pytest.raises(UsageError) as raised:
        call(segmenter)
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


def test_weights_may_be_a_path(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        maskmill.load("san-tiny", weights=tmp_path / "none.pth")
