"""What stands around the model in a replica, stage by stage: reading, decoding, resizing, writing, publishing."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from models.resize import ResizeRule, mask_size
from models.segment import Segment
from pipeline.bench.constant import segments
from pipeline.bench.results import Row
from pipeline.bench.timing import Stopwatch, Timing
from pipeline.config import InferenceConfig
from pipeline.ledger.counts import Counts
from pipeline.output import Output
from pipeline.reading.images import decode_sample
from pipeline.reading.limits import ReadLimits
from pipeline.reading.open import open_shard
from pipeline.reading.samples import Sample
from pipeline.shards.shard import Shard
from pipeline.stores.publish import publish
from pipeline.table.footer import Footer
from pipeline.table.rows import LabelRow
from pipeline.table.writer import LabelWriter
from pipeline.versions import versions

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


def stages(shard: Shard, folder: Path, rule: ResizeRule, watch: Stopwatch) -> list[Row]:
    """The rows of all stages over one shard.

    Args:
        shard: what is read; its images are whole.
        folder: local, for scratch and for what is published.
        rule: how images are resized.
        watch: how often to time; everything here is the CPU's.

    Raises:
        pipeline.reading.errors.ShardError: the shard can't be read.
        pipeline.reading.errors.SampleError: an image can't be decoded.
    """
    on_cpu = Stopwatch(device=torch.device("cpu"), threads=watch.threads, repeats=watch.repeats)
    with open_shard(shard, folder, LIMITS) as opened:
        samples, size = list(opened.samples), opened.bytes
    few = samples[:IMAGES]
    images = [decode_sample(sample, LIMITS) for sample in few]
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
        row_of("decode", on_cpu.time(lambda: _decode(few)), len(few), note=f"{alone}, {_sizes(images)}"),
        row_of("resize", on_cpu.time(lambda: _resize(images, rule)), len(few), note=alone),
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


def _decode(samples: list[Sample]) -> None:
    for sample in samples:
        decode_sample(sample, LIMITS)


def _resize(images: list[Image.Image], rule: ResizeRule) -> None:
    for image in images:
        rule.apply(image)


def _sizes(images: list[Image.Image]) -> str:
    sizes = {image.size for image in images}
    return " x ".join(map(str, sizes.pop())) if len(sizes) == 1 else "mixed sizes"


def _rows(samples: list[Sample], images: list[Image.Image]) -> list[LabelRow]:
    """A labeled row for each sample; the segments are the constant model's."""
    side = InferenceConfig().mask_side
    found: list[tuple[tuple[int, int], tuple[Segment, ...]]] = []
    for image in images:
        size = mask_size((image.height, image.width), side)
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
