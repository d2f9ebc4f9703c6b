"""Lays out a bench for reading: one table, and two benches beside one another. It computes nothing but ratios."""

from collections.abc import Iterable, Sequence

from maskmill.pipeline.bench.results import Bench, Feeding, FloorRow, Row

_UNITS = {"product": ("GFLOP/s", 1e9), "copy": ("GB/s", 1e9), "upload": ("GB/s", 1e9)}
"""Unit of each floor, and what its rate is divided by."""


def lines(bench: Bench) -> list[str]:
    """A bench as lines of text."""
    told = bench.settings
    gpu = bench.machine.get("gpu")
    head = [
        f"machine   {bench.machine.get('processor')}, {bench.machine.get('cores')} cores"
        + (f", {gpu}" if gpu else "")
        + (f"; load {bench.machine['load']}" if bench.machine.get("load") is not None else ""),
        f"versions  {', '.join(f'{name} {number}' for name, number in bench.versions.items())}",
        f"settings  {told.get('model')} ({told.get('weights')} weights), {told.get('device')}, {told.get('dtype')}, "
        f"{told.get('threads')} threads, short side {told.get('size')}, batch {told.get('batch_size')}, "
        f"{told.get('names')} names, {told.get('inference')}",
        *(f"note      {note}" for note in bench.notes),
        "",
    ]
    table: list[tuple[str, ...]] = [("part", "images/s", "ms/image", "spread", "GMAC", "of floor", "peak MB", "")]
    table += [_floor_cells(row) for row in bench.floor]
    table += [_cells(row) for row in bench.rows]
    body = _aligned(table) if len(table) > 1 else []
    return [*head, *body, *_feeding(bench.feeding), *_mixes(bench), *_replicas(bench)]


def compared(before: Bench, after: Bench, names: tuple[str, str]) -> list[str]:
    """Two benches beside one another: rates of the parts that both have, and their ratio.

    Args:
        before: the first.
        after: the second.
        names: what to call them.
    """
    differing = [
        f"{what} {key}: {old.get(key)} | {new.get(key)}"
        for what, old, new in (
            ("machine", before.machine, after.machine),
            ("version", before.versions, after.versions),
            ("setting", before.settings, after.settings),
        )
        for key in dict.fromkeys([*old, *new])
        if key != "load" and old.get(key) != new.get(key)
    ]
    table: list[tuple[str, ...]] = [("part", names[0], names[1], "ratio", "")]
    floors = {(row.name, row.device): row for row in before.floor}
    for floor in after.floor:
        old = floors.get((floor.name, floor.device))
        if old is not None:
            unit, scale = _UNITS.get(floor.name, ("/s", 1.0))
            table.append(
                (
                    f"{floor.name} ({floor.device})",
                    f"{old.rate / scale:,.1f}",
                    f"{floor.rate / scale:,.1f}",
                    f"{floor.rate / old.rate:.2f}x",
                    unit,
                )
            )
    for row in after.rows:
        was = before.row(row.part)
        if was is not None:
            ratio = row.rate / was.rate
            # Where the quartiles of the two overlap, the difference may be chance.
            apart = row.low / row.images > was.high / was.images or row.high / row.images < was.low / was.images
            table.append(
                (row.part, f"{was.rate:,.2f}", f"{row.rate:,.2f}", f"{ratio:.2f}x", "" if apart else "within spread")
            )
    if len(table) == 1:
        return [*differing, "nothing that both measured"]
    return [*differing, *([""] if differing else []), *_aligned(table)]


def _floor_cells(row: FloorRow) -> tuple[str, ...]:
    unit, scale = _UNITS.get(row.name, ("/s", 1.0))
    return (
        f"{row.name} ({row.device})",
        f"{row.rate / scale:,.1f}",
        f"{row.seconds * 1e3:,.2f}",
        f"{(row.high - row.low) / row.seconds:.0%}",
        "",
        "",
        "",
        f"{unit}; ms of one",
    )


def _cells(row: Row) -> tuple[str, ...]:
    moved = {"in": row.bytes_read, "out": row.bytes_written}
    size = ", ".join(
        f"{count / row.seconds / 1e6:,.1f} MB/s {way}" for way, count in moved.items() if count is not None
    )
    return (
        row.part,
        f"{row.rate:,.2f}" if row.rate < 100 else f"{row.rate:,.0f}",
        f"{row.seconds / row.images * 1e3:,.2f}",
        f"{(row.high - row.low) / row.seconds:.0%}",
        "" if row.gmac is None else f"{row.gmac:,.2f}",
        "" if row.utilisation is None else f"{row.utilisation:.0%}",
        "" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:,.0f}",
        "; ".join(part for part in (row.note, size) if part),
    )


def _feeding(feeding: Feeding | None) -> list[str]:
    if feeding is None:
        return []
    found = ["", f"feeding   {feeding.per_core:,.1f} images/s a core (by CPU time)"]
    if feeding.model_rate is not None and feeding.model_cores is not None:
        found.append(
            f"          {feeding.model_cores:,.1f} cores for {feeding.model_rate:,.1f} images/s, measured here"
        )
    found.append(f"          {feeding.gpu_cores:,.1f} cores for a GPU of {feeding.gpu_rate:,.0f} images/s (assumed)")
    return found


def _mixes(bench: Bench) -> list[str]:
    if not bench.mixes:
        return []
    return [
        "",
        "batches of a made-up mix of image sizes (pipeline/bench/mix.py), reckoned",
        *(
            f"          {mix.samples:,} samples, batch {mix.batch_size}: {mix.padding:.1%} of pixels are padding; in "
            f"batches that weren't full {mix.early:.1%} of images before the end, {mix.last:.1%} at the end; "
            f"{mix.sizes} sizes, {mix.batches:,} batches, {mix.empty:.0%} empty places, "
            f"{mix.waiting_bytes / 1e6:,.0f} MB waited"
            for mix in bench.mixes
        ),
    ]


def _replicas(bench: Bench) -> list[str]:
    if not bench.replicas:
        return []
    found = ["", "memory of a replica over one shard, in a process of its own"]
    for replica in bench.replicas:
        gpu = "" if replica.device_bytes is None else f", {replica.device_bytes / 1e6:,.0f} MB on the GPU"
        arrow = "" if replica.arrow_bytes is None else f", {replica.arrow_bytes / 1e6:,.0f} MB of it the row group"
        found.append(f"          {replica.samples:,} samples: {replica.peak_bytes / 1e6:,.0f} MB{arrow}{gpu}")
    least, most = (chosen(bench.replicas, key=lambda replica: replica.samples) for chosen in (min, max))
    if most.samples > least.samples:
        growth = most.peak_bytes - least.peak_bytes
        found.append(f"          {growth / 1e6:+,.0f} MB from {least.samples:,} to {most.samples:,} samples")
    return found


def _aligned(table: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest cell: the first and the last to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    return [_line(row, widths) for row in table]


def _line(row: Iterable[str], widths: Sequence[int]) -> str:
    first, *numbers, last = row
    cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=False))]
    return "  ".join([*cells, last]).rstrip()
