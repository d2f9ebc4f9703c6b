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

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline import run
from maskmill.pipeline.compaction import sealing
from maskmill.pipeline.compaction.sealing import Part
from maskmill.pipeline.labeling.scratch import shard_folder
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.merging import BLOCK, Merged, merged
from maskmill.pipeline.ledger.status import Status
from maskmill.pipeline.ledger.summary import counted
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.stores.publish import is_local, names, publish, publish_bytes, read_bytes
from maskmill.pipeline.stores.ranged import open_ranged
from maskmill.pipeline.stores.urls import canonical, filesystem, redact
from maskmill.pipeline.table.footer import FooterError
from maskmill.pipeline.table.label_table import SEALED_FILE
from maskmill.pipeline.table.sealed import check_sealed

FILE_BYTES = 10**9
"""Size of a sealed table's files unless another is stated."""

MAX_SHARDS = 20_000
"""Shards in one file at most: its footer names them all."""

MAX_FILES = 10**6
"""Files of a sealed table at most: their names have six digits."""

_Numbers = NDArray[np.int64]

_UNFINISHED = {"labels", "manifest", "vocabulary.parquet", "ledger.parquet"}
"""What an interrupted compaction may have left; run.json is not among it."""


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
        UsageError: no run, a sealed one, failed or missing shards, a damaged label file, a target that isn't empty.
        EnvironmentFailure: a place can't be read or written, or a file doesn't hold what was written to it.
    """
    recorded = run.require(source)
    if run.is_sealed(recorded):
        raise UsageError(f"{redact(source.url)}: sealed already. Name the --output of a `maskmill label`.")
    _refuse_nested(source, target)
    with merged(source) as now, shard_folder(scratch) as folder:
        done, left_out = _done(now.table, source, partial=partial)
        if (line := Status(table=now.table).incomplete(source)) is not None:
            told(line)
        parts = [
            Part(shards=now.table.take(pa.array(rows)), fingerprint=recorded["fingerprint"])
            for rows in _plan(now.table, done, file_bytes)
        ]
        standing = _standing(target, len(parts))
        sizes = []
        kept = 0
        for number, part in enumerate(parts):
            url = target.label(file_name(number).removesuffix(LABEL_SUFFIX))
            size = _size_if_same(url, part) if number in standing else None
            kept += size is not None
            sizes.append(_sealed(part, source, url, folder) if size is None else size)
            of = f"{number + 1:,} of {len(parts):,}"
            told(f"{file_name(number)}  {counted(len(part.shards), 'shard')}, {sizes[-1]:,} bytes; {of}")
        _copy_manifest_and_vocabulary(source, target)
        _write_ledger(now, _places(len(now.table), done, parts, sizes), folder / "ledger.parquet")
        publish(folder / "ledger.parquet", target.ledger)
    found = Compaction(
        files=len(parts),
        kept=kept,
        shards=len(done),
        left_out=left_out,
        rows=sum(sum(part.rows) for part in parts),
        bytes=sum(sizes),
    )
    _check_published(target, sizes)
    seal = {
        "from": redact(canonical(source.url)),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": found.files,
        "shards": found.shards,
        "left_out": found.left_out,
        "rows": found.rows,
        "verified": True,
    }
    target.write_json(target.run, {**recorded, "sealed": True, "compaction": seal})
    return found


def file_name(number: int) -> str:
    """Name of a sealed table's label file below labels/."""
    return f"part-{number:06d}{LABEL_SUFFIX}"


def _refuse_nested(source: Output, target: Output) -> None:
    # A link may lead from one into the other.
    here, there = (
        str(Path(place.url).resolve()) if is_local(place.url) else canonical(place.url) for place in (source, target)
    )
    if f"{there}/".startswith(f"{here}/") or f"{here}/".startswith(f"{there}/"):
        raise UsageError(
            f"DEST {redact(target.url)}: is {redact(source.url)}, lies in it, or holds it. Name a place beside it."
        )


