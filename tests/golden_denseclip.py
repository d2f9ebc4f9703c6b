"""Runs DenseCLIP's golden sets through our DenseCLIP; `python -m tests.golden` calls it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.layers.drop import DropPath
from torch import Tensor, nn

from maskmill.models import zoo
from maskmill.models.clip.config import ClipTextConfig
from maskmill.models.denseclip.config import (
    ContextDecoderConfig,
    DenseClipConfig,
    ResNetConfig,
    VitConfig,
    WindowConfig,
)
from maskmill.models.denseclip.criterion import PixelTargets, losses
from maskmill.models.denseclip.segmenter import DenseClipSegmenter
from tests.golden_fill import label_map, normalised, state
from tests.golden_rule import image

Arrays = dict[str, NDArray[Any]]


def config_of(sizes: dict[str, Any]) -> DenseClipConfig:
    """The configuration that a set states; what it states twice has to agree."""
    backbone, text, decoder, head = sizes["backbone"], sizes["text"], sizes["context_decoder"], sizes["head"]
    if backbone["kind"] == "clip_vit":
        encoder: ResNetConfig | VitConfig = VitConfig(
            image_size=backbone["input_resolution"],
            patch_size=backbone["patch"],
            layers=backbone["layers"],
            width=backbone["width"],
            heads=backbone["heads"],
            taps=tuple(backbone["taps_zero_based"]),
            drop_path=backbone["drop_path_rate"],
        )
    else:
        encoder = ResNetConfig(
            image_size=backbone["input_resolution"],
            layers=tuple(backbone["layers"]),
            width=backbone["width"],
            heads=backbone["attnpool_heads"],
        )
    (side, _), (stride, _) = sizes["slide"]["crop"], sizes["slide"]["stride"]
    config = DenseClipConfig(
        image=encoder,
        text=ClipTextConfig(
            context_length=text["positions"],
            vocab_size=text["vocab_size"],
            width=text["width"],
            heads=text["heads"],
            layers=text["layers"],
        ),
        embed_dim=backbone["embed_dim"],
        contexts=text["learned_contexts"],
        context_decoder=ContextDecoderConfig(
            width=decoder["width"], heads=decoder["heads"], layers=decoder["layers"], dropout=decoder["dropout"]
        ),
        neck_channels=sizes["fpn"]["out_channels"],
        head_channels=head["channels"],
        head_dropout=head["dropout_ratio"],
        num_classes=head["num_classes"],
        windows=WindowConfig(side=side, stride=stride),
        tau=sizes["tau"],
    )
    assert config.image.score_level == sizes["score_concat_index"]
    assert config.name_tokens == text["class_tokens"]
    assert sizes["slide"]["crop"] == [side, side]
    assert sizes["slide"]["stride"] == [stride, stride]
    return config


def segmenter_of(golden: dict[str, Any], *, float64: bool = False) -> DenseClipSegmenter:
    """The model that a set describes, filled by the golden rule, from the loader that labels."""
    config = config_of(golden["config"])
    tensors = state(zoo.shapes(config), golden["salt"])
    return zoo.build(config, tensors, name=golden["which"], dtype="float64" if float64 else "float32")


def run(path: Path, *, float64: bool = False) -> Arrays:
    """All arrays of a set.

    Args:
        path: SET.json.
        float64: double precision.
    """
    golden = json.loads(path.read_text())
    segmenter = segmenter_of(golden, float64=float64)
    texts = segmenter.encode_names(golden["vocab"])
    arrays = {"tokens": segmenter.tokenize(golden["vocab"]).numpy()}
    with torch.inference_mode():
        for name, case in golden["cases"].items():
            inputs = model_input(segmenter, case["images"], golden["image_period"])
            out = tuple(case["ori_shape"])
            windows = segmenter.model.config.windows
            if case["mode"] == "whole":
                found = _boxes(segmenter, inputs, texts) | _pixels(segmenter, inputs, texts, out, None, "seg")
            elif case["mode"] == "slide":
                found = _pixels(segmenter, inputs, texts, out, windows, "slide")
            else:
                found = _flipped(segmenter, inputs, texts, out, windows)
            arrays |= {f"{name}/{key}": value.numpy() for key, value in found.items()}
    return arrays


def model_input(segmenter: DenseClipSegmenter, images: list[dict[str, int]], period: float) -> Tensor:
    """Images of one size as one batch [B, 3, H, W]."""
    pixels = [image(one["h"], one["w"], one["seed"], period) for one in images]
    if segmenter.dtype == "float64":
        # The goldens' own float64 runs start from pixels that were normalised in float32.
        return torch.from_numpy(np.stack([normalised(one) for one in pixels])).double()
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return segmenter.normalised(batch, [one.shape[:2] for one in pixels])


def _boxes(segmenter: DenseClipSegmenter, inputs: Tensor, texts: Tensor) -> dict[str, Tensor]:
    """What passes between the boxes, and the logits at stride 4."""
    model, seen = segmenter.model, {}

    def catch(name: str) -> Any:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    watched = {"image": model.backbone, "diff": model.context_decoder, "neck": model.neck}
    hooks = [module.register_forward_hook(catch(name)) for name, module in watched.items()]
    output = model(inputs, texts)
    for hook in hooks:
        hook.remove()
    features = seen["image"]
    return {
        "img": inputs,
        **{f"stage_{i}": level for i, level in enumerate(features.levels)},
        "global": features.whole,
        "local": features.dense,
        "text": texts[None],
        "text_diff": seen["diff"],
        "text_after": texts + model.gamma * seen["diff"],
        "score": output.scores,
        **{f"neck_{i}": level for i, level in enumerate(seen["neck"])},
        "logits": output.logits,
    }


def _pixels(
    segmenter: DenseClipSegmenter,
    inputs: Tensor,
    texts: Tensor,
    out: tuple[int, int],
    windows: WindowConfig | None,
    inner: str,
) -> dict[str, Tensor]:
    """Logits at the input's size, which the set calls `inner`, and at the original one."""

    def logits(size: tuple[int, int]) -> Tensor:
        sizes = [(inputs.shape[-2], inputs.shape[-1])] * len(inputs)
        images = segmenter.bands_of_images(inputs, texts, sizes, [size] * len(inputs), windows)
        return torch.stack([torch.cat([band for _, band in bands or ()], dim=1) for bands in images])

    last = logits(out)
    return {
        inner: logits((inputs.shape[-2], inputs.shape[-1])),
        "out": last,
        "prob": last.softmax(1),
        "pred": last.argmax(1),
    }


