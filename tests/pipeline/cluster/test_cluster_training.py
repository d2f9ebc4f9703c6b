"""Ray Train for real: two workers on CPUs follow one worker with the same global batch; their errors reach the user."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskmill.jobs.cli import run
from maskmill.models import checkpoint, zoo
from maskmill.models.san.config import SAN_TINY
from maskmill.models.san.initial import BACKGROUND, SIDE
from maskmill.models.san.untrained import FillRule
from tests.plain_run import write_tar

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    state = FillRule(salt="clip/", overrides={"ov_classifier.logit_scale": 3.0}).state(zoo.shapes(SAN_TINY))
    checkpoint.save_safetensors(
        {name: tensor for name, tensor in state.items() if not name.startswith(SIDE) and name != BACKGROUND}, path
    )
    return path


def losses_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("dtype", "near"), [("float32", 1e-4), ("float64", 1e-9)])
def test_two_workers_follow_one_for_twenty_updates(scenes, clip, tmp_path, monkeypatch, dtype, near):
    monkeypatch.chdir(clip.parent)  # workers have a working directory of their own: a relative name must reach them
    words = ["train", str(scenes[0]), "--validation", str(scenes[1]), "--model", "san-tiny", "--init", clip.name]
    words += ["--steps", "20", "--batch-size", "4", "--log-every", "1", "--templates", "single"]
    words += ["--device", "cpu", "--dtype", dtype, "--cpus-per-worker", "1"]
    assert run([*words, "-o", str(tmp_path / "one")]) == 0
    assert run([*words, "-o", str(tmp_path / "two"), "--workers", "2"]) == 0
    one, two = losses_of(tmp_path / "one"), losses_of(tmp_path / "two")
    assert len(one) == len(two) == 21
    for alone, shared in zip(one[:-1], two[:-1], strict=True):
        assert shared["total"] == pytest.approx(alone["total"], rel=near), alone["step"]
        assert shared["loss_ce"] == pytest.approx(alone["loss_ce"], rel=near)
        assert shared["loss_dice_0"] == pytest.approx(alone["loss_dice_0"], rel=near)
    assert two[-1]["mean_iou"] == pytest.approx(one[-1]["mean_iou"], abs=1e-3)
    # What the two wrote can be resumed by one, and the other way round: they are one training.
    states = [json.loads((tmp_path / name / "train.json").read_text()) for name in ("one", "two")]
    assert states[0] == states[1]


@pytest.mark.timeout(300)
def test_what_a_worker_finds_wrong_is_told_as_wrong_usage(scenes, clip, tmp_path, capsys):
    words = ["train", str(scenes[0]), "--model", "san-tiny", "--init", str(clip), "--steps", "3", "--batch-size", "4"]
    words += ["--device", "cpu", "--cpus-per-worker", "1", "--workers", "2", "-o", str(tmp_path / "out")]
    assert run([*words, "--leave-out", "red tsar"]) == 2
    assert "'red tsar': no such name" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_one_workers_bad_sample_ends_them_all(clip, tmp_path, capsys):
    members = {}
    for key in range(8):
        image, truth = io.BytesIO(), io.BytesIO()
        Image.fromarray(np.full((128, 128, 3), 9 * key, np.uint8)).save(image, "PNG")
        Image.fromarray(np.full((128, 128), 99 if key == 5 else key, np.uint8)).save(truth, "PNG")
        members |= {f"{key}.png": image.getvalue(), f"{key}.seg.png": truth.getvalue()}
    shard = write_tar(tmp_path / "bad.tar", members)
    words = ["train", str(shard), "--model", "san-tiny", "--init", str(clip), "--steps", "9", "--batch-size", "2"]
    words += ["--device", "cpu", "--cpus-per-worker", "1", "--workers", "2", "--templates", "single"]
    assert run([*words, "-o", str(tmp_path / "out")]) == 2
    assert "'5': ground truth holds class id 99, the vocabulary has 48" in capsys.readouterr().err


def test_more_workers_than_the_machine_has_cpus_are_told(scenes, clip, tmp_path, capsys):
    words = ["train", str(scenes[0]), "--model", "san-tiny", "--init", str(clip), "--device", "cpu"]
    assert run([*words, "-o", str(tmp_path), "--batch-size", "512", "--workers", "512"]) == 2
    assert "--workers 512" in capsys.readouterr().err
