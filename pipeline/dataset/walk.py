"""One shard beside its labels: samples and rows in step, checked to belong together. In which order is the reader's."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline import run
from maskmill.pipeline.content import NOT_HAD, open_labeled, rows_of
from maskmill.pipeline.dataset.sample import LabeledImage, labeled_image
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.errors import SampleError, ShardError
from maskmill.pipeline.reading.images import decode_sample
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.samples import Sample
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.table.filters import BoundFilter, SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.schema import STATUS_OK
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

COLUMNS = [
    "key", "shard", "sample_index", "status", "width", "height", "mask_width", "mask_height", "caption", "segments",
    "masks", "logit_width", "logit_height", "mask_logits",
]  # fmt: skip
"""What of the label table is read."""

_Body = TypeVar("_Body")


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """A labeled sample before it is decoded."""

    sample: Sample
    """Its bytes."""

    row: Mapping[str, Any]
    """Its row of the label table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """How the shards of a run are read beside its labels."""

    limits: ReadLimits
    """Those that the run was labeled with, so that samples are the same."""

    keep: BoundFilter
    """Which segments count."""

    scratch: Path
    """Local folder for shards that lie in a store."""

    @classmethod
    def of(cls, output: Output, keep: SegmentFilter, scratch: Path) -> "Walk":
        """For a run.

        Raises:
            UsageError: no run there, or a filter that doesn't fit it.
        """
        recorded = run.require(output)
        identity = recorded["identity"]
        return cls(
            limits=run.limits(recorded),
            keep=keep.bound(vocabulary_of_run(output), identity["inference"], agreement=run.has_agreement(identity)),
            scratch=scratch,
        )

    def samples(
        self, table: LabelTable, shard: Shard, *, columns: Sequence[str] = COLUMNS
    ) -> Generator[Raw, None, None]:
        """The labeled samples of a shard in order, one pass over its tar.

        Args:
            table: the run's label files.
            shard: a done one, with size and etag as they were when it was labeled.
            columns: of the label table; key, sample_index and status among them.

        Raises:
            UsageError: the shard isn't the one that was labeled, or its label file is damaged.
            EnvironmentFailure: it can't be fetched.
        """
        with (
            told(shard),
            scratch_folder(self.scratch) as folder,
            open_labeled(shard, table, folder, self.limits) as opened,
        ):
            samples = ((sample.index, sample.key, sample) for sample in opened.samples)
            for sample, row in in_step(samples, rows_of(table, shard, columns)):
                if row["status"] == STATUS_OK:
                    yield Raw(sample, row)

    def decoded(self, raw: Raw) -> LabeledImage:
        """A sample as tensors.

        Raises:
            UsageError: it was labeled and can't be decoded now.
        """
        try:
            return labeled_image(decode_sample(raw.sample, self.limits), raw.row, self.keep)
        except SampleError as error:
            raise UsageError(
                f"{raw.row['shard']}: sample {raw.sample.index} was labeled and can't be decoded now: {error}. "
                "Label the shard again."
            ) from error


def in_step(
    samples: Iterable[tuple[int, str, _Body]], rows: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[_Body, Mapping[str, Any]]]:
    """Each sample of a shard with its row.

    Args:
        samples: position, key and body of each, in order.
        rows: all rows of the shard, in order.

    Raises:
        ShardError: changed, where position or key differ, or one of the two ends before the other.
    """
    for sample, row in zip_longest(samples, rows):
        mine = None if sample is None else sample[:2]
        labeled = None if row is None else (row["sample_index"], row["key"])
        if mine != labeled:
            raise ShardError("changed", f"the shard has {_shown(mine)}, the table {_shown(labeled)}")
        yield sample[2], row


@contextmanager
def told(shard: Shard) -> Iterator[None]:
    """Tells what is wrong with a shard in a user's words.

    Raises:
        UsageError: it isn't the one that was labeled.
        EnvironmentFailure: it can't be fetched.
    """
    try:
        yield
    except ShardError as error:
        moved = "If the shards were moved, name where to: --shards-at OLD=NEW."
        fix = moved if error.reason == "missing" else "If it has changed since, label it again."
        kind = EnvironmentFailure if error.reason in NOT_HAD else UsageError
        raise kind(f"{shard.url}: can't be read beside its labels: {error}. {fix}") from error


def _shown(place: tuple[int, str] | None) -> str:
    return "no more samples" if place is None else f"sample {place[0]} ({place[1][:80]!r})"
