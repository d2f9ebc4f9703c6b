"""The build of san-tiny, with a few steps of each part: what it writes is a model, and it goes on where it stopped."""

import json

import pytest

import maskmill
from maskmill.models import checkpoint
from maskmill.models.training.contrastive import ContrastiveRecipe
from maskmill.models.training.recipe import Recipe
from maskmill.pipeline.synthesis.tiny import Log, TinyPlan, ship, train_clip, train_san

PLAN = TinyPlan(
    seed=4,
    threads=1,
    pool=64,
    passes=1,
    clip_batch=16,
    close=2,
    clip=ContrastiveRecipe(steps=6),
    san=Recipe(steps=3, batch_size=8, learning_rate=1e-3, clip_norm=1.0, seed=4),
    save_every=2,
)


@pytest.mark.slow
def test_a_build_writes_half_precision_weights_that_load(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    clip = train_clip(PLAN, tmp_path, log)
    state = train_san(PLAN, clip, tmp_path, log)
    ship(state, tmp_path / "data" / "tiny.safetensors")
    segmenter = maskmill.load("san-tiny", weights=str(tmp_path / "data" / "tiny.safetensors"), device="cpu")
    assert segmenter.weights == checkpoint.weights_hash({name: tensor.half() for name, tensor in state.items()})
    gauge = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert {"region_names", "region_colours", "region_shapes", "region_backgrounds"} < set(gauge)
    # All steps are done: nothing is drawn or trained again.
    again = train_clip(PLAN, tmp_path, log)
    assert all((again[name] == tensor).all() for name, tensor in clip.items())
