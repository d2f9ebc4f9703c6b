"""What the bundled san-tiny is worth, on a hundred fixed scenes that no training saw: the numbers of its model card."""

import pytest

import models
from models.vocabulary.scenes import NOVEL
from pipeline.evaluation.groups import groups_of
from pipeline.evaluation.model import evaluate_model
from pipeline.evaluation.scores import mean_ious, object_iou
from pipeline.synthesis.shards import synthesize
from pipeline.truth.pairs import sources_of

SEED = 20261121
"""Of the held-out scenes; the model card's figures are of its first thousand."""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held-out")
    sources = sources_of([str(path) for path in synthesize(folder, 1, 100, SEED)])
    vocabulary = models.Vocabulary.load("scenes")
    segmenter = models.load("san-tiny", device="cpu")
    (evaluation,) = evaluate_model(sources, segmenter, segmenter.classes(vocabulary), batch_size=8, scratch=folder)
    groups = groups_of(vocabulary, NOVEL)
    return mean_ious(evaluation, groups) | {"object": object_iou(evaluation, groups)}


def test_the_bundled_model_segments_scenes_by_name(found):
    assert found["object"] >= 0.92
    assert found["background"] >= 0.96
    assert found["colours and backgrounds"] >= 0.92


def test_it_names_what_its_masks_were_never_taught(found):
    assert found["seen"] >= 0.70
    assert found["novel"] >= 0.8 * found["seen"]
