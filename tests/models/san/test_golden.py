"""Our SAN against the numbers of the authors' code (tests/data/golden/san)."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden import Arrays, main, run

GOLDEN = Path(__file__).parents[2] / "data" / "golden" / "san"
REQUIRED = ("mask_preds", "attn_bias_pooled", "mask_embs", "mask_logits", "sem_seg")


def expected(ours: np.ndarray, stored: str, slices: dict[str, str], *, float64: bool) -> np.ndarray:
    """The part of a whole array that the golden file stores under this name."""
    reductions = {
        "norm": lambda a: np.linalg.norm(a[0], axis=0),
        "chmean": lambda a: a.mean((1, 2)),
        "mean": lambda a: a[0].mean((-2, -1)),
        "std": lambda a: a[0].std((-2, -1)),
        "argmax": lambda a: a.argmax(0),
    }
    _, _, reduction = stored.partition("__")
    if reduction:
        return reductions[reduction](ours)
    if float64:
        return ours[:, 1::4, 1::4] if "sem_seg" in stored else ours
    if stored not in slices:
        return ours
    parts = [
        ...
        if part == "..."
        else int(part)
        if part.isdigit()
        else slice(*(int(n) if n else None for n in part.split(":")))
        for part in slices[stored].strip("[]").split(",")
    ]
    return ours[tuple(parts)]


def compare(ours: Arrays, name: str, tolerance: float, *, float64: bool = False) -> set[str]:
    """Assert that each stored array is met; returns the names that were compared."""
    golden = np.load(GOLDEN / f"{name}{'_f64' if float64 else ''}.npz")
    slices = json.loads((GOLDEN / f"{name}.json").read_text())["slices"]
    seen = set()
    for stored in golden.files:
        whole = stored.partition("__")[0]
        if whole not in ours or (float64 and "/" not in stored):
            continue
        mine, theirs = expected(ours[whole], stored, slices, float64=float64), golden[stored]
        assert mine.shape == theirs.shape, stored
        if stored.endswith("__argmax"):
            assert (mine == theirs).mean() > 0.999, stored
        else:
            largest = np.abs(theirs.astype(np.float64)).max()
            error = np.abs(mine.astype(np.float64) - theirs).max() / max(largest, 1e-30)
            assert error <= tolerance, f"{stored}: {error:.2e}"
        seen.add(stored)
    missing = [name for name in golden.files if "/" in name and name not in seen]
    assert not missing, missing
    return seen


def test_tiny16_equals_the_authors_numbers_in_float32():
    seen = compare(run(GOLDEN / "tiny16.json"), "tiny16", 5e-5)
    assert {"tokens", "text_raw", "text_weights"} <= seen
    assert all(any(name.split("/")[-1].startswith(kind) for name in seen) for kind in REQUIRED)


def test_tiny16_equals_the_authors_numbers_in_float64():
    compare(run(GOLDEN / "tiny16.json", float64=True), "tiny16", 1e-9, float64=True)


def test_the_command_writes_the_arrays(tmp_path):
    out = tmp_path / "mine.npz"
    main([str(GOLDEN / "tiny16.json"), "--out", str(out), "--float64"])
    written = np.load(out)
    described = json.loads((GOLDEN / "tiny16.json").read_text())
    assert {name: list(written[name].shape) for name in described["shapes"]} == described["shapes"]
    assert written["c/mask_logits"].dtype == np.float64


@pytest.mark.slow
def test_vit_b16_equals_the_authors_numbers():
    torch.set_num_threads(2)
    compare(run(GOLDEN / "B16.json"), "B16", 5e-5)


@pytest.mark.parametrize("divisor", [14, 7])
def test_any_set_of_that_form_runs(tmp_path, divisor):
    """Patch 14, resolution 0.7, images that nothing divides: names and shapes are as the set's own sizes say."""
    golden = json.loads((GOLDEN / "tiny16.json").read_text())
    config = golden["config"]
    config["clip"]["vision_cfg"] |= {
        "patch_size": divisor,
        "image_size": 70,
        "width": 96,
        "layers": 5,
        "head_width": 24,
    }
    config["side_vit"] |= {"patch_size": 8, "width": 36, "heads": 3}
    config["mask_decoder"] |= {"bias_heads": 4, "embed_channels": 24}
    golden["layers"] = [0, 2, 3, 4]
    config |= {"clip_resolution": 0.7, "split_layer": 4, "fusion": {"0": 0, "1": 2, "2": 4}, "num_queries": 7}
    cases = {
        "x": [{"h": 70, "w": 201, "seed": 1, "out_h": 33, "out_w": 65}],
        "y": [
            {"h": 129, "w": 65, "seed": 2, "out_h": 129, "out_w": 65},
            {"h": 64, "w": 64, "seed": 3, "out_h": 8, "out_w": 8},
        ],
    }
    padded = {"x": (96, 224), "y": (160, 96)}
    shapes = {}
    for case, (height, width) in padded.items():
        images, grid = len(cases[case]), (int(height * 0.7) // divisor, int(width * 0.7) // divisor)
        shapes[f"{case}/clip_input"] = [images, 3, int(height * 0.7), int(width * 0.7)]
        shapes[f"{case}/clip_2"] = [images, 96, *grid]
        shapes[f"{case}/clip_2_cls"] = [images, 96]
        shapes[f"{case}/clip_3"] = [images, 96, *grid]
        shapes[f"{case}/mask_preds"] = [images, 7, height // 8, width // 8]
        shapes[f"{case}/attn_bias_pooled"] = [images, 4, 7, *grid]
        shapes[f"{case}/mask_logits"] = [images, 7, 13]
        for i, one in enumerate(cases[case]):
            shapes[f"{case}/sem_seg_{i}"] = [12, one["out_h"], one["out_w"]]
    path = tmp_path / "set.json"
    path.write_text(json.dumps(golden | {"set": "mine", "salt": "mine/", "cases": cases, "shapes": shapes}))
    arrays = run(path)
    assert {name: list(arrays[name].shape) for name in shapes} == shapes
    assert all(np.isfinite(array).all() for array in arrays.values())
