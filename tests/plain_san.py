"""SAN in its plainest form, the oracle of our numbers and the denominator of our speed: `python -m tests.plain_san`.

It has the parameters of our model and none of its arithmetic, which is written from the paper: patches by
convolution, attention as softmax(Q K^T) V with the matrices written out, recognition as full self-attention over SLS,
CLS and visual tokens under one dense mask, and every class's score at every pixel. What it takes is what a
straightforward implementation takes, so nothing here is to be made faster.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.inference.forms import GeneralInference, SemanticInference
from maskmill.models.masks.rle import decode
from maskmill.models.resize import Size, batch_of
from maskmill.models.san.model import San
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.models.san.untrained import FillRule
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures
from tests.golden_rule import image

Features = dict[int, Tensor]
"""Blocks run -> CLIP's tokens [B, 1 + L, C], the CLS token first."""

CLIP_EPS, SIDE_EPS = 1e-5, 1e-6

UNSEEN = -100.0
"""Added to the attention to tokens that must not be seen, as in the released code: exp(-100) is 4e-44."""

RULE = FillRule(
    overrides={"ov_classifier.logit_scale": 6.0},
    gains={
        "side_adapter_network.query_embed": 4.0,
        "side_adapter_network.mask_decoder.query_mlp.layers.2.weight": 2.0,
        "side_adapter_network.mask_decoder.attn_mlp.layers.2.weight": 8.0,
    },
)
"""Weights by rule. Queries that are further apart, and a sure classifier, give maps of several classes."""


@dataclass(frozen=True, kw_only=True)
class PlainOutput:
    """What the forward pass says."""

    mask_logits: Tensor
    """[B, Q, h, w]."""

    class_logits: Tensor
    """[B, Q, N + 1]."""


