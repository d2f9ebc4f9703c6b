"""What stands around the model in a replica, stage by stage: reading, decoding, resizing, writing, publishing."""

from pathlib import Path
from typing import Any

import torch

from maskmill.models.resampling import resized
from maskmill.models.resize import ResizeRule, Size, mask_size
from maskmill.models.segment import Segment
from maskmill.pipeline.bench.constant import segments
from maskmill.pipeline.bench.results import Row
from maskmill.pipeline.bench.timing import Stopwatch, Timing
from maskmill.pipeline.config import InferenceConfig, LabelConfig
from maskmill.pipeline.labeling.preparing import prepare
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.images import Decoded, decode_as, image_bytes
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.open import open_shard
from maskmill.pipeline.reading.samples import Sample
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.publish import publish
from maskmill.pipeline.table.footer import Footer
from maskmill.pipeline.table.rows import LabelRow
from maskmill.pipeline.table.writer import LabelWriter
from maskmill.pipeline.versions import versions

IMAGES = 32
"""Images that one run of decoding and resizing takes, one after the other on one thread."""

LIMITS = ReadLimits()


def row_of(part: str, timing: Timing, images: int, **more: Any) -> Row:
    """A part's row, from the timing of so many images and what else `Row` holds."""
    return Row(
        part=part,
        images=images,
        seconds=timing.median,
        low=timing.low,
        high=timing.high,
        runs=timing.runs,
        peak_bytes=timing.peak_bytes,
        **more,
    )


def stages(
    shard: Shard, folder: Path, rule: ResizeRule, watch: Stopwatch, *, decoding: DecodingConfig, device: torch.device
) -> list[Row]:
    """The rows of all stages over one shard.

    Args:
        shard: what is read; its images are whole.
        folder: local, for scratch and for what is published.
        rule: how images are resized.
        watch: how often to time; everything here is the CPU's.
        decoding: who decodes and resizes.
        device: the model's, where nvjpeg decodes.

    Raises:
        pipeline.reading.errors.ShardError: the shard can't be read.
        pipeline.reading.errors.SampleError: an image can't be decoded.
    """
    on_cpu = Stopwatch(device=torch.device("cpu"), threads=watch.threads, repeats=watch.repeats)
    with open_shard(shard, folder, LIMITS) as opened:
        samples, size = list(opened.samples), opened.bytes
    few = samples[:IMAGES]
    images = _decode(few, rule, decoding)
    rows = _rows(samples, images)
    local = folder / "stage.parquet"

    def write() -> None:
        _write(rows, local, shard)

    write()
    written = local.stat().st_size
    target = Output.of(str(folder / "published")).label("stage")
    alone = "one thread"
    return [
        row_of("read", on_cpu.time(lambda: _read(shard, folder)), len(samples), bytes_read=size),
        *_pixels(few, rule, on_cpu, decoding, device),
        row_of("write", on_cpu.time(write), len(rows), bytes_written=written, note=f"{alone}, Parquet"),
        row_of(
            "publish",
            on_cpu.time(lambda: publish(local, target)),
            len(rows),
            bytes_written=written,
            note="a local folder",
        ),
    ]


def _read(shard: Shard, folder: Path) -> None:
    with open_shard(shard, folder, LIMITS) as opened:
        for _ in opened.samples:
            pass


def _pixels(
    samples: list[Sample], rule: ResizeRule, watch: Stopwatch, decoding: DecodingConfig, device: torch.device
) -> list[Row]:
    """Rows of decoding and resizing, apart where they are done apart."""
    config, count = LabelConfig(decoding=decoding, limits=LIMITS), len(samples)
    images = _decode(samples, rule, decoding)
    note = f"one thread, {_sizes([found.size for found in images])}, {decoding.decoder}"
    if decoding.decoder == "nvjpeg":
        both = watch.time(lambda: [prepare(sample, rule, config, device) for sample in samples])
        return [row_of("decode + resize", both, count, note=note)]
    decoded = watch.time(lambda: _decode(samples, rule, decoding))
    small = [(found.image, rule.size(found.size)) for found in images]
    smaller = watch.time(lambda: [resized(image, size, decoding.resize) for image, size in small])
    note += ", scaled" if decoding.scaled_decoding else ""
    return [
        row_of("decode", decoded, count, note=note),
        row_of("resize", smaller, count, note=f"one thread, {decoding.resize}"),
    ]


def _decode(samples: list[Sample], rule: ResizeRule, decoding: DecodingConfig) -> list[Decoded]:
    return [decode_as(image_bytes(sample), LIMITS, decoding, rule.size) for sample in samples]


def _sizes(found: list[Size]) -> str:
    sizes = set(found)
    return " x ".join(map(str, reversed(sizes.pop()))) if len(sizes) == 1 else "mixed sizes"


def _rows(samples: list[Sample], images: list[Decoded]) -> list[LabelRow]:
    """A labeled row for each sample; the segments are the constant model's."""
    side = InferenceConfig().mask_side
    found: list[tuple[tuple[int, int], tuple[Segment, ...]]] = []
    for image in images:
        size = mask_size(image.size, side)
        found.append((size, tuple(segments(size))))
    rows = []
    for sample in samples:
        size, made = found[sample.index % len(found)]
        rows.append(
            LabelRow(
                key=sample.key,
                sample_index=sample.index,
                sha256=bytes(32),
                size=size,
                mask_size=size,
                caption=sample.caption,
                segments=made,
            )
        )
    return rows


def _write(rows: list[LabelRow], local: Path, shard: Shard) -> None:
    counts = Counts(read=len(rows), labeled=len(rows))
    footer = Footer(
        fingerprint="bench",
        shard=shard.url,
        size=shard.size,
        etag=shard.etag,
        counts=counts,
        versions=versions(),
        device="cpu",
        batch_size=1,
    )
    with LabelWriter(local, shard.url) as writer:
        for row in rows:
            writer.add(row)
        writer.finish(footer)
