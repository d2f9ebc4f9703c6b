"""Runs a golden set through our models: `python -m tests.golden SET.json --out mine.npz [--float64]`.

SET.json describes sizes, weights (by rule), vocabulary and images; the arrays written bear the names in its `shapes`.
With `--train`, SET_train.json gives losses and gradients instead, as JSON (tests/golden_train.py). What is here is
SAN's; DenseCLIP's sets, which say `which` of them they are, go to tests/golden_denseclip.py.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from maskmill.models import zoo
from maskmill.models.clip.layers import to_map
from maskmill.models.resize import Size, batch_of
from maskmill.models.san.config import SanConfig
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.san.untrained import FillRule
from tests.golden_rule import image

Arrays = dict[str, NDArray[Any]]


def segmenter_of(golden: dict[str, Any], *, float64: bool = False) -> SanSegmenter:
    """The model that a set describes, filled by the golden rule, from the loader that labels."""
    config = SanConfig.parse(golden["config"])
    rule = FillRule(salt=golden["salt"], overrides=golden["overrides"])
    state = rule.state(zoo.shapes(config))
    return zoo.build(config, state, name=golden["set"], dtype="float64" if float64 else "float32")


def run(path: Path, *, float64: bool = False) -> Arrays:
    """All arrays of a set."""
    golden = json.loads(path.read_text())
    segmenter = segmenter_of(golden, float64=float64)
    # A set may name CLIP layers that nothing reads.
    segmenter.model.clip_visual_extractor.kept |= frozenset(golden["layers"])
    used = path.with_name(f"{path.stem}_f64.npz")
    given = np.load(used)["text_weights_used"] if float64 and used.exists() else None
    with torch.inference_mode():
        arrays, weights = _text(segmenter, golden, given)
        for name, images in golden["cases"].items():
            found = _case(segmenter, images, weights)
            arrays |= {f"{name}/{key}": value for key, value in found.items()}
    # Only what the set names, plus the text: a set that leaves a CLIP layer out has no array for it.
    return {key: value for key, value in arrays.items() if key in golden["shapes"] or "/" not in key}


def _text(segmenter: SanSegmenter, golden: dict[str, Any], given: NDArray[Any] | None) -> tuple[Arrays, Tensor]:
    """Token ids, features and class weights of the set's vocabulary; `given` class weights go before our own."""
    from maskmill.models.vocabulary import Entry, Vocabulary

    names, templates = golden["vocab"], golden["templates"]
    tokens = segmenter.tokenize([template.format(name) for template in templates for name in names])
    vocabulary = Vocabulary(tuple(Entry(vocab_id=i, name=name) for i, name in enumerate(names)))
    features = segmenter.encode_text(vocabulary, templates)
    weights = segmenter.model.ov_classifier.class_weights(features)
    arrays = {
        "tokens": tokens.unflatten(0, (len(templates), len(names))).numpy(),
        "text_raw": features.numpy(),
        "text_weights": weights.numpy(),
    }
    return arrays, weights if given is None else torch.from_numpy(given).to(weights.dtype)


def _case(segmenter: SanSegmenter, images: list[dict[str, int]], weights: Tensor) -> Arrays:
    """The arrays of images that are one batch, padded together."""
    sizes = [(one["h"], one["w"]) for one in images]
    inputs = model_input(segmenter, [(*size, one["seed"]) for size, one in zip(sizes, images, strict=True)])
    model, seen = segmenter.model, _Seen()
    with (
        seen.watch(clip=model.clip_visual_extractor, side=model.side_adapter_network),
        seen.watch(decoder=model.side_adapter_network.mask_decoder, recognition=model.clip_rec_head),
    ):
        (output,) = model(inputs, weights)
    (clip_input,), clip = seen["clip"]
    _, side = seen["side"]
    (_, pooled), embeddings = seen["recognition"]
    (depth,) = side.values()
    arrays = {
        "clip_input": clip_input,
        "side_query": depth.queries,
        "side_x": to_map(depth.pixels, depth.grid),
        "mask_preds": output.mask_logits,
        "attn_bias": seen["decoder"][1].attention_bias,
        "attn_bias_pooled": pooled,
        "mask_embs": embeddings,
        "mask_logits": output.class_logits,
    }
    for layer, tokens in clip.tokens.items():
        arrays[f"clip_{layer}"] = to_map(tokens[:, 1:], clip.grid)
        arrays[f"clip_{layer}_cls"] = tokens[:, 0]
    for i, (one, size) in enumerate(zip(images, sizes, strict=True)):
        out = (one["out_h"], one["out_w"])
        arrays[f"sem_seg_{i}"] = semantic_scores(
            output.mask_logits[i],
            output.class_logits[i],
            padded=(inputs.shape[-2], inputs.shape[-1]),
            size=size,
            out=out,
        )
    return {key: value.numpy() for key, value in arrays.items()}