class PlainSan:
    """The forward pass, part by part.

    Args:
        model: whose parameters are used, by their released names.
    """

    def __init__(self, model: San) -> None:
        self.config = model.config
        self.weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def __call__(self, images: Tensor, class_weights: Tensor) -> PlainOutput:
        """Normalised, padded images [B, 3, H, W] and class weights [N + 1, E] -> logits."""
        clip, grid = self.shallow(images)
        tokens, side_grid = self.side(images, clip, grid)
        mask_logits, bias = self.decode(tokens, side_grid)
        embeddings = self.recognise(clip, bias, grid)
        return PlainOutput(mask_logits=mask_logits, class_logits=self.classify(embeddings, class_weights))

    def shallow(self, images: Tensor) -> tuple[Features, Size]:
        """CLIP's shallow blocks."""
        at = "clip_visual_extractor."
        small = functional.interpolate(
            images, scale_factor=self.config.clip_resolution, mode="bilinear", align_corners=False
        )
        patches = functional.conv2d(
            small, self.weights[at + "conv1.weight"], stride=self.config.clip.vision_cfg.patch_size
        )
        grid = (patches.shape[2], patches.shape[3])
        places = self.weights[at + "positional_embedding"]
        visual = patches.flatten(2).transpose(1, 2) + positions(places[1:], self.config.clip.vision_cfg.grid, grid)
        cls = (self.weights[at + "class_embedding"] + places[0]).expand(len(images), 1, -1)
        tokens = self.norm(torch.cat([cls, visual], dim=1), at + "ln_pre", CLIP_EPS)
        found = {0: tokens}
        for index in range(self.config.split_layer):
            tokens = self.clip_block(tokens, f"{at}resblocks.{index}.", None)
            found[index + 1] = tokens
        return found, grid

    def side(self, images: Tensor, clip: Features, clip_grid: Size) -> tuple[Tensor, Size]:
        """The side ViT with CLIP's tokens fused in: tokens [B, Q + L, C], the queries first."""
        at, vit = "side_adapter_network.", "side_adapter_network.vit_model."
        config = self.config.side_vit
        patches = functional.conv2d(
            images,
            self.weights[vit + "patch_embed.proj.weight"],
            self.weights[vit + "patch_embed.proj.bias"],
            stride=config.patch_size,
        )
        grid = (patches.shape[2], patches.shape[3])
        places = positions(self.weights[vit + "pos_embed"][0], config.grid, grid)
        added = torch.cat([self.weights[at + "query_pos_embed"][0], places])
        queries = self.weights[at + "query_embed"].expand(len(images), -1, -1)
        tokens = torch.cat([queries, patches.flatten(2).transpose(1, 2)], dim=1) + added
        tokens = self.fused(0, tokens, clip, clip_grid, grid)
        for index in range(config.depth):
            if index:
                tokens = tokens + added
            tokens = self.fused(index + 1, self.side_block(tokens, f"{vit}blocks.{index}."), clip, clip_grid, grid)
        return tokens, grid

    def fused(self, block: int, tokens: Tensor, clip: Features, clip_grid: Size, grid: Size) -> Tensor:
        """Tokens before this side block, with CLIP's visual tokens added where the map says so."""
        layer = dict(self.config.fusion).get(block)
        if layer is None:
            return tokens
        at = f"side_adapter_network.fusion_layers.layer_{block}.input_proj."
        visual = self.norm(clip[layer][:, 1:], at + "0", SIDE_EPS)
        seen = visual.transpose(1, 2).unflatten(2, clip_grid)
        seen = functional.conv2d(seen, self.weights[at + "1.weight"], self.weights[at + "1.bias"])
        seen = functional.interpolate(seen, size=grid, mode="bilinear", align_corners=False)
        queries = self.config.num_queries
        return torch.cat([tokens[:, :queries], tokens[:, queries:] + seen.flatten(2).transpose(1, 2)], dim=1)

    def decode(self, tokens: Tensor, grid: Size) -> tuple[Tensor, Tensor]:
        """Mask logits [B, Q, h, w] and attention biases [B, heads, Q, h, w]."""
        at, heads = "side_adapter_network.mask_decoder.", self.config.mask_decoder.bias_heads
        queries = tokens[:, : self.config.num_queries]
        pixels = tokens[:, self.config.num_queries :].transpose(1, 2).unflatten(2, grid)
        query = self.mlp(queries, at + "query_mlp.")
        pixel = self.mlp(pixels, at + "pix_mlp.")
        keys = self.mlp(pixels, at + "attn_mlp.").unflatten(1, (heads, -1))
        masks = torch.einsum("bqc,bchw->bqhw", query, pixel)
        bias = torch.einsum("bqc,bnchw->bnqhw", query, keys)
        scaled = self.linear(bias[..., None], at + "bias_scaling.")[..., 0]
        return masks, scaled

    def recognise(self, clip: Features, bias: Tensor, grid: Size) -> Tensor:
        """Embeddings [B, Q, E] of SLS tokens, each of length 1."""
        at, queries = "clip_rec_head.", self.config.num_queries
        tokens = clip[self.config.split_layer]
        mask = dense_mask(bias, grid)
        tokens = torch.cat([tokens[:, :1].expand(-1, queries, -1), tokens], dim=1)
        for index in range(self.config.clip.vision_cfg.layers - self.config.split_layer):
            tokens = self.clip_block(tokens, f"{at}resblocks.{index}.", mask)
        embeddings = self.norm(tokens[:, :queries], at + "ln_post", CLIP_EPS) @ self.weights[at + "proj"]
        return functional.normalize(embeddings, dim=-1)

    def classify(self, embeddings: Tensor, class_weights: Tensor) -> Tensor:
        """Class logits [B, Q, N + 1]."""
        scale = self.weights["ov_classifier.logit_scale"].exp()
        return torch.einsum("bqc,nc->bqn", embeddings, scale * class_weights)

    # --- layers -------------------------------------------------------------------------------------------------------

    def norm(self, tokens: Tensor, name: str, eps: float) -> Tensor:
        weight, bias = self.weights[name + ".weight"], self.weights[name + ".bias"]
        return functional.layer_norm(tokens, weight.shape, weight, bias, eps)

    def linear(self, tokens: Tensor, name: str) -> Tensor:
        return functional.linear(tokens, self.weights[name + "weight"], self.weights[name + "bias"])

    def mlp(self, values: Tensor, name: str) -> Tensor:
        """Layers with ReLU between them: linear over tokens, 1x1 convolutions over maps."""
        last = self.config.mask_decoder.mlp_layers - 1
        for index in range(last + 1):
            weight, bias = self.weights[f"{name}layers.{index}.weight"], self.weights[f"{name}layers.{index}.bias"]
            values = (functional.conv2d if weight.ndim == 4 else functional.linear)(values, weight, bias)
            values = functional.relu(values) if index < last else values
        return values

    def clip_block(self, tokens: Tensor, name: str, mask: Tensor | None) -> Tensor:
        """A block of CLIP's image tower: QuickGELU."""
        normed = self.norm(tokens, name + "ln_1", CLIP_EPS)
        mixed = functional.linear(
            normed, self.weights[name + "attn.in_proj_weight"], self.weights[name + "attn.in_proj_bias"]
        )
        heads = self.config.clip.vision_cfg.heads
        tokens = tokens + self.linear(attention(mixed, heads, mask), name + "attn.out_proj.")
        hidden = self.linear(self.norm(tokens, name + "ln_2", CLIP_EPS), name + "mlp.c_fc.")
        hidden = hidden * torch.sigmoid(1.702 * hidden) if self.config.clip.quick_gelu else functional.gelu(hidden)
        return tokens + self.linear(hidden, name + "mlp.c_proj.")

    def side_block(self, tokens: Tensor, name: str) -> Tensor:
        """A block of the side ViT: exact GELU."""
        mixed = self.linear(self.norm(tokens, name + "norm1", SIDE_EPS), name + "attn.qkv.")
        tokens = tokens + self.linear(attention(mixed, self.config.side_vit.heads, None), name + "attn.proj.")
        hidden = self.linear(self.norm(tokens, name + "norm2", SIDE_EPS), name + "mlp.fc1.")
        return tokens + self.linear(functional.gelu(hidden), name + "mlp.fc2.")


