"""Reads the samples of one shard from a label table, with their images where wanted, and checks that they fit."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from maskmill.models.errors import UsageError
from maskmill.pipeline.content import ROWS, is_labeled_image
from maskmill.pipeline.dataset.walk import Walk
from maskmill.pipeline.export.plan import ShardPlan
from maskmill.pipeline.export.sample import ExportedSample, ExportedSegment, ImageFile, image_file, sample_name
from maskmill.pipeline.export.tally import Tally
from maskmill.pipeline.table.footer import FooterError
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.schema import STATUS_OK

_FIELDS = ("query", "vocab_id", "score", "margin", "mask_score", "stability", "kept", "agreement", "area")
_COLUMNS = [
    "key", "shard", "sample_index", "status", "sha256", "width", "height", "mask_width", "mask_height", "caption",
    *(f"segments.list.element.{name}" for name in _FIELDS), "masks",
]  # fmt: skip
"""What of the label table is read: no logits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where samples come from."""

    table: LabelTable
    """The label files."""

    walk: Walk
    """The filter, and how shards are read."""

    classes: int
    """Size of the vocabulary."""

    images: bool
    """Whether images are read too."""

    skip_empty: bool
    """Whether samples are left out that no segment is left of."""

    shard_base: str | None = None
    """See `Export.shard_base`."""

    def samples(self, plan: ShardPlan, tally: Tally) -> Iterator[ExportedSample]:
        """The labeled samples of a shard in order.

        Args:
            plan: the shard.
            tally: counts are added to it as samples are taken.

        Raises:
            UsageError: the label file is damaged or isn't the one that the ledger tells of; the shard has changed.
            EnvironmentFailure: the shard can't be fetched.
        """
        taken = labeled = segments = 0
        for row, image in self._with_images(plan) if self.images else self._rows(plan):
            if not taken <= row["sample_index"] < plan.read:
                raise _wrong(plan, f"sample {row['sample_index']} after {taken} of {plan.read}")
            taken = row["sample_index"] + 1
            labeled += 1
            sample = self._sample(plan, row, image, first_segment=plan.first_segment + segments)
            segments += len(row["segments"])
            tally.filtered += len(row["segments"]) - len(sample.segments)
            if not sample.segments and self.skip_empty:
                tally.skipped += 1
                continue
            tally.images += 1
            tally.empty += not sample.segments
            tally.segments += len(sample.segments)
            yield sample
        if segments != plan.segments:
            raise _wrong(plan, f"{segments} segments, the ledger has {plan.segments}")
        tally.failed += plan.read - labeled

    def _rows(self, plan: ShardPlan) -> Generator[tuple[Mapping[str, Any], None], None, None]:
        try:
            place = self.table.rows_of(plan.shard.url)
            if place is None:
                raise FooterError("its label file is gone")
            for batch in self.table.batches(place, _COLUMNS, ROWS):
                yield from ((row, None) for row in batch.to_pylist() if row["status"] == STATUS_OK)
        except (FooterError, OSError, ValueError) as error:
            raise _wrong(plan, " ".join(str(error).split())[:200]) from error

    def _with_images(self, plan: ShardPlan) -> Generator[tuple[Mapping[str, Any], ImageFile], None, None]:
        for raw in self.walk.samples(self.table, plan.shard, columns=_COLUMNS):
            data = raw.sample.image
            if data is None or not is_labeled_image(raw.sample.key, data, raw.row):
                raise UsageError(
                    f"{plan.shard.url}: sample {raw.sample.index} isn't the image that was labeled; the shard has "
                    "changed. Label it again, or export without --images."
                )
            yield raw.row, image_file(data)

    def _sample(
        self, plan: ShardPlan, row: Mapping[str, Any], image: ImageFile | None, *, first_segment: int
    ) -> ExportedSample:
        found, masks = row["segments"], row["masks"]
        if len(found) != len(masks) or not all(0 <= segment["vocab_id"] < self.classes for segment in found):
            raise _wrong(plan, f"sample {row['sample_index']} has segments without masks, or of no class")
        return ExportedSample(
            image_id=plan.first_image + row["sample_index"],
            name=sample_name(plan.shard.label_name, row["sample_index"], row["key"]),
            key=row["key"],
            shard=shown_name(row["shard"], self.shard_base),
            sample_index=row["sample_index"],
            sha256=row["sha256"].hex(),
            caption=row["caption"],
            size=(row["height"], row["width"]),
            mask_size=(row["mask_height"], row["mask_width"]),
            segments=tuple(
                ExportedSegment(
                    number=first_segment + place,
                    mask=mask,
                    **{name: segment[name] for name in _FIELDS if name != "area"},
                )
                for place, (segment, mask) in enumerate(zip(found, masks, strict=True))
                if self.walk.keep.keeps(segment)
            ),
            image=image,
        )


def shown_name(url: str, base: str | None) -> str:
    """A shard's canonical URL without the folder that it lies below, if one is given and it does."""
    return url if base is None else url.removeprefix(base)


def _wrong(plan: ShardPlan, what: str) -> UsageError:
    return UsageError(
        f"{plan.shard.url}: its labels are damaged, or were replaced meanwhile: {what}. "
        "`maskmill verify OUT` says more."
    )
