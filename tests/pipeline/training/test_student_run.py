"""Students trained whole: on labels, soft and weighed, on truth; what their data says of pixels; SIGKILL and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.jobs.cli import run
from maskmill.models import checkpoint, zoo
from maskmill.models.denseclip.model import is_trainable
from maskmill.models.masks import rle
from maskmill.models.training.augmentation import UNKNOWN
from maskmill.models.training.recipe import Augmentation, Recipe
from maskmill.pipeline.output import Output
from maskmill.pipeline.training.data import TrainingData
from maskmill.pipeline.training.student_data import StudentData
from maskmill.pipeline.truth.labels import LabeledPair
from maskmill.pipeline.truth.pairs import Span
from tests import plain_run
from tests.untrained_denseclip import untrained_denseclip

ROOT = Path(__file__).parents[3]
SHORT = ["--student", "denseclip-tiny", "--batch-size", "2", "--crop", "64", "--device", "cpu", "--log-every", "1"]
SHORT += ["--cpus-per-worker", "1"]


@pytest.fixture(scope="module")
def labels(tiny, scenes, tmp_path_factory) -> Path:
    """A run over the first shard."""
    out = tmp_path_factory.mktemp("labels") / "out"
    plain_run.label(tiny, scenes[:1], Output.of(str(out)))
    return out


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_student_of_labels_labels_and_is_scored_as_its_validation_says(labels, scenes, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["train", "-o", str(out), "--labels", str(labels), "--shards", str(scenes[0]), *SHORT, "--steps", "2"]
    words += ["--soft-targets", "--weigh-by-score", "--validation", str(scenes[1])]
    assert run(words) == 0
    *updates, validation = log_of(out)
    assert [entry["step"] for entry in updates] == [1, 2]
    assert set(updates[0]) > {"total", "decode.loss_ce", "aux_identity.loss_ce", "learning_rate", "gradient_norm"}
    after = checkpoint.load(str(out / "model.safetensors"))
    assert set(after) == set(zoo.shapes(zoo.MODELS["denseclip-tiny"].config))
    start = json.loads((out / "train.json").read_text())
    assert start["model"] == "denseclip-tiny"
    capsys.readouterr()
    scored = ["evaluate", str(scenes[1]), "--model", "denseclip-tiny", "--weights", str(out / "model.safetensors")]
    assert run([*scored, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    validated = validation["mean_iou"]
    assert {name: found["mean_iou"][name] for name in validated} == pytest.approx(validated, abs=1e-6)


def test_the_text_encoder_is_that_of_the_start(scenes, tmp_path):
    assert (
        run(["train", str(scenes[0]), "-o", str(tmp_path), "--student", "denseclip-tiny", *SHORT[2:], "--steps", "1"])
        == 0
    )
    before = checkpoint.load(str(zoo.MODELS["san-tiny"].default_weights))
    after = checkpoint.load(str(tmp_path / "model.safetensors"))
    frozen = [name for name in after if not is_trainable(name)]
    assert len(frozen) > 10
    name = "text_encoder.transformer.resblocks.0.mlp.c_fc.weight"
    assert torch.equal(after[name], before[f"ov_classifier.{name.removeprefix('text_encoder.')}"].float())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--student", "denseclip-huge"], "--student 'denseclip-huge': no such student"),
        (["--soft-targets"], "Name one with --student"),
        (["--student", "denseclip-tiny", "--weigh-by-score"], "Name a table with --labels"),
        (["--student", "denseclip-tiny", "--clip-norm", "1.0"], "--clip-norm 1.0: says nothing of --student"),
        (["--student", "denseclip-tiny", "--templates", "single"], "--templates 'single'"),
        (["--student", "denseclip-tiny", "--model", "san-vit-l14"], "--model 'san-vit-l14'"),
        (["--student", "denseclip-tiny", "--crop", "40"], "--crop 40: expected a multiple of 32"),
        (["--model", "denseclip-tiny"], "is named with --student"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(scenes, tmp_path, capsys, words, said):
    assert run(["train", str(scenes[0]), "-o", str(tmp_path / "out"), *words, "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def student_data(pairs: tuple[LabeledPair, ...], **options: bool) -> StudentData:
    data = TrainingData(
        pairs=pairs,
        ids=np.array([0, 1, -1, 3], np.int32),
        augmentation=Augmentation(crop=32, scales=(1.0,), colour=False, flip=False),
        recipe=Recipe(batch_size=1, steps=1),
    )
    return StudentData(data=data, **options)


@pytest.fixture
def pair(tmp_path) -> LabeledPair:
    """A left half of class 1 that may be 0 or the left-out 2; a right half: above class 3, below dropped."""
    path = tmp_path / "image.png"
    Image.new("RGB", (32, 32)).save(path)
    masks = np.zeros((3, 32, 32), bool)
    masks[0, 16:, 16:], masks[1, :16, 16:], masks[2, :, :15] = True, True, True
    return LabeledPair(
        source="here",
        index=0,
        key="k",
        image=Span(str(path), 0, path.stat().st_size),
        size=(32, 32),
        mask_size=(32, 32),
        masks=tuple(rle.encode(torch.from_numpy(masks))),
        ids=(UNKNOWN, 3, 1),
        scores=(0.9, 0.25, 0.5),
        listed=(((3, 1), (1.0, 0.0)), ((3,), (2.0,)), ((1, 2, 0), (1.0, 0.5, 0.0))),
    )


def test_hard_targets_are_the_top_classes_and_dropped_or_empty_pixels_teach_nothing(pair):
    data = student_data((pair,))
    targets = data.batch(0, [data.sample(0)]).targets
    assert targets.distributions is None
    assert targets.weights is None
    assert targets.rows[0, :, :15].unique().tolist() == [1]
    assert targets.rows[0, :16, 16:].unique().tolist() == [3]
    assert targets.rows[0, 16:, 16:].unique().tolist() == [-1]
    assert targets.rows[0, :, 15].unique().tolist() == [-1]


def test_soft_targets_share_out_what_a_row_lists_without_the_classes_left_out(pair):
    data = student_data((pair,), soft=True, weighed=True)
    batch = data.batch(0, [data.sample(0), data.sample(1)])
    rows, distributions = batch.targets.rows, batch.targets.distributions
    assert distributions.shape == (6, 4)
    e = float(np.exp(1.0))
    torch.testing.assert_close(distributions[rows[0, 0, 0]], torch.tensor([1 / (1 + e), e / (1 + e), 0.0, 0.0]))
    torch.testing.assert_close(distributions[rows[1, 0, 20]], torch.tensor([0.0, 0.0, 0.0, 1.0]))
    assert rows[1, 0, 20] == rows[0, 0, 20] + 3
    assert (rows[:, 16:, 16:] == -1).all()
    assert batch.targets.weights[0, 0, 0] == 0.5
    assert batch.targets.weights[0, 0, 20] == 0.25
    assert batch.targets.weights[0, 0, 15] == 0.0


def test_a_tiny_denseclip_labels_shards_and_its_table_passes_verify(scenes, tmp_path):
    from maskmill.pipeline.config import InferenceConfig, LabelConfig, ModelConfig
    from maskmill.pipeline.verify import verify

    output = Output.of(str(tmp_path / "out"))
    config = LabelConfig(model=ModelConfig(model="denseclip-tiny"), inference=InferenceConfig(top_k=3))
    status = plain_run.label(untrained_denseclip(), scenes, output, config)
    assert status.all_done
    identity = json.loads((tmp_path / "out" / "run.json").read_text())["identity"]
    assert (identity["inference"], identity["windows"]) == ("semantic", "128 every 85")
    assert not verify(output, deep=True).problems


@pytest.mark.slow
def test_killed_and_resumed_a_student_follows_an_undisturbed_one(labels, scenes, tmp_path):
    def words(out: str) -> list[str]:
        steps = ["--steps", "40", "--checkpoint-every", "10", "--validate-every", "20", "--deterministic"]
        places = ["--labels", str(labels), "--shards", str(scenes[0]), "-o", str(tmp_path / out)]
        soft = ["--soft-targets", "--weigh-by-score", "--validation", str(scenes[1])]
        return [sys.executable, "-m", "maskmill.jobs.train", *places, *SHORT, *steps, *soft]

    subprocess.run(words("whole"), cwd=ROOT, check=True, capture_output=True, timeout=240)
    killed = subprocess.Popen(words("cut"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = tmp_path / "cut" / "log.jsonl"
    while not (log.exists() and len(log.read_bytes().splitlines()) >= 14):
        assert killed.poll() is None
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    subprocess.run(words("cut"), cwd=ROOT, check=True, capture_output=True, timeout=240)
    totals = [[entry["total"] for entry in log_of(tmp_path / out) if "total" in entry] for out in ("cut", "whole")]
    assert len(totals[0]) == 40
    assert totals[0][:30] == pytest.approx(totals[1][:30], rel=1e-4)
    assert log.read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()
    whole, cut = (checkpoint.load(str(tmp_path / name / "model.safetensors")) for name in ("whole", "cut"))
    assert checkpoint.weights_hash(whole) == checkpoint.weights_hash(cut)