def attention(mixed: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """softmax(Q K^T / sqrt d + mask) V, nothing fused, from projections [B, L, 3 C] to [B, L, C]."""
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in mixed.chunk(3, dim=-1))
    scores = (query @ key.transpose(-2, -1)) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


def dense_mask(bias: Tensor, grid: Size) -> Tensor:
    """What is added to the attention of all tokens to all, [B, heads, Q + 1 + L, Q + 1 + L].

    SLS tokens see visual tokens (with their bias) and themselves; nobody sees another's SLS token.
    """
    batch, heads, queries = bias.shape[:3]
    pooled = functional.adaptive_max_pool2d(bias.flatten(1, 2), grid).unflatten(1, (heads, queries)).flatten(3)
    whole = queries + 1 + pooled.shape[-1]
    mask = bias.new_zeros(batch, heads, whole, whole)
    mask[..., :queries] = UNSEEN
    own = torch.arange(queries)
    mask[:, :, own, own] = 0.0
    mask[:, :, :queries, queries] = UNSEEN
    mask[:, :, :queries, queries + 1 :] = pooled
    return mask


def positions(stored: Tensor, side: int, grid: Size) -> Tensor:
    """Position embeddings [side * side, C] for another grid: bicubic, no antialias."""
    if grid == (side, side):
        return stored
    places = stored.T.unflatten(1, (side, side))[None]
    return functional.interpolate(places, size=grid, mode="bicubic", align_corners=False)[0].flatten(1).T


def scores(output: PlainOutput, index: int, *, padded: Size, size: Size, out: Size) -> Tensor:
    """Scores [N, H, W] of every class at every pixel of an image, by the plain formula."""
    masks = functional.interpolate(output.mask_logits, size=padded, mode="bilinear", align_corners=False)[index]
    masks = masks[None, :, : size[0], : size[1]]
    masks = functional.interpolate(masks, size=out, mode="bilinear", align_corners=False)[0]
    classes = output.class_logits[index].softmax(dim=-1)[:, :-1]
    return torch.einsum("qc,qhw->chw", classes, masks.sigmoid())


# --- beside ours ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far our numbers are from the plain ones."""

    mask_logits: float
    """Largest difference over the largest value."""

    class_logits: float
    """The same."""

    pixels: float
    """Share of pixels whose class differs in semantic form."""

    gap: float
    """At those pixels, the most by which the plain score of its class exceeds that of ours, of the image's highest."""

    classes: int
    """Classes in the plain map: a map of one class would compare nothing."""


def difference(segmenter: SanSegmenter, classes: ClassFeatures, picture: Any) -> Difference:
    """Ours against the plain form, on one image [H, W, 3]."""
    size = (picture.shape[0], picture.shape[1])
    batch = batch_of([picture], [size], segmenter.rule)
    plain = PlainSan(segmenter.model)
    with torch.inference_mode():
        images = segmenter.normalised(batch.pixels, batch.sizes)
        output = plain(images, segmenter.model.ov_classifier.class_weights(classes.features))
        whole = scores(output, 0, padded=(images.shape[2], images.shape[3]), size=size, out=size)
        ours = segmenter.logits(batch, classes)
        segments = segmenter.segment(batch, classes, SemanticInference())[0]
        assert segments is not None
        chosen, own = whole.argmax(0), label_map(segments, size)
        lost = whole.gather(0, chosen[None]) - whole.gather(0, own[None])
    return Difference(
        mask_logits=apart(ours.mask_logits, output.mask_logits),
        class_logits=apart(ours.class_logits, output.class_logits),
        pixels=float((chosen != own).float().mean()),
        gap=float(lost.max() / whole.max()),
        classes=len(chosen.unique()),
    )


