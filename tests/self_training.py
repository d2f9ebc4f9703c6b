"""`python -m tests.self_training`: a SAN taught by labels beside one taught as long by the truth, on held-out truth.

Scenes are synthesized; the shipped san-tiny labels them. Both students start from its CLIP with an untrained side
adapter and see the same images as often, with the same seed. Then `--rounds` of label, filter, train, label again, each
from the weights of the round before. Every step is a command of maskmill, shown as it is run.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from maskmill.models import checkpoint
from maskmill.models.san.initial import BACKGROUND, SIDE

WEIGHTS = Path(__file__).parents[1] / "models" / "san" / "data" / "san-tiny.safetensors"
GROUPS = ("all", "seen", "novel", "background")


def maskmill(*words: str, folder: Path) -> str:
    """One command's standard output; its progress goes on to the screen."""
    started = time.monotonic()
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "RAY_TMPDIR": str(folder / "r")}
    done = subprocess.run(
        [sys.executable, "-m", f"maskmill.jobs.{words[0]}", *words[1:]],
        cwd=WEIGHTS.parents[3],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    shown = shlex.join(words).replace(f"{folder}/", "")
    print(f"$ maskmill {shown}   # {time.monotonic() - started:.0f} s", flush=True)
    return done.stdout


def clip_of(weights: Path, to: Path) -> Path:
    """The CLIP of a SAN, under its names: what a training gives a fresh side adapter to."""
    state = checkpoint.load(str(weights))
    kept = {name: tensor.float() for name, tensor in state.items() if not name.startswith(SIDE) and name != BACKGROUND}
    checkpoint.save_safetensors(kept, to)
    return to


def row(name: str, scored: dict[str, Any]) -> str:
    groups = "  ".join(f"{100 * scored['mean_iou'][group]:10.2f}" for group in GROUPS)
    return f"{name:34}  {groups}  {100 * scored['unlabeled']:9.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--samples", type=int, default=250, help="scenes of a shard")
    parser.add_argument("--held-out", type=int, default=200, help="scenes that all are scored on")
    parser.add_argument("--steps", type=int, default=240, help="updates of each student")
    parser.add_argument("--rounds", type=int, default=2, help="of label, filter, train, label again; 0 leaves them out")
    parser.add_argument("--round-steps", type=int, default=60, help="updates of each round")
    parser.add_argument("--min-score", default="0.8", help="the filter: segments below it teach nothing")
    parser.add_argument("--threads", default="3", help="CPUs of a training")
    parser.add_argument("--seed", type=int, default=20261121)
    asked = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="st") as made:
        folder = Path(made)

        def run(*words: str) -> str:
            return maskmill(*words, folder=folder)

        def scenes(name: str, shards: int, samples: int, seed: int) -> list[str]:
            to = str(folder / name)
            run("synthesize", to, "--shards", str(shards), "--samples", str(samples), "--seed", str(seed))
            return [str(path) for path in sorted(Path(to).glob("*.tar"))]

        def scored(*words: str) -> dict[str, Any]:
            (found,) = json.loads(run("evaluate", *held_out, *words, "--json"))
            return dict(found)

        def label(output: str, weights: Path) -> str:
            to = str(folder / output)
            run("label", *teach, "--model", "san-tiny", "--weights", str(weights), "--output", to)
            return to

        def train(name: str, init: Path, steps: int, rate: str, *words: str) -> Path:
            to = folder / name
            start = ("--model", "san-tiny", "--init", str(init), "--steps", str(steps), "--batch-size", "16")
            rest = ("--learning-rate", rate, "--clip-norm", "1", "--cpus-per-worker", asked.threads)
            # Scenes come in one size, and colours are in their names: nothing to vary there.
            plain = ("--keep-colours", "--scales", "1.0", "--log-every", "50")
            run("train", *words, *teach, "--output", str(to), *start, *rest, *plain)
            return to / "model.safetensors"

        def model(weights: Path) -> dict[str, Any]:
            return scored("--model", "san-tiny", "--weights", str(weights))

        teach = scenes("scenes", asked.shards, asked.samples, asked.seed + 1)
        held_out = scenes("held-out", 1, asked.held_out, asked.seed)
        weights = Path(folder / "labeler.safetensors")
        weights.write_bytes(WEIGHTS.read_bytes())
        clip = clip_of(weights, folder / "clip.safetensors")
        labels, keep = label("labels", weights), ("--min-score", asked.min_score)
        rows = [row("the labeler, shipped san-tiny", model(weights))]
        by_labels = train("on-labels", clip, asked.steps, "1e-3", "--labels", labels, *keep)
        rows.append(row(f"student, {asked.steps} updates on labels", model(by_labels)))
        by_truth = train("on-truth", clip, asked.steps, "1e-3")
        rows.append(row(f"student, {asked.steps} updates on truth", model(by_truth)))
        for turn in range(1, asked.rounds + 1):
            weights = train(f"round-{turn}", weights, asked.round_steps, "1e-4", "--labels", labels, *keep)
            rows.append(row(f"round {turn}, {asked.round_steps} updates on labels", model(weights)))
            if turn < asked.rounds:
                labels = label(f"labels-{turn}", weights)
    print(f"\nmIoU in percent on {asked.held_out} held-out scenes; {asked.shards * asked.samples} scenes to learn from")
    print(f"{'':34}  {'  '.join(f'{group:>10}' for group in GROUPS)}  unlabeled")
    print("\n".join(rows))
    print(f"{time.monotonic() - started:.0f} seconds")


if __name__ == "__main__":
    main()
