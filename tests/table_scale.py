"""What questions about 10,000 label files and 10 million samples cost, beside plain DuckDB: seconds and peak memory.

    python -m tests.table_scale --files 10000 --samples 10000000 --folder /tmp/table

The table is made first (labels at random but valid, masks from a pool, under 5 GB) and removed at the end; with --keep
it stays, and is taken as it is the next time. Each step is a process of its own, so that its peak memory is its own,
and both programs must give the same answer.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

    from maskmill.pipeline.ledger.counts import Counts

LABEL_SET = "coco-stuff-171"
RARE = 71
"""Classes that only one file in so many has: all but the first hundred of a shuffled vocabulary, one of them a file."""

ASKED = "zebra"
"""The class that the last question is about; it is made one of the rare ones."""

SIZES = ((480, 640), (640, 480), (640, 640))
"""Height and width of the masks."""

POOL = 160
"""Masks of each size."""

SEGMENTS = 3.0
"""Segments of an image, on the average."""

FAILED = 0.002
"""Share of samples that failed."""


# --- making the table ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Mask:
    """A mask of the pool."""

    rle: bytes
    area: int
    bbox: tuple[int, int, int, int]


def pool(count: int = POOL, seed: int = 0) -> list[list[Mask]]:
    """So many ellipses of all sizes and places, of each of `SIZES`."""
    import torch

    from maskmill.models.masks import rle

    random = np.random.default_rng(seed)
    found = []
    for height, width in SIZES:
        y, x = np.mgrid[:height, :width]
        masks = []
        for _ in range(count):
            a, b = random.uniform(8, width / 2), random.uniform(8, height / 2)
            cx, cy = random.uniform(a / 2, width - a / 2), random.uniform(b / 2, height - b / 2)
            mask = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = (columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1)
            (encoded,) = rle.encode(torch.from_numpy(mask)[None])
            masks.append(Mask(rle=encoded, area=int(mask.sum()), bbox=tuple(int(n) for n in box)))  # type: ignore[arg-type]
        found.append(masks)
    return found


def classes_of(file: int, seed: int = 0) -> NDArray[np.int32]:
    """Classes that a file may have: all the common ones, and last the one rare one."""
    from maskmill.models.vocabulary import Vocabulary

    vocabulary = Vocabulary.load(LABEL_SET)
    asked = next(entry.vocab_id for entry in vocabulary if entry.name == ASKED)
    order = np.random.default_rng(seed).permutation([n for n in range(len(vocabulary)) if n != asked])
    rare = [asked, *order[len(order) - RARE + 1 :]]
    return np.array([*order[: len(order) - RARE + 1], rare[file % RARE]], np.int32)


def rows(file: int, samples: int, shard: str, masks: list[list[Mask]]) -> "tuple[pa.Table, Counts]":
    """The rows of one label file, and what its ledger counts."""
    import pyarrow as pa

    from maskmill.pipeline.ledger.counts import ClassCount, Counts
    from maskmill.pipeline.table.schema import LABELS, SEGMENT

    random = np.random.default_rng([1, file])
    failed = random.random(samples) < FAILED
    lengths = np.where(failed, 0, random.poisson(SEGMENTS, samples))
    count = int(lengths.sum())
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    sample = np.repeat(np.arange(samples), lengths)

    size = random.integers(len(SIZES), size=samples)
    number = size[sample] * len(masks[0]) + random.integers(len(masks[0]), size=count)
    flat = [mask for each in masks for mask in each]
    kept_classes = classes_of(file)
    weights = 1 / np.arange(5, 5 + len(kept_classes))
    ids = random.choice(kept_classes, count, p=weights / weights.sum()).astype(np.int32)

    def unit(low: float, a: float, b: float) -> NDArray[np.float32]:
        # On a grid, as numbers of half precision would be: whole floats of noise don't compress at all.
        return (low + (1 - low) * np.round(random.beta(a, b, count) * 4096) / 4096).astype(np.float32)

    score = unit(0.5, 2, 1)
    top = np.round(random.gamma(8, 1, (count, 1)) * 256) / 256
    top_logits = (top - np.cumsum(random.integers(0, 512, (count, 5)) / 256, 1)).astype(np.float32)
    others = np.cumsum(random.integers(1, 30, (count, 4)), 1)
    top_ids = np.concatenate([ids[:, None], (ids[:, None] + others) % 171], 1).astype(np.int32)

    def lists(values: Any, width: int, kind: "pa.DataType") -> "pa.Array":
        flattened = pa.array(np.ascontiguousarray(values).reshape(-1), kind)
        return pa.ListArray.from_arrays(pa.array(np.arange(count + 1) * width, pa.int32()), flattened)

    columns = {
        "query": pa.array(random.integers(100, size=count), pa.int16()),
        "vocab_id": pa.array(ids),
        "score": pa.array(score),
        "margin": pa.array((score * unit(0.1, 2, 2)).astype(np.float32)),
        "top_ids": lists(top_ids, 5, pa.int32()),
        "top_logits": lists(top_logits, 5, pa.float32()),
        "background_logit": pa.array((top_logits[:, 4] - 1).astype(np.float32)),
        "mask_score": pa.array(unit(0.5, 4, 1)),
        "stability": pa.array(unit(0.2, 4, 1)),
        "kept": pa.array(np.ones(count, np.float32)),
        "area": pa.array(np.array([mask.area for mask in flat], np.int32)[number]),
        "bbox": lists(np.array([mask.bbox for mask in flat], np.int32)[number], 4, pa.int32()),
        "agreement": pa.nulls(count, pa.float32()),
    }
    segments = pa.StructArray.from_arrays([columns[field.name] for field in SEGMENT], fields=list(SEGMENT))
    rles = pa.array([mask.rle for mask in flat], pa.binary()).take(pa.array(number))
    nothing = pa.array(failed)

    def per_sample(values: "pa.Array") -> "pa.Array":
        return pa.ListArray.from_arrays(pa.array(offsets), values, type=pa.list_(values.type), mask=nothing)

    def unless_failed(values: Any, kind: "pa.DataType") -> "pa.Array":
        return pa.array(values, kind, mask=failed)

    height, width = np.array(SIZES, np.int32)[size].T
    table = {
        "key": pa.array([f"{file:06d}{n:06d}" for n in range(samples)]),
        "shard": pa.array([shard] * samples),
        "sample_index": pa.array(np.arange(samples), pa.int32()),
        "status": pa.array(np.where(failed, "failed", "ok")),
        "error": pa.array(np.full(samples, "decode: cannot identify image file"), pa.string(), mask=~failed),
        "warnings": pa.array([[]] * samples, pa.list_(pa.string())),
        "sha256": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(32), samples, [None, pa.py_buffer(random.bytes(32 * samples))]
        ).cast(pa.binary()),
        "width": unless_failed(width, pa.int32()),
        "height": unless_failed(height, pa.int32()),
        "mask_width": unless_failed(width, pa.int32()),
        "mask_height": unless_failed(height, pa.int32()),
        "segments": per_sample(segments),
        "masks": per_sample(rles),
    }
    made = pa.table(
        [table.get(field.name, pa.nulls(samples, field.type)) for field in LABELS],
        schema=LABELS,
    )
    held, times = np.unique(ids, return_counts=True)
    pairs = np.unique(np.stack([ids, sample.astype(np.int32)]), axis=1)[0]
    images = dict(zip(*np.unique(pairs, return_counts=True), strict=True))
    counts = Counts(
        read=samples,
        labeled=int((~failed).sum()),
        failed={"decode": int(failed.sum())} if failed.any() else {},
        segments=count,
        classes=tuple(
            ClassCount(vocab_id=int(n), segments=int(k), images=int(images[n]))
            for n, k in zip(held, times, strict=True)
        ),
    )
    return made, counts


def write_file(path: str, file: int, samples: int, shard: str, *, fingerprint: str, masks: list[list[Mask]]) -> Any:
    """Write one label file; what `LedgerRow.from_footer` says of it."""
    from maskmill.pipeline.ledger.ledger import LedgerRow
    from maskmill.pipeline.table.footer import Footer
    from maskmill.pipeline.table.writer import LabelFileWriter

    table, counts = rows(file, samples, shard, masks)
    footer = Footer(
        fingerprint=fingerprint,
        shard=shard,
        size=10240,
        etag="made",
        counts=counts,
        versions={},
        device="none",
        batch_size=1,
    )
    with LabelFileWriter(Path(path)) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata(footer.encode())
    return LedgerRow.from_footer(footer, Path(path).stat().st_size, Path(path).name)


def make(folder: Path, files: int, samples: int, processes: int = 0, masks: int = POOL) -> None:
    """The whole table: run.json, vocabulary, manifest, label files, ledger; with 0 processes, all in this one."""
    from maskmill.models.resize import ResizeRule
    from maskmill.models.vocabulary import Vocabulary
    from maskmill.pipeline import parquet, run
    from maskmill.pipeline.config import InferenceConfig, LabelConfig, ModelConfig, VocabularyConfig
    from maskmill.pipeline.ledger import ledger
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.shards import manifest
    from maskmill.pipeline.shards.shard import Shard
    from maskmill.pipeline.table.vocabulary_table import to_table

    output = Output.of(str(folder))
    vocabulary = Vocabulary.load(LABEL_SET)
    config = LabelConfig(
        model=ModelConfig(model="san-vit-b16"),
        vocabulary=VocabularyConfig(vocab=LABEL_SET),
        inference=InferenceConfig(inference="queries"),
    )
    made_up = dict.fromkeys(("weights", "templates", "text_features"), "0" * 64)
    identity = run.identity(config, rule=ResizeRule(), vocabulary=vocabulary.hash, **made_up)
    run.record(output, identity, config)
    parquet.write(to_table(vocabulary), output.vocabulary)
    shards = []
    for number in range(files):
        url = f"s3://made-up/shards/{number:06d}.tar"
        shards.append(Shard(url=url, source=url, size=10240, etag="made"))
    manifest.add(output, shards)
    Path(output.labels).mkdir()
    bounds = np.linspace(0, samples, files + 1).astype(int)
    paths = [f"{output.labels}/{shard.label_name}.parquet" for shard in shards]
    urls = [shard.url for shard in shards]
    write = partial(write_file, fingerprint=identity.fingerprint, masks=pool(masks))
    told = (paths, range(files), np.diff(bounds).tolist(), urls)
    if processes:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _nice) as workers:
            found = list(workers.map(write, *told, chunksize=8))
    else:
        found = list(map(write, *told))
    ledger.write(found, output.ledger)


def _nice() -> None:
    os.nice(10)
    import pyarrow as pa

    pa.set_cpu_count(1)


# --- asking it -------------------------------------------------------------------------------------------------------


def stats(folder: str) -> Any:
    """`maskmill stats`."""
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.stats import stats as add_up
    from maskmill.pipeline.stats import to_json

    found = to_json(add_up(Output.of(folder)))
    return [
        found["samples"]["read"],
        found["samples"]["labeled"],
        found["segments"],
        *(entry["segments"] for entry in found["scores"]),
        *(entry["images"] for entry in found["segments_an_image"]),
    ]


def asked(sql: str, folder: str, **keep: Any) -> Any:
    """`maskmill query`."""
    from maskmill.pipeline.query import ask
    from maskmill.pipeline.table.filters import SegmentFilter

    with ask(folder, sql, SegmentFilter(**keep)) as answer:
        return [list(row) for row in answer.rows]


CLASSES = "SELECT name, images, segments FROM classes WHERE images > 0 ORDER BY images DESC, name"
ZEBRAS = "SELECT count(DISTINCT (shard, sample_index)) FROM segments"


def class_count(folder: str) -> Any:
    """Images and segments of every class."""
    return asked(CLASSES, folder)


def filtered(folder: str) -> Any:
    """Images with a zebra above 0.8, by the filter's options."""
    return asked(ZEBRAS, folder, classes=(ASKED,), min_score=0.8)