def apart(ours: Tensor, plain: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((ours - plain).abs().max() / plain.abs().max())


def label_map(segments: Sequence[Segment], size: Size) -> Tensor:
    """The class of each pixel, int64 [H, W], from segments in semantic form."""
    found = torch.full(size, -1, dtype=torch.int64)
    for segment in segments:
        found[torch.from_numpy(decode(segment.rle, size).copy())] = segment.vocab_id
    assert found.min() >= 0, "a pixel without a class"
    return found


def plain_works(segmenter: SanSegmenter, classes: ClassFeatures, picture: Any) -> dict[str, Callable[[], object]]:
    """The plain form by part, and whole, on one image; the names are those of `pipeline.bench.parts`."""
    plain, size = PlainSan(segmenter.model), (picture.shape[0], picture.shape[1])
    batch = batch_of([picture], [size], segmenter.rule)
    weights = segmenter.model.ov_classifier.class_weights(classes.features)
    padded = segmenter.rule.padded(size)
    with torch.inference_mode():
        images = segmenter.normalised(batch.pixels, batch.sizes)
        clip, grid = plain.shallow(images)
        tokens, side_grid = plain.side(images, clip, grid)
        masks, bias = plain.decode(tokens, side_grid)
        embeddings = plain.recognise(clip, bias, grid)
        output = PlainOutput(mask_logits=masks, class_logits=plain.classify(embeddings, weights))

    def segments(result: PlainOutput) -> Tensor:
        # Scores are what the released code gives; the choice among them would make the plain form slower still.
        return scores(result, 0, padded=padded, size=size, out=size)

    def whole() -> Tensor:
        return segments(plain(segmenter.normalised(batch.pixels, batch.sizes), weights))

    return {
        "input": lambda: segmenter.normalised(batch.pixels, batch.sizes),
        "CLIP shallow": lambda: plain.shallow(images),
        "side ViT": lambda: plain.side(images, clip, grid),
        "mask decoder": lambda: plain.decode(tokens, side_grid),
        "recognition": lambda: plain.recognise(clip, bias, grid),
        "classifier": lambda: plain.classify(embeddings, weights),
        "segments": lambda: segments(output),
        "whole": whole,
    }


def our_works(segmenter: SanSegmenter, classes: ClassFeatures, picture: Any) -> dict[str, Callable[[], object]]:
    """Ours by part, and whole: in semantic form, which is what the plain form makes, and in the default form."""
    from maskmill.pipeline.bench.parts import Parts

    size = (picture.shape[0], picture.shape[1])
    batch = batch_of([picture], [size], segmenter.rule)
    works = Parts(segmenter, batch, classes, SemanticInference()).works()
    return {name: part.work for name, part in works.items() if name != "RLE"} | {
        "whole": lambda: segmenter.segment(batch, classes, SemanticInference()),
        "whole, general form": lambda: segmenter.segment(batch, classes, GeneralInference()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    from maskmill.models import zoo
    from maskmill.pipeline.bench.subject import made_up

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--model", default="san-vit-b16", choices=zoo.MODELS)
    parser.add_argument("--size", type=int, help="side of the square image; the model's short side by default")
    parser.add_argument("--names", type=int, default=171)
    parser.add_argument("--rounds", type=int, default=9, help="in each of which everything runs once")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    spec = zoo.MODELS[chosen.model]
    segmenter = zoo.build(spec.config, RULE.state(zoo.shapes(spec.config)), name=spec.name, rule=spec.rule)
    classes = made_up(chosen.names, spec.config.clip.embed_dim)
    side = chosen.size or spec.short_side
    picture = image(side, side, 0)

    print(
        f"{spec.name}, one {side} x {side} image, {chosen.threads} threads, float32, {chosen.names} made-up names, "
        f"weights by rule; torch {torch.__version__}; medians of {chosen.rounds} rounds"
    )
    plain, ours = by_turns(
        plain_works(segmenter, classes, picture), our_works(segmenter, classes, picture), rounds=chosen.rounds
    )
    print(f"{'':22}{'plain ms':>10}{'share':>8}{'ours ms':>10}{'ratio':>8}")
    for name, mine in ours.items():
        theirs = plain.get(name, plain["whole"])
        share = f"{theirs / plain['whole']:.1%}" if name in plain else ""
        print(f"{name:22}{theirs:10.1f}{share:>8}{mine:10.1f}{theirs / mine:7.2f}x")
    found = difference(segmenter, classes, picture)
    print(
        f"largest difference: mask logits {found.mask_logits:.1e}, class logits {found.class_logits:.1e} of the largest"
    )
    print(
        f"pixels of another class: {found.pixels:.4%} of {side * side:,} in {found.classes} classes, "
        f"at most {found.gap:.1e} of the highest score apart"
    )


def by_turns(*groups: dict[str, Callable[[], object]], rounds: int) -> list[dict[str, float]]:
    """Milliseconds of each work, the median of rounds in which every work of every group runs once, after a first.

    By turns, for a machine is faster in one minute than in the next; without gradients, as labeling runs them.
    """
    took: list[dict[str, list[float]]] = [{name: [] for name in works} for works in groups]
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for works, times in zip(groups, took, strict=True):
                for name, work in works.items():
                    started = time.perf_counter()
                    work()
                    if turn:
                        times[name].append(1e3 * (time.perf_counter() - started))
    return [{name: median(times) for name, times in one.items()} for one in took]


if __name__ == "__main__":
    main()
