"""Two shards of a replica overlap: told by the order of events, each waiting for one of the other shard's, not by time.

Were the order another, an event would never come: the waits have an end so that such a mistake is told.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from maskmill.models.inference.forms import Inference
from maskmill.models.resize import ImageBatch
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Segmenter
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.labeling.labeling import label_shard
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.shard import describe_many
from tests.plain_run import labeler

END_SECONDS = 60.0
"""When a wait is given up: a mistake."""

SAMPLES, BATCHES = 10, 3
"""Of each shard, at four images a batch."""


class Watched(Segmenter):
    """A segmenter that tells of each batch before it is computed."""

    def __init__(self, inner: Segmenter, before: Callable[[], None]) -> None:
        self.name, self.weights, self.rule, self.device, self.forms = (
            inner.name, inner.weights, inner.rule, inner.device, inner.forms,
        )  # fmt: skip
        self._inner = inner
        self._before = before

    def encode_text(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        return self._inner.encode_text(vocabulary, templates)

    def segment(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> list[list[Segment] | None]:
        self._before()
        return self._inner.segment(batch, classes, inference, top_k=top_k, soft_masks=soft_masks)


def test_a_shard_is_labeled_and_published_while_the_one_before_is_published(tiny, scenes, tmp_path: Path) -> None:
    output = Output.of(str(tmp_path / "out"))
    first, second = describe_many([str(path) for path in scenes])
    publishing, second_done = threading.Event(), threading.Event()
    told: list[str] = []
    steps = 0

    def alive() -> None:
        """In the first shard's thread: a sign of life for each sample and batch, then one as its publishing begins."""
        nonlocal steps
        if threading.current_thread().name != "first":
            return
        steps += 1
        if steps == SAMPLES + BATCHES + 1:
            told.append("first is published")
            publishing.set()
            assert second_done.wait(END_SECONDS), "the second shard waits for the first's publishing"

    def label_first() -> None:
        rows.append(label_shard(first, replace(replica, alive=alive)))
        told.append("first is done")

    rows = []
    with labeler(tiny, output) as replica:
        thread = threading.Thread(target=label_first, name="first")
        thread.start()
        assert publishing.wait(END_SECONDS), "the first shard is never published"
        rows.append(label_shard(second, replica))
        told.append("second is done")
        assert output.done() == {second.label_name}
        second_done.set()
        thread.join()
    assert told == ["first is published", "second is done", "first is done"]
    assert [row.state for row in rows] == ["done", "done"]
    assert output.done() == {first.label_name, second.label_name}


def test_a_shard_is_read_and_decoded_while_the_model_computes_for_the_one_before(tiny, scenes, tmp_path: Path) -> None:
    output = Output.of(str(tmp_path / "out"))
    shards = describe_many([str(path) for path in scenes])
    decoded = threading.Event()
    computing = threading.Event()

    def before() -> None:
        computing.set()
        assert decoded.wait(END_SECONDS), "the second shard is not decoded before the model is free"

    def alive() -> None:
        decoded.set()

    with labeler(Watched(tiny, before), output) as replica, ThreadPoolExecutor(1) as calls:
        row = calls.submit(label_shard, shards[0], replica)
        assert computing.wait(END_SECONDS), "the first shard never comes to the model"
        assert not row.done()
        other = label_shard(shards[1], replace(replica, alive=alive))
        assert (row.result().state, other.state) == ("done", "done")
