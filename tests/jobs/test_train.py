"""A training on Ray as a user starts it: a worker that is killed is started again, and the losses don't show it."""

import json
import os
import signal
from pathlib import Path

import pytest

from maskmill.models import checkpoint, zoo
from maskmill.models.san.config import SAN_TINY
from maskmill.models.san.initial import BACKGROUND, SIDE
from maskmill.models.san.untrained import FillRule
from tests.jobs.conftest import Workplace


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_worker_comes_back_and_nothing_is_lost(workplace: Workplace, scenes: list[Path]) -> None:
    state = FillRule(salt="clip/", overrides={"ov_classifier.logit_scale": 3.0}).state(zoo.shapes(SAN_TINY))
    clip = {name: tensor for name, tensor in state.items() if not name.startswith(SIDE) and name != BACKGROUND}
    checkpoint.save_safetensors(clip, workplace.cwd / "clip.safetensors")
    words = ["train", str(scenes[0]), "--model", "san-tiny", "--init", "clip.safetensors", "--steps", "24"]
    words += ["--batch-size", "4", "--dtype", "float64", "--templates", "single", "--device", "cpu"]
    words += ["--log-every", "1", "--checkpoint-every", "5", "--cpus-per-worker", "1"]

    def log(out: str) -> list[dict]:
        path = workplace.cwd / out / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def workers() -> list[int]:
        found = [pid for pid in running.processes() if b"RayTrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return sorted(found)

    running = workplace.start(*words, "-o", "disturbed", "--workers", "2")
    running.until(lambda: len(log("disturbed")) >= 8)
    first = workers()
    assert len(first) == 2
    os.kill(first[1], signal.SIGKILL)
    ended = running.wait()
    assert ended.code == 0, ended.err
    assert "step 24 of 24" in ended.err
    alone = workplace.run(*words, "-o", "undisturbed")
    assert alone.code == 0, alone.err
    totals = [entry["total"] for entry in log("disturbed")]
    assert [entry["step"] for entry in log("disturbed")] == list(range(1, 25))
    assert totals == pytest.approx([entry["total"] for entry in log("undisturbed")], rel=1e-9)