def filtered_in_sql(folder: str) -> Any:
    """The same in SQL: the statement's own condition tells which files it can leave shut."""
    return asked(f"{ZEBRAS} WHERE class = '{ASKED}' AND score >= 0.8::FLOAT", folder)


def filtered_without_class(folder: str) -> Any:
    """Images with anything above 0.99, for which all files are opened."""
    return asked(f"{ZEBRAS} WHERE score >= 0.99::FLOAT", folder)


def plain(sql: str, folder: str) -> Any:
    """The same question without maskmill."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET enable_progress_bar = false")
    connection.execute(f"CREATE VIEW labels AS FROM '{folder}/labels/*.parquet'")
    connection.execute(f"CREATE VIEW vocabulary AS FROM '{folder}/vocabulary.parquet'")
    return [list(row) for row in connection.sql(sql).fetchall()]


FLAT = "(SELECT shard, sample_index, unnest(segments) AS s FROM labels)"


def plain_stats(folder: str) -> Any:
    """Samples, segments, histograms of scores and lengths."""
    counts = plain("SELECT count(*), count(*) FILTER (status = 'ok'), sum(len(segments))::BIGINT FROM labels", folder)
    bins = plain(
        f"SELECT least(floor(s.score * 20), 19)::INT AS bin, count(*) FROM {FLAT} GROUP BY 1 ORDER BY 1", folder
    )
    lengths = plain("SELECT len(segments), count(*) FROM labels WHERE status = 'ok' GROUP BY 1 ORDER BY 1", folder)
    scores = dict(bins)  # type: ignore[arg-type]
    return [*counts[0], *(scores.get(n, 0) for n in range(20)), *(count for _, count in lengths)]


def plain_class_count(folder: str) -> Any:
    """Images and segments of every class."""
    return plain(
        "SELECT name, count(DISTINCT (shard, sample_index)) AS images, count(*) AS segments "
        f"FROM {FLAT} JOIN vocabulary v ON v.vocab_id = s.vocab_id GROUP BY name ORDER BY images DESC, name",
        folder,
    )


def plain_filtered(folder: str) -> Any:
    """Images with a zebra above 0.8."""
    return plain(
        f"SELECT count(DISTINCT (shard, sample_index)) FROM {FLAT} JOIN vocabulary v ON v.vocab_id = s.vocab_id "
        f"WHERE name = '{ASKED}' AND s.score >= 0.8::FLOAT",
        folder,
    )


def plain_filtered_without_class(folder: str) -> Any:
    """Images with anything above 0.99."""
    return plain(f"SELECT count(DISTINCT (shard, sample_index)) FROM {FLAT} WHERE s.score >= 0.99::FLOAT", folder)


STEPS: tuple[tuple[str, Callable[[str], Any], Callable[[str], Any]], ...] = (
    ("stats", stats, plain_stats),
    ("class count", class_count, plain_class_count),
    ("zebra above 0.8, --classes --min-score", filtered, plain_filtered),
    ("zebra above 0.8, in SQL", filtered_in_sql, plain_filtered),
    ("anything above 0.99, in SQL", filtered_without_class, plain_filtered_without_class),
)
"""Question, how we answer it, how plain DuckDB does."""

MODULES = (
    "duckdb",
    "pyarrow.parquet",
    "pyarrow.compute",
    "fsspec",
    "numpy",
    "maskmill.pipeline.query",
    "maskmill.pipeline.stats",
)
"""Imported before a step is measured; their memory counts, the time of importing them doesn't."""


