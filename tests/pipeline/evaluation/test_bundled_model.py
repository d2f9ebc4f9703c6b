"""What the bundled san-tiny is worth, on a hundred fixed scenes that no training saw: the numbers of its model card."""

import pytest

import maskmill
from maskmill.models.vocabulary.scenes import NOVEL
from maskmill.pipeline.evaluation.groups import groups_of
from maskmill.pipeline.evaluation.model import evaluate_model
from maskmill.pipeline.evaluation.scores import mean_ious, object_iou
from maskmill.pipeline.synthesis.shards import synthesize
from maskmill.pipeline.truth.pairs import sources_of
from tests.mosaics import write_mosaics

SEED = 20261121
"""Of the held-out scenes; the model card's figures are of its first thousand."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    sources = sources_of([str(path) for path in synthesize(folder, 1, 100, SEED)])
    vocabulary = maskmill.Vocabulary.load("scenes")
    segmenter = maskmill.load("san-tiny", device="cpu")
    (evaluation,) = evaluate_model(sources, segmenter, segmenter.classes(vocabulary), batch_size=8, scratch=folder)
    groups = groups_of(vocabulary, NOVEL)
    return mean_ious(evaluation, groups) | {"object": object_iou(evaluation, groups)}


def test_the_bundled_model_segments_scenes_by_name(found):
    assert found["object"] >= 0.92
    assert found["background"] >= 0.96
    assert found["colours and backgrounds"] >= 0.92


@pytest.mark.slow
def test_windows_find_what_is_lost_where_a_large_image_is_made_small(tmp_path):
    """Four scenes side by side: whole, each has a quarter of the pixels that it was trained with."""
    sources = sources_of([str(write_mosaics(tmp_path / "mosaics.tar", 12, seed=SEED))])
    vocabulary = maskmill.Vocabulary.load("scenes")
    scores = []
    for windows in (None, 2.0):
        segmenter = maskmill.load("san-tiny", device="cpu", windows=windows)
        (one,) = evaluate_model(sources, segmenter, segmenter.classes(vocabulary), batch_size=8, scratch=tmp_path)
        scores.append(mean_ious(one, groups_of(vocabulary, NOVEL))["all"])
    whole, windowed = scores
    assert windowed >= 0.6
    assert windowed >= whole + 0.3


def test_it_names_what_its_masks_were_never_taught(found):
    assert found["seen"] >= 0.70
    assert found["novel"] >= 0.8 * found["seen"]
