"""Trains a small CLIP from scratch: captions of images and names of crops against texts. Not for real photographs.

The towers are those that SAN reads, under the released names. A crop is read as SAN reads a region: a copy of the CLS
token after the shallow blocks attends, in the deep blocks, to the crop's patches alone. Without a restriction that copy
is CLIP's CLS token itself, so captions and crops go through one pass.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from maskmill.models.clip.tokenizer import Tokenizer
from maskmill.models.san.config import SanConfig
from maskmill.models.san.model import San
from maskmill.models.training.pairs import Pairs

OUTSIDE = -30.0
"""Added to attention outside a crop: nothing is left of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastiveRecipe:
    """Numbers of the training."""

    steps: int = 1250
    """Batches in all."""

    warmup: int = 150
    """Steps over which learning rates rise from zero."""

    decay: float = 0.55
    """Share of the steps, at the end, over which they fall to zero."""

    muon_lr: float = 0.02
    """Muon's learning rate, for the matrices of blocks."""

    adam_lr: float = 1.5e-3
    """AdamW's, for all else."""

    weight_decay: float = 0.02
    """Decoupled, of matrices and embeddings."""

    caption_weight: float = 0.5
    """Weight of the caption loss beside 1 for crops' names and `attribute_weight` for each attribute."""

    attribute_weight: float = 0.5
    """Weight of each attribute's loss."""

    soft_crops: float = 0.5
    """Share of crops whose outside is dimmed rather than shut out: SAN's biases are no walls either."""


def fresh_clip(config: SanConfig, seed: int) -> San:
    """A SAN whose CLIP has its starting values; what SAN adds to it is zero.

    Position embeddings of the image tower start as 2-D sines and cosines, all else as CLIP's own.
    """
    torch.manual_seed(seed)
    model = San(config)
    clip_parameters = nn.ModuleList([model.clip_visual_extractor, model.clip_rec_head, model.ov_classifier])
    vision, text = config.clip.vision_cfg, config.clip.text_cfg
    with torch.no_grad():
        for parameter in model.side_adapter_network.parameters():
            parameter.zero_()
        for tower, sizes in ((0, vision), (1, vision), (2, text)):
            for name, module in clip_parameters[tower].named_modules():
                if isinstance(module, nn.MultiheadAttention):
                    nn.init.normal_(module.in_proj_weight, std=sizes.width**-0.5)
                    nn.init.zeros_(module.in_proj_bias)
                    nn.init.normal_(module.out_proj.weight, std=(2 * sizes.width * sizes.layers) ** -0.5)
                    nn.init.zeros_(module.out_proj.bias)
                elif name.endswith("mlp.c_fc"):
                    nn.init.normal_(module.weight, std=(2 * sizes.width) ** -0.5)
                    nn.init.zeros_(module.bias)
                elif name.endswith("mlp.c_proj"):
                    nn.init.normal_(module.weight, std=(2 * sizes.width * sizes.layers) ** -0.5)
                    nn.init.zeros_(module.bias)
        visual, classifier = model.clip_visual_extractor, model.ov_classifier
        nn.init.normal_(visual.class_embedding, std=0.5)
        visual.positional_embedding[0].zero_()
        visual.positional_embedding[1:] = sines(vision.grid, vision.width)
        nn.init.normal_(model.clip_rec_head.proj, std=vision.width**-0.5)
        nn.init.normal_(classifier.token_embedding.weight, std=0.05)
        nn.init.normal_(classifier.positional_embedding, std=0.02)
        nn.init.normal_(classifier.text_projection, std=text.width**-0.5)
        classifier.logit_scale.fill_(math.log(1 / 0.07))
        classifier.bg_embed.zero_()
    return model


def sines(grid: int, width: int) -> Tensor:
    """2-D sine-cosine position embedding [grid * grid, width]: a quarter each for sines, cosines of rows, columns."""
    quarter = width // 4
    rates = torch.exp(-math.log(100.0) * torch.arange(quarter) / quarter) * math.pi
    turns = torch.arange(grid)[:, None] * rates / 2
    line = torch.cat([turns.sin(), turns.cos()], -1)
    rows = line[:, None].expand(grid, grid, -1)
    columns = line[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], -1).reshape(grid * grid, width)


def clip_parameters(model: San) -> dict[str, nn.Parameter]:
    """CLIP's own parameters: both towers, without SAN's background embedding."""
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if not name.startswith("side_adapter_network.") and name != "ov_classifier.bg_embed"
    }