def measured(step: Callable[[str], Any], folder: str) -> tuple[float, int, Any]:
    """Seconds, peak bytes of a process that does nothing else, and its answer."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, step, folder).result()


def _measure(step: Callable[[str], Any], folder: str) -> tuple[float, int, Any]:
    from importlib import import_module

    for module in MODULES:
        import_module(module)
    started = time.perf_counter()
    answer = step(folder)
    return time.perf_counter() - started, _peak(), answer


def _peak() -> int:
    """Most bytes that this process ever held; getrusage would count what its parent held when it was started."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def figures(folder: Path) -> Iterator[dict[str, Any]]:
    """Of each question what both programs took."""
    # Once, so that neither program finds the files colder than the other.
    measured(plain_stats, str(folder))
    theirs_by_step: dict[Any, tuple[float, int, Any]] = {}
    for name, ours, theirs in STEPS:
        seconds, memory, answer = measured(ours, str(folder))
        if theirs not in theirs_by_step:
            theirs_by_step[theirs] = measured(theirs, str(folder))
        plain_seconds, plain_memory, plain_answer = theirs_by_step[theirs]
        assert answer == plain_answer, f"{name}: {str(answer)[:200]} is not {str(plain_answer)[:200]}"
        yield {
            "question": name,
            "seconds": round(seconds, 2),
            "peak_bytes": memory,
            "duckdb_seconds": round(plain_seconds, 2),
            "duckdb_peak_bytes": plain_memory,
            "ratio": round(seconds / plain_seconds, 3),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=10_000_000, help="in all files together")
    parser.add_argument("--processes", type=int, default=3, help="that write")
    parser.add_argument("--folder", type=Path, help="where the table goes; default: a temporary one")
    parser.add_argument("--keep", action="store_true", help="leave the table, and take one that is there")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="maskmill-table-") as scratch:
        folder = (arguments.folder or Path(scratch) / "table").absolute()
        if not (folder / "ledger.parquet").exists():
            started = time.perf_counter()
            make(folder, arguments.files, arguments.samples, arguments.processes)
            seconds = time.perf_counter() - started
            size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
            if not arguments.json:
                print(
                    f"{arguments.files:,} files, {arguments.samples:,} samples, {size / 1e9:.2f} GB in {seconds:.0f} s"
                )
        try:
            if not arguments.json:
                print(f"{'':<40} {'seconds':>8} {'peak MB':>8}   {'DuckDB s':>8} {'peak MB':>8}   {'ratio':>6}")
            for figure in figures(folder):
                print(json.dumps(figure) if arguments.json else _line(figure), flush=True)
        finally:
            if not arguments.keep:
                shutil.rmtree(folder)


def _line(figure: dict[str, Any]) -> str:
    return (
        f"{figure['question']:<40} {figure['seconds']:>8.2f} {figure['peak_bytes'] / 1e6:>8.0f}   "
        f"{figure['duckdb_seconds']:>8.2f} {figure['duckdb_peak_bytes'] / 1e6:>8.0f}   {figure['ratio']:>6.3f}"
    )


if __name__ == "__main__":
    main()
