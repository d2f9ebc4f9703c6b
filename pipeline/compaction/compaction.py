"""Makes a sealed table of a run: the same rows in the same order, in few files. The run isn't changed."""

import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maskmill.models.errors import UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline import run
from maskmill.pipeline.compaction import sealing
from maskmill.pipeline.compaction.sealing import Part
from maskmill.pipeline.compaction.target import (
    File,
    another_compact,
    check_published,
    file_if_same,
    file_name,
    refuse_nested,
    standing_files,
)
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.merging import Merged, from_merged, write
from maskmill.pipeline.ledger.sources import BLOCK
from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.ledger.summary import counted
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.stores.leftovers import remove_leftovers, remove_uploads
from maskmill.pipeline.stores.publish import publish, publish_bytes, read_bytes
from maskmill.pipeline.stores.urls import canonical, quoted, redact
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run

FILE_BYTES = 10**9
"""Size of a sealed table's files unless another is stated."""

MAX_SHARDS = 20_000
"""Shards in one file at most: its footer names them all."""

MAX_FILES = 10**6
"""Files of a sealed table at most: their names have six digits."""

_Numbers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Compaction:
    """What a sealed table holds, once it was checked."""

    files: int
    """Label files."""

    kept: int
    """Of these, files that an interrupted call had published already."""

    shards: int
    """Done shards."""

    left_out: int
    """Failed and missing shards; the ledger says which."""

    rows: int
    """Rows of the done shards."""

    bytes: int
    """Bytes of the label files."""


def compact(
    source: Output,
    target: Output,
    *,
    scratch: Path,
    file_bytes: int = FILE_BYTES,
    partial: bool = False,
    told: Callable[[str], None] = lambda line: None,
) -> Compaction:
    """Write a run's label table anew in few files, and check that it holds the same rows.

    A file is written to scratch, compared with the rows that were read, and published by one PUT. run.json comes last
    and makes the files a table: a call that is interrupted leaves none, and the same call finishes what it began.

    Args:
        source: a run; only read.
        target: an empty place, or what an interrupted call for the same rows left.
        scratch: an existing local folder, with room for one file and a few label files.
        file_bytes: about how large a file becomes. A shard's rows are never split: one of a large shard is larger.
        partial: leave out failed and missing shards instead of refusing.
        told: takes a line after each file.

    Raises:
        UsageError: no run, a sealed one, another run's vocabulary, failed or missing shards, a damaged label file, a
            target that isn't empty.
        EnvironmentFailure: a place can't be read or written, or a file doesn't hold what was written to it.
    """
    recorded = run.require(source)
    if run.is_sealed(recorded):
        raise UsageError(f"{redact(source.url)}: sealed already. Name the --output of a `maskmill label`.")
    refuse_nested(source, target)
    vocabulary_of_run(source)  # it is copied: a wrong one would be sealed in
    with scratch_folder(scratch) as folder:
        table = from_merged(source, lambda now: _copied(now, folder / "source.parquet"))
        done, left_out = _done(table, source, partial=partial)
        if (line := Status(table=table).incomplete(source)) is not None:
            told(line)
        parts = [
            Part(shards=table.take(pa.array(rows)), fingerprint=recorded["fingerprint"])
            for rows in _plan(table, done, file_bytes)
        ]
        standing = standing_files(target, len(parts))
        for place in target.folders:
            remove_leftovers(place)
        remove_uploads(target.url)
        files: list[File] = []
        kept = 0
        for number, part in enumerate(parts):
            url = target.label(file_name(number).removesuffix(LABEL_SUFFIX))
            file = file_if_same(url, part) if number in standing else None
            kept += file is not None
            files.append(file or _sealed(part, source, url, folder, replace=number in standing))
            of = f"{number + 1:,} of {len(parts):,}"
            told(f"{file_name(number)}  {counted(len(part.shards), 'shard')}, {files[-1].size:,} bytes; {of}")
        _copy_manifest_and_vocabulary(source, target)
        places = _places(len(table), done, parts, files)
        _write_ledger(folder / "source.parquet", places, folder / "ledger.parquet")
        publish(folder / "ledger.parquet", target.ledger)
    sizes = [file.size for file in files]
    found = Compaction(
        files=len(parts),
        kept=kept,
        shards=len(done),
        left_out=left_out,
        rows=sum(sum(part.rows) for part in parts),
        bytes=sum(sizes),
    )
    check_published(target, sizes)
    seal = {
        "from": redact(canonical(source.url)),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": found.files,
        "shards": found.shards,
        "left_out": found.left_out,
        "rows": found.rows,
        "verified": True,
    }
    if not target.create_json(target.run, {**recorded, "sealed": True, "compaction": seal}):
        raise another_compact(target.run)
    return found