class ContrastiveTraining:
    """Model, optimisers and schedule.

    Args:
        model: a SAN whose CLIP trains.
        recipe: the numbers.
        texts: groups of texts, of which `Pairs.labels` speaks.
        templates: prompts that texts go into, each with one `{}`.
        seed: of the templates' draws.
    """

    def __init__(
        self, model: San, recipe: ContrastiveRecipe, texts: Sequence[Sequence[str]], templates: Sequence[str], seed: int
    ) -> None:
        self.model, self.recipe = model, recipe
        self.tokenize = Tokenizer(model.config.clip.text_cfg, model="the tiny CLIP")
        self.templates = list(templates)
        self.texts = [list(group) for group in texts]
        self.prompts = {
            t: self.tokenize([template.replace("{}", t) for template in templates]) for g in texts for t in g
        }
        self._random = random.Random(seed)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        matrices, others, plain = [], [], []
        for name, parameter in clip_parameters(model).items():
            parameter.requires_grad_(True)
            if "resblocks" in name and parameter.ndim == 2:
                matrices.append(parameter)
            elif parameter.ndim >= 2:
                others.append(parameter)
            else:
                plain.append(parameter)
        self.muon: torch.optim.Optimizer = torch.optim.Muon(
            matrices, lr=recipe.muon_lr, weight_decay=recipe.weight_decay, momentum=0.95
        )
        self.adam = torch.optim.AdamW(
            [{"params": others, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=recipe.adam_lr,
            betas=(0.9, 0.98),
        )
        self.done = 0

    def rate(self) -> float:
        """Factor of the learning rates at this step: up, level, down to zero."""
        left = (self.recipe.steps - self.done) / (self.recipe.steps * self.recipe.decay)
        return min(1.0, (self.done + 1) / self.recipe.warmup, left)

    def step(self, pairs: Pairs) -> dict[str, float]:
        """One batch; returns the losses by name and the share of crops named right."""
        rate = self.rate()
        for group in self.muon.param_groups:
            group["lr"] = self.recipe.muon_lr * rate
        for group in self.adam.param_groups:
            group["lr"] = self.recipe.adam_lr * rate
        losses, told = self.losses(pairs)
        weights = {"caption": self.recipe.caption_weight, "name": 1.0}
        total = sum((weights.get(k, self.recipe.attribute_weight) * v for k, v in losses.items()), torch.zeros(()))
        self.muon.zero_grad()
        self.adam.zero_grad()
        torch.autograd.backward(total)
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], 5.0)
        self.muon.step()
        self.adam.step()
        with torch.no_grad():
            self.model.ov_classifier.logit_scale.clamp_(max=math.log(100.0))
        self.done += 1
        return {k: v.item() for k, v in losses.items()} | told

    def state(self) -> dict[str, Any]:
        """All that goes on from here, beside data and the prompts' draws."""
        return {
            "done": self.done,
            "model": {name: parameter.detach() for name, parameter in clip_parameters(self.model).items()},
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        with torch.no_grad():
            for name, parameter in clip_parameters(self.model).items():
                parameter.copy_(state["model"][name])
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
        self.done = int(state["done"])

    def losses(self, pairs: Pairs) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The losses of a batch by name, not yet weighted, and for each group the share of crops told right."""
        model = self.model
        heads = model.config.clip.vision_cfg.heads
        outside = torch.full(pairs.regions.shape[:2], OUTSIDE)
        soft = torch.rand(outside.shape) < self.recipe.soft_crops
        outside = torch.where(soft, -torch.rand(outside.shape) * 8 - 2, outside)[..., None, None]
        bias = torch.where(pairs.regions, 0.0, outside)
        bias = functional.pad(bias, (0, 0, 0, 0, 1, 0))[:, None].expand(-1, heads, -1, -1, -1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            clip = model.clip_visual_extractor(pairs.images)
            embeddings = model.clip_rec_head(clip, bias)
        scale = model.ov_classifier.logit_scale.exp()
        captions = model.ov_classifier.encode_text(self.tokenize(pairs.captions))
        losses = {"caption": caption_loss(scale * embeddings[:, 0] @ captions.T, pairs.captions)}
        told = {}
        crops = embeddings[:, 1:]
        features = self.group_features()
        for what, group, labels in zip(("name", "colour", "shape"), features, pairs.labels, strict=True):
            known = labels >= 0
            logits = scale * crops[known] @ group.T
            losses[what] = functional.cross_entropy(logits, labels[known])
            told[f"{what}_right"] = float((logits.argmax(-1) == labels[known]).float().mean())
        return losses, told

    def group_features(self) -> list[Tensor]:
        """Features of each group's texts, each text in a template of its own draw."""
        tokens = [
            self.prompts[text][self._random.randrange(len(self.templates))] for group in self.texts for text in group
        ]
        features = self.model.ov_classifier.encode_text(torch.stack(tokens))
        return list(torch.split(features, [len(group) for group in self.texts]))


def caption_loss(logits: Tensor, captions: Sequence[str]) -> Tensor:
    """CLIP's symmetric loss over a batch; images of equal captions share the target.

    Args:
        logits: [B, B] of images (rows) and captions, scaled.
        captions: the B captions.
    """
    places: dict[str, int] = {}
    kinds = torch.tensor([places.setdefault(text, len(places)) for text in captions])
    same = (kinds[:, None] == kinds[None]).float()
    target = same / same.sum(1, keepdim=True)
    return (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