def _flipped(
    segmenter: DenseClipSegmenter, inputs: Tensor, texts: Tensor, out: tuple[int, int], windows: WindowConfig | None
) -> dict[str, Tensor]:
    """Probabilities averaged over the image and its mirror image; no part of what labels."""
    straight = _pixels(segmenter, inputs, texts, out, windows, "seg")["prob"]
    mirrored = _pixels(segmenter, inputs.flip(-1), texts, out, windows, "seg")["prob"].flip(-1)
    mean = (straight + mirrored) / 2
    return {"prob": mean, "pred": mean.argmax(1)}


def run_train(path: Path, *, float64: bool = False) -> dict[str, Any]:
    """Losses and gradient norms of SET_train.json (or of the one beside SET.json), by mode."""
    stem = path.stem.removesuffix("_train")
    golden = json.loads(path.with_name(f"{stem}.json").read_text())
    recorded = json.loads(path.with_name(f"{stem}_train.json").read_text())
    suffix = "_f64" if float64 else ""
    return {
        mode + suffix: train_step(
            golden, recorded[mode]["images"], batch_statistics=mode == "batchstat", float64=float64
        )[0]
        for mode in ("eval", "batchstat")
        if mode in recorded
    }


def train_step(
    golden: dict[str, Any], images: list[dict[str, int]], *, batch_statistics: bool, float64: bool
) -> tuple[dict[str, Any], nn.Module]:
    """One forward and backward pass, without the update: its numbers, and the model with its gradients."""
    segmenter = segmenter_of(golden, float64=float64)
    model = segmenter.model
    model.train(batch_statistics)
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
    labels = [label_map(one["h"], one["w"], model.config.num_classes, one["seed"]) for one in images]
    texts = model.encode_text(segmenter.tokenize(golden["vocab"]))
    output = model(model_input(segmenter, images, golden["image_period"]), texts)
    found = losses(output, PixelTargets(rows=torch.from_numpy(np.stack(labels))), model.config.tau)
    found.total.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    numbers = {
        "losses": {name: loss.item() for name, loss in found.named().items()},
        "total": found.total.item(),
        "grad_norms": {name: gradient.norm().item() for name, gradient in gradients.items() if gradient is not None},
        "no_grad": [name for name, gradient in gradients.items() if gradient is None],
    }
    return numbers, model
