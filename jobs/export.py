"""The command `maskmill export`: a label table in a format that other tools read. See `pipeline.export`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from maskmill.jobs.places import check_folder, scratch_of
from maskmill.models.errors import UsageError
from maskmill.pipeline.steps import Steps
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.terminal import print_error, print_lines


def export(
    out: str,
    /,
    *,
    format: Literal["coco", "coco-panoptic", "png", "hf"],
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    keep: Annotated[SegmentFilter, Parameter(name="*")] = SegmentFilter(),
    images: bool = False,
    skip_empty: bool = False,
    shard_base: str | None = None,
    shards_at: list[str] | None = None,
    workers: int | None = None,
    scratch: Path | None = None,
) -> int:
    """Write a label table in a format that other tools read: COCO, class-id PNGs, Hugging Face datasets.

    coco: instances.json, masks as run lengths. coco-panoptic: panoptic.json and PNGs of segment ids. png: PNGs of class
    ids, 255 where nothing is labeled (16 bits and 65535 with more than 255 classes). hf: Parquet files and a card. In
    one-label-a-pixel formats the higher score is on top. Masks have the image's size. Failed samples are left out and
    counted.

    DEST must be empty; export.json is written last, so that an export without it is unfinished. The same command begins
    an export anew that was interrupted.

    Args:
        out: the --output of a `maskmill label`, or a sealed table.
        format: what to write.
        output: DEST, an empty place outside OUT: a folder or any fsspec URL.
        keep: which segments.
        images: the images too, read once from their shards: in images/, or in the rows of hf.
        shard_base: cut this folder or URL off the front of shards' names, so that no local path travels.
        shards_at: OLD=NEW: shards that were labeled below OLD, a folder or URL, lie below NEW now. With --images.
        skip_empty: leave out images that no segment is left of.
        workers: processes. Default: one a CPU, fewer for small tables.
        scratch: local folder for what is under way. Default: the system's.

    Returns:
        Exit code 0.
    """
    Steps()("exporting the label table", logged=False)
    from maskmill.pipeline.export.destination import RECORD, Destination
    from maskmill.pipeline.export.export import Export
    from maskmill.pipeline.export.export import export as write
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.shards.moved import ShardsAt
    from maskmill.pipeline.stores.urls import canonical, check, redact

    check_folder("--output", output)
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: expected 1 or more.")
    if shard_base is not None:
        check(shard_base)
    folder = scratch_of(scratch)
    asked = Export(
        output=Output.of(out),
        destination=Destination.of(output),
        format=format,
        keep=keep,
        images=images,
        skip_empty=skip_empty,
        shard_base=None if shard_base is None else canonical(shard_base).rstrip("/") + "/",
        moved=ShardsAt.parse(shards_at or ()),
    )
    found = write(asked, scratch=folder, workers=workers, told=print_error)
    left_out = {
        "failed samples": found.failed,
        "images without a segment": found.skipped,
        "segments by the filter": found.filtered,
        "segments hidden by others": found.hidden,
    }
    print_lines(f"images    {found.images:,}, {found.empty:,} without a segment")
    joined = f", {found.merged:,} more joined to others of their stuff class" if found.merged else ""
    print_lines(f"segments  {found.segments - found.hidden - found.merged:,}{joined}")
    print_lines(f"left out  {', '.join(f'{count:,} {what}' for what, count in left_out.items() if count) or 'nothing'}")
    print_lines(f"export    {redact(asked.destination.place(RECORD))}")
    return 0


if __name__ == "__main__":
    from maskmill.jobs.cli import main

    main(["export", *sys.argv[1:]])
