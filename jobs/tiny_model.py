"""`make tiny-model`: san-tiny's weights from nothing but a seed. No command of maskmill: users never need it."""

import argparse
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

from maskmill.pipeline.terminal import print_lines


def main() -> None:
    """Train CLIP, then SAN, both from checkpoints in --work where it was interrupted, and write the weights."""
    # Before numpy and torch come. Drawing a scene multiplies small matrices: BLAS threads would only wait for one
    # another. And torch's threads shall sleep while they wait: beside other work, spinning made steps ten times slower.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from maskmill.pipeline.synthesis.tiny import Log, TinyPlan, ship, train_clip, train_san

    plan = TinyPlan()
    parser = argparse.ArgumentParser(description="Build san-tiny from a seed.")
    parser.add_argument("--seed", type=int, default=plan.seed, help="of everything that is drawn")
    parser.add_argument("--threads", type=int, default=plan.threads, help="of torch; one process more draws scenes")
    parser.add_argument("--clip-steps", type=int, default=plan.clip.steps, help="steps of CLIP's training")
    parser.add_argument("--san-steps", type=int, default=plan.san.steps, help="steps of SAN's training")
    parser.add_argument("--work", type=Path, default=Path("build/tiny-model"), help="checkpoints and the log")
    parser.add_argument("--output", type=Path, default=Path("models/san/data/san-tiny.safetensors"), help="the weights")
    asked = parser.parse_args()
    plan = replace(
        plan,
        seed=asked.seed,
        threads=asked.threads,
        clip=replace(plan.clip, steps=asked.clip_steps),
        san=replace(plan.san, steps=asked.san_steps, seed=asked.seed),
    )
    asked.work.mkdir(parents=True, exist_ok=True)
    log = Log(asked.work / "log.jsonl")
    clip = train_clip(plan, asked.work, log)
    ship(train_san(plan, clip, asked.work, log), asked.output)
    shutil.copyfile(asked.work / "log.jsonl", asked.output.with_name("training.log"))
    print_lines(json.dumps({"written": str(asked.output), "bytes": asked.output.stat().st_size}))


if __name__ == "__main__":
    main()