def _done(table: pa.Table, source: Output, *, partial: bool) -> tuple[_Numbers, int]:
    """Numbers of the done shards' rows, and how many shards are failed or missing."""
    done = np.flatnonzero(pc.equal(table["state"], "done").to_numpy())
    left_out = len(table) - len(done)
    if left_out and not partial:
        raise UsageError(
            f"{redact(source.url)}: {left_out:,} of {len(table):,} shards are failed or missing. Label them: "
            f"maskmill retry {quoted(source.url)}. Or leave them out: --partial."
        )
    if not len(done):
        raise UsageError(f"{redact(source.url)}: no shard is done. Label some first.")
    return done, left_out


def _plan(table: pa.Table, done: _Numbers, file_bytes: int) -> Iterator[_Numbers]:
    """Which rows of the ledger go into which file: as many as fit, at least one."""
    sizes = table["bytes"].fill_null(0).to_numpy()[done]
    start = held = files = 0
    for index, size in enumerate(sizes):
        if index > start and (held + size > file_bytes or index - start >= MAX_SHARDS):
            yield done[start:index]
            start, held, files = index, 0, files + 1
            if files >= MAX_FILES:
                raise UsageError(f"--file-size {file_bytes}: makes more than {MAX_FILES:,} files. State a larger one.")
        held += int(size)
    yield done[start:]


def _sealed(part: Part, source: Output, url: str, folder: Path, *, replace: bool) -> File:
    """Write, check and publish one file, in place of what an interrupted call left there or where nothing stands.

    Raises:
        EnvironmentFailure: another call has published another file there meanwhile.
    """
    local = folder / "sealed.parquet"
    checksum = sealing.write(part, source, local)
    if not publish(local, url, overwrite=replace):
        raise another_compact(url)
    size = local.stat().st_size
    local.unlink()
    return File(size=size, sha256=checksum)


def _copy_manifest_and_vocabulary(source: Output, target: Output) -> None:
    copies = [
        (part, target.manifest_part(posixpath.basename(part).removesuffix(".parquet")))
        for part in source.manifest_parts()
    ]
    for there, here in [*copies, (source.vocabulary, target.vocabulary)]:
        data = read_bytes(there)
        if data is None:
            raise UsageError(f"{redact(there)}: not there. Restore it from a copy.")
        publish_bytes(data, here)


def _places(count: int, done: _Numbers, parts: list[Part], sealed: list[File]) -> pa.Table:
    """What the ledger of the sealed table says otherwise than the source's: file, its checksum, first row, bytes."""
    checksums = np.full(count, None, object)
    checksums[done] = [file.sha256 for part, file in zip(parts, sealed, strict=True) for _ in range(len(part.shards))]
    files, firsts, shares = np.full(count, None, object), np.zeros(count, np.int64), np.zeros(count, np.int64)
    files[done] = [file_name(number) for number, part in enumerate(parts) for _ in range(len(part.shards))]
    firsts[done] = [first for part in parts for first in part.first_rows]
    shares[done] = [share for part, file in zip(parts, sealed, strict=True) for share in _shares(part, file.size)]
    failed = np.isin(np.arange(count), done, invert=True)
    return pa.table(
        {
            "label_file": pa.array(files, pa.string()),
            "first_row": pa.array(firsts),
            "bytes": pa.array(shares, mask=failed),
            "label_sha256": pa.array(checksums, pa.string()),
        }
    )


def _copied(now: Merged, path: Path) -> pa.Table:
    """The merged ledger without class counts; with them it is left as a local file, since compaction takes long."""
    write(now, path)
    return now.table


def _write_ledger(source: Path, places: pa.Table, path: Path) -> None:
    """The source's ledger with these columns in place of its own, as a local file."""
    start = 0
    with pq.ParquetWriter(path, ledger.SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for block in pq.ParquetFile(source).iter_batches(BLOCK):
            mine = places.slice(start, len(block))
            columns = [(mine if name in mine.column_names else block).column(name) for name in ledger.SCHEMA.names]
            writer.write_table(pa.Table.from_arrays(columns, schema=ledger.SCHEMA), row_group_size=BLOCK)
            start += len(block)


def _shares(part: Part, size: int) -> list[int]:
    """A file's bytes, divided among its shards as their own label files' were; they add up."""
    own = part.shards["bytes"].fill_null(0).to_numpy()
    ends = np.cumsum(own) * size // max(int(own.sum()), 1) if own.sum() else np.zeros(len(own), np.int64)
    ends[-1] = size
    return [int(share) for share in np.diff(ends, prepend=0)]