def model_input(segmenter: SanSegmenter, images: Sequence[tuple[int, int, int]]) -> Tensor:
    """Images (height, width, seed) as one normalised batch [B, 3, H, W], padded together."""
    pixels = [image(*one) for one in images]
    # A golden batch is padded to its largest image; `batch_of` takes images that agree. Hence through one canvas.
    height, width = segmenter.rule.padded((max(p.shape[0] for p in pixels), max(p.shape[1] for p in pixels)))
    canvas = [np.pad(p, ((0, height - p.shape[0]), (0, width - p.shape[1]), (0, 0))) for p in pixels]
    batch = batch_of(canvas, [(height, width)] * len(canvas), segmenter.rule)
    return segmenter.normalised(batch.pixels, [(p.shape[0], p.shape[1]) for p in pixels])


def semantic_scores(mask_logits: Tensor, class_logits: Tensor, *, padded: Size, size: Size, out: Size) -> Tensor:
    """Semantic scores [N, out_h, out_w] of one image, by the plain formula of the released code."""
    masks = functional.interpolate(mask_logits[None], size=padded, mode="bilinear", align_corners=False)
    masks = functional.interpolate(masks[..., : size[0], : size[1]], size=out, mode="bilinear", align_corners=False)[0]
    classes = class_logits.softmax(dim=-1)[:, :-1]
    return torch.einsum("qc,qhw->chw", classes, masks.sigmoid())


class _Seen(dict[str, tuple[Any, Any]]):
    """Inputs and output of modules, caught by forward hooks: name -> (inputs, output)."""

    def watch(self, **modules: nn.Module) -> "_Watch":
        return _Watch(self, modules)


class _Watch:
    def __init__(self, seen: _Seen, modules: dict[str, nn.Module]) -> None:
        self.seen, self.modules = seen, modules

    def __enter__(self) -> None:
        def catch(name: str) -> Any:
            return lambda _module, inputs, output: self.seen.__setitem__(name, (inputs, output))

        self.hooks = [module.register_forward_hook(catch(name)) for name, module in self.modules.items()]

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", type=Path, help="SET.json, or SET_train.json")
    parser.add_argument("--out", type=Path, required=True, help="where the arrays go, .npz (with --train .json)")
    parser.add_argument("--float64", action="store_true", help="double precision, with the stored text weights")
    parser.add_argument("--train", action="store_true", help="losses and gradients of SET_train.json")
    chosen = parser.parse_args(arguments)
    if "which" in json.loads(chosen.set.read_text()):
        from tests import golden_denseclip

        if chosen.train:
            numbers = golden_denseclip.run_train(chosen.set, float64=chosen.float64)
            chosen.out.write_text(json.dumps(numbers, indent=1) + "\n")
        else:
            np.savez(chosen.out, **golden_denseclip.run(chosen.set, float64=chosen.float64))
    elif chosen.train:
        from tests.golden_train import run as run_train

        chosen.out.write_text(json.dumps(run_train(chosen.set, float64=chosen.float64).numbers(), indent=1) + "\n")
    else:
        np.savez(chosen.out, **run(chosen.set, float64=chosen.float64))


if __name__ == "__main__":
    main()
