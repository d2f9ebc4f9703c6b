"""A label table in semantic form scores exactly as its model; what thresholds take away counts as left unlabeled."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from maskmill.jobs.cli import run
from maskmill.models.errors import UsageError
from maskmill.models.san.windows import SlidingSan
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.config import InferenceConfig, LabelConfig, ModelConfig
from maskmill.pipeline.evaluation.model import evaluate_model
from maskmill.pipeline.evaluation.table import evaluate_table, paint
from maskmill.pipeline.output import Output
from maskmill.pipeline.truth.pairs import sources_of
from tests.mosaics import write_mosaics
from tests.plain_run import PLAIN, label, write_tar


@pytest.fixture(scope="module")
def semantic(tiny, scenes, tmp_path_factory) -> Output:
    output = Output.of(str(tmp_path_factory.mktemp("semantic")))
    label(tiny, scenes[:1], output, LabelConfig(inference=InferenceConfig(inference="semantic")))
    return output


def test_a_semantic_label_table_scores_as_its_model(tiny, scenes, semantic, tmp_path):
    sources = sources_of([str(scenes[0])])
    classes = tiny.classes(Vocabulary.load("scenes"))
    # Batches of the same size: other ones move float32 logits within 1e-5.
    (model,) = evaluate_model(sources, tiny, classes, batch_size=4, scratch=tmp_path)
    table = evaluate_table(sources, semantic, 48, scratch=tmp_path)
    assert table.images == 10
    np.testing.assert_array_equal(table.counts, model.counts)


def test_the_command_prints_both_beside_each_other(scenes, semantic, capsys):
    assert run(["evaluate", str(scenes[0]), "--model", "san-tiny", "--labels", semantic.url, "--json"]) == 0
    model, table = json.loads(capsys.readouterr().out)
    assert (model["name"], table["name"]) == ("san-tiny", "labels")
    assert set(model["mean_iou"]) == {"all", "objects", "seen", "novel", "background", "colours and backgrounds"}
    assert len(table["iou"]) == 48
    assert table["images"] == 10
    assert run(["evaluate", str(scenes[0]), "--labels", semantic.url]) == 0
    assert "mIoU all (48)" in capsys.readouterr().out


def test_samples_that_failed_count_as_left_unlabeled(tiny, tmp_path):
    image, truth = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(image, "PNG")
    Image.fromarray(np.full((64, 96), 5, np.uint8)).save(truth, "PNG")
    members = {"a.png": image.getvalue(), "a.seg.png": truth.getvalue()}
    members |= {"b.jpg": b"\xff\xd8\xff broken", "b.seg.png": truth.getvalue()}
    shard = write_tar(tmp_path / "some.tar", members)
    output = Output.of(str(tmp_path / "out"))
    label(tiny, [shard], output, PLAIN)
    found = evaluate_table(sources_of([str(shard)]), output, 48, scratch=tmp_path)
    assert (found.images, found.failed) == (2, 1)
    assert found.counts[5].sum() == 2 * 64 * 96
    assert found.counts[5, 48] >= 64 * 96


def test_the_higher_score_wins_where_segments_overlap():
    left, middle = np.zeros((1, 4), bool), np.zeros((1, 4), bool)
    left[:, :2], middle[:, 1:3] = True, True
    assert paint([left, middle], [7, 8], [0.9, 0.4], (1, 4), 48).tolist() == [[7, 7, 8, 48]]
    assert paint([left, middle], [7, 8], [0.4, 0.9], (1, 4), 48).tolist() == [[7, 8, 8, 48]]


def test_shards_without_labels_or_with_other_images_are_told(scenes, semantic, tmp_path):
    with pytest.raises(UsageError, match="no labels of it in"):
        evaluate_table(sources_of([str(scenes[1])]), semantic, 48, scratch=tmp_path)
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    with pytest.raises(UsageError, match="a folder has no labels"):
        evaluate_table(sources_of([str(folder)]), semantic, 48, scratch=tmp_path)


def test_a_shard_that_was_replaced_since_it_was_labeled_is_told(tiny, scenes, tmp_path):
    shard = tmp_path / "moving.tar"
    shard.write_bytes(scenes[0].read_bytes())
    output = Output.of(str(tmp_path / "out"))
    label(tiny, [shard], output, PLAIN)
    shard.write_bytes(scenes[1].read_bytes())
    with pytest.raises(UsageError, match=r"moving\.tar: .*changed: .*label it again"):
        evaluate_table(sources_of([str(shard)]), output, 48, scratch=tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--model or --labels: neither given"),
        (["--model", "san-big"], "--model 'san-big': no such model"),
        (["--labels", "/nowhere/at/all"], "no vocabulary.parquet there"),
        (["--labels", "x", "--dense-clip"], "--dense-clip needs a --model"),
        (["--model", "san-tiny", "--novel", "red tsar"], "--novel 'red tsar': no such name"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(scenes, capsys, words, said):
    assert run(["evaluate", str(scenes[0]), *words]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_a_table_made_with_windows_scores_as_the_model_with_the_same_windows(tiny, tmp_path):
    shard = write_mosaics(tmp_path / "mosaics.tar", 5)
    sliding = SlidingSan(tiny, 2.0)
    windows = InferenceConfig(inference="semantic", windows=2.0)
    output = Output.of(str(tmp_path / "out"))
    label(sliding, [shard], output, LabelConfig(model=ModelConfig(model="san-tiny"), inference=windows))
    sources = sources_of([str(shard)])
    table = evaluate_table(sources, output, 48, scratch=tmp_path)
    classes = tiny.classes(Vocabulary.load("scenes"))
    (model,) = evaluate_model(sources, sliding, classes, batch_size=4, scratch=tmp_path)
    (whole,) = evaluate_model(sources, tiny, classes, batch_size=4, scratch=tmp_path)
    assert (table.images, table.counts.sum()) == (5, 5 * 256 * 256)
    np.testing.assert_array_equal(table.counts, model.counts)
    assert (table.counts != whole.counts).any()
