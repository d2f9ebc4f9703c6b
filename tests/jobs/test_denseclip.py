"""DenseCLIP as a user meets it: labels shards with weights of one's own, and trains as a student on Ray."""

import json
from pathlib import Path

import pytest

from maskmill.models import checkpoint
from tests.jobs.conftest import Workplace
from tests.untrained_denseclip import untrained_denseclip


@pytest.fixture
def weights(workplace: Workplace) -> str:
    """A tiny DenseCLIP's checkpoint."""
    checkpoint.save_safetensors(untrained_denseclip().model.state_dict(), workplace.cwd / "tiny.safetensors")
    return "tiny.safetensors"


@pytest.mark.slow
def test_it_labels_the_demos_shards_and_the_table_passes_verify(workplace: Workplace, weights: str) -> None:
    made = workplace.run("synthesize", "shards", "--shards", "2", "--samples", "8", "--seed", "0")
    assert made.code == 0, made.err
    words = ["label", "shards", "-o", "out", "--model", "denseclip-tiny", "--weights", weights]
    ended = workplace.run(*words)
    assert ended.code == 0, ended.err
    assert "16 read = 16 labeled + 0 failed" in ended.out
    verified = workplace.run("verify", "out", "--deep")
    assert (verified.code, "0 problems" in verified.out) == (0, True), verified.err
    # Text features are the run's, not an image's: one file.
    assert len(list((workplace.cwd / "out" / "text").iterdir())) == 1
    again = workplace.run(*words)
    assert again.code == 0, again.err


def test_weights_have_to_be_named_and_other_forms_are_refused(workplace: Workplace, weights: str) -> None:
    for words, said in (
        (["--inference", "general", "--weights", weights], "--inference general: denseclip-tiny offers semantic alone"),
        (["--soft-masks", "--weights", weights], "--soft-masks"),
    ):
        refused = workplace.run("label", "shards", "-o", "out", "--model", "denseclip-tiny", *words)
        assert (refused.code, len(refused.err.splitlines())) == (2, 1)
        assert said in refused.err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_on_ray_train_one_student(workplace: Workplace, scenes: list[Path]) -> None:
    words = ["train", str(scenes[0]), "-o", "out", "--student", "denseclip-tiny", "--steps", "3", "--batch-size", "4"]
    words += ["--crop", "64", "--workers", "2", "--cpus-per-worker", "1", "--device", "cpu", "--log-every", "1"]
    ended = workplace.run(*words)
    assert ended.code == 0, ended.err
    log = (workplace.cwd / "out" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3]
    scored = workplace.run(
        "evaluate", str(scenes[1]), "--model", "denseclip-tiny", "--weights", "out/model.safetensors"
    )
    assert scored.code == 0, scored.err
