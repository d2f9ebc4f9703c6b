"""Three numbers of a student: `python -m tests.student`. Minutes on four cores; no part of the tests.

A tiny DenseCLIP learns from what the bundled SAN says of synthesized scenes; the same one learns from the truth of the
same scenes; both and the SAN itself are scored on scenes that none of them has seen.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODEL = "denseclip-tiny"

GROUPS = ("all", "objects", "background")
"""Of the scenes' classes, as `evaluate` names them."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much of everything."""

    work: Path
    """Folder for shards, labels and trainings."""

    scenes: int
    """To learn from."""

    held_out: int
    """To be scored on."""

    steps: int
    """Updates of each student."""

    batch_size: int
    """Scenes of an update."""

    learning_rate: float
    """At the top of the schedule."""

    cpus: int
    """For everything."""


def maskmill(*words: str | Path) -> str:
    """What a command prints to its standard output; its progress goes to ours.

    Raises:
        CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", f"jobs.{words[0]}", *map(str, words[1:])]
    # Threads that spin for one another on a busy core make everything many times slower.
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def scored(plan: Plan, model: str, *words: str | Path) -> dict[str, float]:
    """mIoU of each group on the held-out scenes, in percent."""
    found = json.loads(maskmill("evaluate", plan.work / "held-out", "--model", model, *words, "--json"))
    return {group: 100 * found[0]["mean_iou"][group] for group in GROUPS}


def taught(plan: Plan, name: str, *words: str | Path) -> dict[str, float]:
    """Trains a student and scores it."""
    recipe = ["--steps", plan.steps, "--batch-size", plan.batch_size, "--learning-rate", plan.learning_rate]
    job = ["--cpus-per-worker", plan.cpus, "--log-every", max(1, plan.steps // 10), "--keep-colours"]
    out = plan.work / name
    maskmill("train", *words, "-o", out, "--student", MODEL, *map(str, recipe + job))
    return scored(plan, MODEL, "--weights", out / "model.safetensors")


def run(plan: Plan) -> dict[str, dict[str, float]]:
    """The three numbers, by what was learnt from."""
    shards, labels = plan.work / "shards", plan.work / "labels"
    each = -(-plan.scenes // 4)
    maskmill("synthesize", shards, "--shards", "4", "--samples", str(each), "--seed", "11")
    maskmill("synthesize", plan.work / "held-out", "--shards", "1", "--samples", str(plan.held_out), "--seed", "12")
    maskmill("label", shards, "-o", labels, "--model", "san-tiny", "--inference", "semantic")
    return {
        "student of the SAN's labels": taught(plan, "of-labels", "--labels", labels, "--shards", shards),
        "student of the truth": taught(plan, "of-truth", shards),
        "the SAN itself": scored(plan, "san-tiny"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="an empty or new folder to keep everything in; else a temporary one")
    parser.add_argument("--scenes", type=int, default=1024)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--cpus", type=int, default=4)
    chosen = parser.parse_args(arguments)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="student-") as temporary:
        plan = Plan(**{**vars(chosen), "work": chosen.work or Path(temporary)})
        found = run(plan)
    print(f"{'mIoU on ' + str(plan.held_out) + ' held-out scenes':36}" + "".join(f"{group:>12}" for group in GROUPS))
    for name, numbers in found.items():
        print(f"{name:36}" + "".join(f"{numbers[group]:12.2f}" for group in GROUPS))
    print(f"{time.perf_counter() - began:.0f} s, {plan.steps} updates of {plan.batch_size} scenes, {plan.cpus} CPUs")


if __name__ == "__main__":
    main()
