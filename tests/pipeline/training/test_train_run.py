"""Whole trainings in one process: resumed after SIGKILL they lose nothing; frozen weights stay frozen."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from maskmill.jobs.cli import run
from maskmill.models import checkpoint, zoo
from maskmill.models.san.config import SAN_TINY
from maskmill.models.san.model import is_trainable

ROOT = Path(__file__).parents[3]
SHORT = ["--model", "san-tiny", "--batch-size", "4", "--learning-rate", "1e-3", "--clip-norm", "1.0"]
SHORT += ["--templates", "single", "--device", "cpu", "--log-every", "1", "--cpus-per-worker", "2"]


@pytest.fixture(scope="module")
def short(scenes, clip, tmp_path_factory) -> Path:
    """Four updates, validated at the end."""
    out = tmp_path_factory.mktemp("short") / "out"
    words = ["train", str(scenes[0]), "-o", str(out), "--init", str(clip), "--steps", "4", *SHORT]
    assert run([*words, "--validation", str(scenes[1]), "--leave-out", "red star", "--leave-out", "sky"]) == 0
    return out


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_frozen_weights_are_bit_equal_to_the_clip_they_came_from_and_the_rest_has_moved(short, clip):
    before, after = checkpoint.load(str(clip)), checkpoint.load(str(short / "model.safetensors"))
    assert set(after) == set(zoo.shapes(SAN_TINY))
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) is not is_trainable(name), name


def test_the_log_tells_every_update_and_the_validation(short):
    *updates, validation = log_of(short)
    assert [entry["step"] for entry in updates] == [1, 2, 3, 4]
    assert set(updates[0]) > {"total", "loss_ce", "loss_mask_0", "learning_rate", "gradient_norm"}
    assert updates[0]["learning_rate"] == 1e-3
    assert validation["step"] == 4
    assert {"all", "seen", "novel"} <= set(validation["mean_iou"])
    assert len(list((short / "events").iterdir())) == 1


def test_evaluate_takes_the_result_and_scores_it_as_the_validation_did(short, scenes, capsys):
    words = [str(scenes[1]), "--model", "san-tiny", "--weights", str(short / "model.safetensors"), "--json"]
    assert run(["evaluate", *words, "--templates", "single", "--novel", "red star", "--novel", "sky"]) == 0
    (scored,) = json.loads(capsys.readouterr().out)
    validated = log_of(short)[-1]["mean_iou"]
    assert {name: scored["mean_iou"][name] for name in validated} == pytest.approx(validated, abs=1e-6)


def test_the_same_command_again_has_nothing_to_do_and_another_one_is_refused(short, scenes, clip, capsys):
    before = (short / "log.jsonl").read_bytes()
    words = ["train", str(scenes[0]), "-o", str(short), "--init", str(clip), *SHORT]
    words += ["--leave-out", "red star", "--leave-out", "sky"]
    assert run([*words, "--steps", "4"]) == 0
    assert (short / "log.jsonl").read_bytes() == before
    assert run([*words, "--steps", "5"]) == 2
    assert "they differ in fingerprint, recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "san-big"], "--model 'san-big': no such model"),
        (["--model", "san-tiny"], "--init: san-tiny has no published CLIP"),
        (["--model", "san-tiny", "--init", "/no.safetensors"], "--init '/no.safetensors': no such file"),
        (["--model", "san-tiny", "--init", "NOISE"], "noise.pth': no whole file of torch.save"),
        (["--model", "san-tiny", "--init", "CUT"], "cut.safetensors': does not fit the model: 1 missing"),
        (["--batch-size", "7", "--workers", "2"], "--batch-size 7: expected a multiple of --workers 2"),
        (["--steps", "0"], "--steps 0"),
        (["--model", "san-tiny", "--init", "CLIP", "--leave-out", "red tsar"], "'red tsar': no such name"),
        (["--model", "san-tiny", "--init", "CLIP", "--crop", "100"], "--crop 100: expected a multiple of 16"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(scenes, clip, tmp_path, capsys, words, said):
    starts = {"CLIP": clip, "NOISE": tmp_path / "noise.pth", "CUT": tmp_path / "cut.safetensors"}
    starts["NOISE"].write_bytes(os.urandom(5_000))
    checkpoint.save_safetensors(dict(list(checkpoint.load(str(clip)).items())[1:]), starts["CUT"])
    words = [str(starts.get(word, word)) for word in words]
    assert run(["train", str(scenes[0]), "-o", str(tmp_path / "out"), *words, "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert "--weights" not in told
    assert not (tmp_path / "out").exists()


def test_a_training_that_comes_apart_says_so_in_one_line(scenes, clip, tmp_path, capsys):
    wild = ["1e30" if before in ("--learning-rate", "--clip-norm") else word for before, word in pairwise(["", *SHORT])]
    assert run(["train", str(scenes[0]), "-o", str(tmp_path), "--init", str(clip), "--steps", "9", *wild]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("maskmill: --learning-rate 1e+30: the training came apart")


@pytest.mark.slow
def test_killed_and_resumed_a_training_ends_with_the_bits_of_an_undisturbed_one(scenes, clip, tmp_path):
    def words(out: str) -> list[str]:
        steps = ["--steps", "16", "--checkpoint-every", "5", "--validate-every", "8", "--deterministic"]
        places = [str(scenes[0]), "-o", str(tmp_path / out), "--init", str(clip), "--validation", str(scenes[1])]
        return [sys.executable, "-m", "maskmill.jobs.train", *places, *SHORT, *steps]

    subprocess.run(words("whole"), cwd=ROOT, check=True, capture_output=True, timeout=240)
    killed = subprocess.Popen(words("cut"), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    log, deadline = tmp_path / "cut" / "log.jsonl", time.monotonic() + 240
    while time.monotonic() < deadline and not (log.exists() and log.read_bytes().count(b"\n") >= 9):
        assert killed.poll() is None
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    subprocess.run(words("cut"), cwd=ROOT, check=True, capture_output=True, timeout=240)
    assert (tmp_path / "cut" / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()
    whole, cut = (checkpoint.load(str(tmp_path / name / "model.safetensors")) for name in ("whole", "cut"))
    assert checkpoint.weights_hash(whole) == checkpoint.weights_hash(cut)
