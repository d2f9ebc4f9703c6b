"""Makes the weights of san-tiny from a seed."""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch

from models.san.config import SAN_TINY
from models.training.contrastive import ContrastiveRecipe, ContrastiveTraining, fresh_clip
from models.vocabulary.templates import TEMPLATE_SETS
from pipeline.synthesis.pairs import TEXTS, batches
from pipeline.synthesis.pool import draw, pools


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--steps", type=int, default=6000)
    ap.add_argument("--batch", type=int, default=128)
    ap.add_argument("--pool", type=int, default=16384)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--muon-lr", type=float, default=0.02)
    ap.add_argument("--adam-lr", type=float, default=1.5e-3)
    ap.add_argument("--out", default="/tmp/tiny-logs/clip.pt")
    ap.add_argument("--zoom", type=float, default=0.5)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--workers", type=int, default=1)
    ap.add_argument("--resume", default=None)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    recipe = ContrastiveRecipe(steps=a.steps, muon_lr=a.muon_lr, adam_lr=a.adam_lr)
    model = fresh_clip(SAN_TINY, a.seed)
    templates = ("{}", "a {}", *TEMPLATE_SETS["vild14"])
    training = ContrastiveTraining(model, recipe, TEXTS, templates, a.seed)
    rng = np.random.default_rng(a.seed)
    started = time.time()
    first = 0
    if a.resume:
        held = torch.load(a.resume)
        model.load_state_dict(held["model"])
        training.done = held["done"]
        first = 1 + training.done * a.batch // (2 * a.pool)
    kept = []
    for pool in pools(a.seed, a.pool, start=first, halved=True, masks=False, workers=a.workers):
        print("pool", round(time.time() - started), flush=True)
        for _ in range(2):
            share = 1.0 if training.done < 200 else max(0.15, a.zoom * (1 - training.done / (0.5 * a.steps)))
            for pairs in batches(pool, a.batch, grid=8, zoomed=share, rng=rng):
                kept.append(training.step(pairs))
                if training.done % 50 == 0:
                    mean = {k: round(float(np.mean([x[k] for x in kept])), 3) for k in kept[0]}
                    print(training.done, round(time.time() - started), f"{training.rate():.3f}", mean, flush=True)
                    kept = []
                if training.done % 250 == 0 or training.done == a.steps:
                    torch.save({"model": model.state_dict(), "done": training.done}, a.out + ".tmp")
                    os.replace(a.out + ".tmp", a.out)
                if training.done == a.steps:
                    return
main() if __name__ == "__main__" else None
