"""The inference forms once more, as loops over pixels in float64: slow, and plain enough to be the definition."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from maskmill.models.resize import Size

Array = NDArray[np.float64]


@dataclass(kw_only=True)
class Case:
    """One image's logits and sizes."""

    mask_logits: torch.Tensor
    class_logits: torch.Tensor
    stuff: torch.Tensor
    padded: Size = (64, 96)
    size: Size = (57, 90)
    mask_size: Size = (23, 37)

    @property
    def arguments(self) -> dict:
        return {
            "mask_logits": self.mask_logits,
            "class_logits": self.class_logits,
            "stuff": self.stuff,
            "padded": self.padded,
            "size": self.size,
            "mask_size": self.mask_size,
        }


@dataclass(kw_only=True)
class PlainSegment:
    query: int
    vocab_id: int
    score: float
    margin: float
    top_ids: list[int]
    top_logits: list[float]
    background_logit: float
    mask: NDArray[np.bool_] = field(repr=False)
    mask_score: float | None = None
    stability: float | None = None
    kept: float | None = None


def random_case(
    seed: int, *, queries: int = 12, names: int = 7, dtype: torch.dtype = torch.float64, **sizes: Size
) -> Case:
    """Smooth masks, so that regions are some pixels wide, and queries that are mostly sure of a name."""
    generator = torch.Generator().manual_seed(seed)
    padded = sizes.get("padded", Case.padded)
    coarse = torch.randn(1, queries, 3, 4, generator=generator, dtype=torch.float64) * 6
    masks = functional.interpolate(coarse, size=(max(1, padded[0] // 16), max(1, padded[1] // 16)), mode="bilinear")[0]
    classes = torch.randn(queries, names + 1, generator=generator, dtype=torch.float64)
    sure = torch.randint(names, (queries,), generator=generator)
    sure[-1] = names
    classes[torch.arange(queries), sure] += torch.rand(queries, generator=generator, dtype=torch.float64) * 5 + 1
    stuff = torch.arange(names) % 2 == 0
    return Case(mask_logits=masks.to(dtype), class_logits=classes.to(dtype), stuff=stuff, **sizes)


def plain_upsample(case: Case) -> Array:
    """The published order, as two calls."""
    full = functional.interpolate(
        case.mask_logits[None].double(), size=case.padded, mode="bilinear", align_corners=False
    )
    cropped = full[..., : case.size[0], : case.size[1]]
    return functional.interpolate(cropped, size=case.mask_size, mode="bilinear", align_corners=False)[0].numpy()


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def softmax(row: Array) -> Array:
    powers = np.exp(row - row.max())
    return powers / powers.sum()


def describe(row: Array, k: int) -> dict:
    """Class fields of one row of logits, background last."""
    probabilities = softmax(row)
    order = sorted(range(len(row) - 1), key=lambda name: (-row[name], name))
    second = probabilities[order[1]] if len(order) > 1 else 0.0
    return {
        "vocab_id": order[0],
        "score": probabilities[order[0]],
        "margin": probabilities[order[0]] - second,
        "top_ids": order[:k],
        "top_logits": [row[name] for name in order[:k]],
        "background_logit": row[-1],
    }


def own_fields(logits: Array) -> dict:
    """Fields of a query's own mask."""
    own = sigmoid(logits) >= 0.5
    inner, outer = logits >= 1, logits >= -1
    return {
        "mask_score": sigmoid(logits)[own].mean(),
        "stability": (inner & outer).sum() / (inner | outer).sum(),
    }


def plain_queries(case: Case, threshold: float, k: int = 5) -> list[PlainSegment]:
    full, classes = plain_upsample(case), case.class_logits.double().numpy()
    segments = []
    for query, row in enumerate(classes):
        probabilities = softmax(row)
        mask = sigmoid(full[query]) >= 0.5
        if probabilities.argmax() == len(row) - 1 or probabilities.max() < threshold or not mask.any():
            continue
        segments.append(PlainSegment(query=query, mask=mask, kept=1.0, **describe(row, k), **own_fields(full[query])))
    return segments


def plain_general(case: Case, threshold: float, overlap: float, k: int = 5) -> list[PlainSegment]:
    full, classes = plain_upsample(case), case.class_logits.double().numpy()
    probability = sigmoid(full)
    scores = {
        query: softmax(row).max()
        for query, row in enumerate(classes)
        if softmax(row).argmax() < len(row) - 1 and softmax(row).max() >= threshold
    }
    held = {query: np.zeros(case.mask_size, bool) for query in scores}
    for y in range(case.mask_size[0]):
        for x in range(case.mask_size[1]):
            winner, best = None, -1.0
            for query, score in scores.items():
                if score * probability[query, y, x] > best:
                    winner, best = query, score * probability[query, y, x]
            if winner is not None and probability[winner, y, x] >= 0.5:
                held[winner][y, x] = True
    area = {query: (probability[query] >= 0.5).sum() for query in scores}
    alive = [q for q in scores if held[q].any() and held[q].sum() / area[q] >= overlap]
    merged: dict[int, list[int]] = {}
    for query in alive:
        vocab_id = int(classes[query, :-1].argmax())
        if case.stuff[vocab_id]:
            same = [q for q in alive if int(classes[q, :-1].argmax()) == vocab_id]
            leader = sorted(same, key=lambda q: (-held[q].sum(), q))[0]
            merged[leader] = same
        else:
            merged[query] = [query]
    segments = []
    for leader in sorted(merged):
        mask = np.logical_or.reduce([held[query] for query in merged[leader]])
        own = probability[leader] >= 0.5
        segments.append(
            PlainSegment(
                query=leader,
                mask=mask,
                kept=(mask & own).sum() / own.sum(),
                **describe(classes[leader], k),
                **own_fields(full[leader]),
            )
        )
    return segments


def plain_sums(case: Case) -> Array:
    """Sum over queries of class x mask probability, background as the last class: [N + 1, H, W]."""
    classes = np.stack([softmax(row) for row in case.class_logits.double().numpy()])
    return np.einsum("qc,qhw->chw", classes, sigmoid(plain_upsample(case)))


def plain_semantic(case: Case, k: int = 5) -> list[PlainSegment]:
    sums = plain_sums(case)
    labels = sums[:-1].argmax(0)
    return [
        PlainSegment(query=-1, mask=labels == name, **describe(np.log(sums[:, labels == name].mean(1)), k))
        for name in np.unique(labels)
    ]
