"""What a large vocabulary costs: `python -m tests.vocabulary_cost` labels one image with 171 and with 21,000 names.

Names are random features, and the logits that become segments are made up (the bench's, with ten objects), so that
both vocabularies find the same segments. The product of features and names is told apart, as it grows with both.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
from torch.nn import functional

from maskmill.models import zoo
from maskmill.models.inference.forms import GeneralInference, Inference, QueriesInference
from maskmill.models.san.segmenter import SanSegmenter
from maskmill.pipeline.bench.parts import input_batch
from maskmill.pipeline.bench.subject import FILL, MadeUpLabels, made_up

FORMS: dict[str, Inference] = {"general": GeneralInference(), "queries": QueriesInference()}


def labeler(model: str) -> SanSegmenter:
    """A model with weights by rule whose logits are replaced before they become segments."""
    spec = zoo.MODELS[model]
    built = zoo.build(spec.config, FILL.state(zoo.shapes(spec.config)), name=spec.name, rule=spec.rule)
    assert isinstance(built, SanSegmenter)
    return MadeUpLabels(built.model, name=built.name, weights=built.weights, rule=built.rule, dtype=built.dtype)


def seconds(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Medians of the thread's own time, the works by turns, so that neighbours on the machine weigh on all alike."""
    found: dict[str, list[float]] = {name: [] for name in works}
    with torch.inference_mode():
        for turn in range(repeats + 1):
            for name, work in works.items():
                started = time.thread_time()
                work()
                if turn:
                    found[name].append(time.thread_time() - started)
    return {name: median(times) for name, times in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="san-vit-b16", choices=[n for n in zoo.MODELS if n.startswith("san")])
    parser.add_argument("--names", type=int, nargs=2, default=(171, 21_000))
    parser.add_argument("--repeats", type=int, default=3)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a thread's own time tells all of the work only where there is one thread
    segmenter = labeler(chosen.model)
    side, width = segmenter.rule.short_side, segmenter.model.config.clip.embed_dim
    batch = input_batch(segmenter, (side, side), (side, side), 1)
    queries = segmenter.model.config.num_queries
    works: dict[str, Callable[[], object]] = {}
    for names in chosen.names:
        classes, embeddings = made_up(names, width), torch.randn(queries, width)
        for form, inference in FORMS.items():
            works[f"{form} {names}"] = partial(segmenter.segment, batch, classes, inference)
        weights = segmenter.model.ov_classifier.class_weights(classes.features)
        works[f"product {names}"] = partial(functional.linear, embeddings, weights)
    found = seconds(works, chosen.repeats)
    few, many = chosen.names
    print(f"{chosen.model}, one {side} x {side} image, one thread, random features, ms of the thread's own time")
    print(f"{'':10}{few:>10,}{many:>10,}{'ratio':>8}{'ratio without the product':>28}")
    for form in FORMS:
        less, more = found[f"{form} {few}"], found[f"{form} {many}"]
        rest = (more - found[f"product {many}"]) / (less - found[f"product {few}"])
        print(f"{form:10}{1e3 * less:10.1f}{1e3 * more:10.1f}{more / less:7.2f}x{rest:27.2f}x")
    print(f"{'product':10}{1e3 * found[f'product {few}']:10.1f}{1e3 * found[f'product {many}']:10.1f}")


if __name__ == "__main__":
    main()