def _done(table: pa.Table, source: Output, *, partial: bool) -> tuple[_Numbers, int]:
    """Numbers of the done shards' rows, and how many shards are failed or missing."""
    done = np.flatnonzero(pc.equal(table["state"], "done").to_numpy())
    left_out = len(table) - len(done)
    if left_out and not partial:
        raise UsageError(
            f"{redact(source.url)}: {left_out:,} of {len(table):,} shards are failed or missing. Label them: "
            f"maskmill retry {redact(source.url)}. Or leave them out: --partial."
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


def _standing(target: Output, files: int) -> set[int]:
    """Numbers of the label files that stand in the target; it holds nothing that this call would not write.

    Raises:
        UsageError: it does.
    """
    found = set(names(target.url))
    labels = [name.removesuffix(LABEL_SUFFIX) for name in target.label_files()]
    if found - _UNFINISHED or any(SEALED_FILE.fullmatch(name) is None for name in labels):
        what = "a sealed table already" if "run.json" in found else "not empty"
        raise UsageError(f"DEST {redact(target.url)}: {what}. Name an empty place, or remove it.")
    numbers = {int(name.removeprefix("part-")) for name in labels}
    if max(numbers, default=-1) >= files:
        raise UsageError(
            f"DEST {redact(target.url)}: holds an unfinished table with more files, from another --file-size or "
            "another run. Remove it."
        )
    return numbers


def _size_if_same(url: str, part: Part) -> int | None:
    """Bytes of the label file that an interrupted call published for the very same rows; None if it isn't that.

    Raises:
        UsageError: it is a file of another run.
    """
    try:
        with open_ranged(url) as file:
            footer = check_sealed(file)
            size = file.seek(0, 2)
    except (FooterError, FileNotFoundError):
        return None
    if footer.fingerprint != part.fingerprint:
        raise UsageError(f"{redact(url)}: an unfinished table of another run. Remove it, or name another DEST.")
    return size if part.stands_in(footer) else None


def _sealed(part: Part, source: Output, url: str, folder: Path) -> int:
    """Write, check and publish one file; its bytes."""
    local = folder / "sealed.parquet"
    sealing.write(part, source, local)
    publish(local, url)
    size = local.stat().st_size
    local.unlink()
    return size


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


def _places(count: int, done: _Numbers, parts: list[Part], sizes: list[int]) -> pa.Table:
    """What the ledger of the sealed table says otherwise than the source's: file, first row, share of its bytes."""
    files, firsts, shares = np.full(count, None, object), np.zeros(count, np.int64), np.zeros(count, np.int64)
    files[done] = [file_name(number) for number, part in enumerate(parts) for _ in range(len(part.shards))]
    firsts[done] = [first for part in parts for first in part.first_rows]
    shares[done] = [share for part, size in zip(parts, sizes, strict=True) for share in _shares(part, size)]
    failed = np.isin(np.arange(count), done, invert=True)
    return pa.table(
        {
            "label_file": pa.array(files, pa.string()),
            "first_row": pa.array(firsts),
            "bytes": pa.array(shares, mask=failed),
        }
    )


def _write_ledger(now: Merged, places: pa.Table, path: Path) -> None:
    """The source's ledger with these columns in place of its own, as a local file."""
    start = 0
    with pq.ParquetWriter(path, ledger.SCHEMA, compression="zstd", write_page_checksum=True) as writer:
        for block in now.blocks():
            mine = places.slice(start, len(block))
            columns = [(mine if name in mine.column_names else block)[name] for name in ledger.SCHEMA.names]
            writer.write_table(pa.Table.from_arrays(columns, schema=ledger.SCHEMA), row_group_size=BLOCK)
            start += len(block)


def _shares(part: Part, size: int) -> list[int]:
    """A file's bytes, divided among its shards as their own label files' were; they add up."""
    own = part.shards["bytes"].fill_null(0).to_numpy()
    ends = np.cumsum(own) * size // max(int(own.sum()), 1) if own.sum() else np.zeros(len(own), np.int64)
    ends[-1] = size
    return [int(share) for share in np.diff(ends, prepend=0)]


def _check_published(target: Output, sizes: list[int]) -> None:
    """Every file stands there with the bytes that were checked, and no other one."""
    fs, _ = filesystem(target.url)
    expected = {file_name(number): size for number, size in enumerate(sizes)}
    wrong = target.label_files().keys() ^ expected.keys()
    urls = {name: target.label(name.removesuffix(LABEL_SUFFIX)) for name in expected.keys() - wrong}
    wrong |= {name for name, url in urls.items() if int(fs.size(filesystem(url)[1])) != expected[name]}
    if wrong:
        raise EnvironmentFailure(
            f"{redact(target.labels)}: {sorted(wrong)[0]} isn't what was published there. Is another `compact` at work?"
        )
