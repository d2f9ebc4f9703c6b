"""Where the rows of shards lie in a label table, open (a file a shard) or sealed (files of many). What they mean is not
asked here."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskmill.models.errors import UsageError
from maskmill.pipeline import parquet, run
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.ranged import open_ranged
from maskmill.pipeline.stores.urls import filesystem, redact
from maskmill.pipeline.table.footer import check_file
from maskmill.pipeline.table.older import current
from maskmill.pipeline.table.sealed import check_sealed

SEALED_FILE = re.compile(r"part-\d{6}")
"""Names of a sealed table's label files, without their ending; no shard's label file has such a name."""

_RESTORE = "Restore it from a copy."
_PLACES = ["url", "state", "label_file", "first_row", "read", "directories"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardRows:
    """The rows of one shard: a whole label file, or a part of one."""

    url: str
    """The label file."""

    first: int
    """First row in the file."""

    count: int | None
    """How many; None: all that the file has."""


class LabelTable:
    """The label files of one run, and in which of them a shard is."""

    def __init__(self, output: Output) -> None:
        """Read what tells, the listing of labels/ or a sealed table's ledger, when it is first needed.

        Raises:
            UsageError: run.json is damaged.
        """
        self.output = output
        self.sealed = run.is_sealed(output.read_json(output.run) or {})

    @cached_property
    def files(self) -> list[str]:
        """URLs of the run's label files, sorted; of a sealed table in the order of its rows. Other files in labels/ are
        none.

        Raises:
            UsageError: there are none, the ledger of a sealed table is damaged, or `compact` hasn't finished this one.
        """
        if self.sealed:
            found = sorted(set(self._places["label_file"].to_pylist()))
        else:
            found = list(self._standing.sizes)
            looked_at = found or self.output.label_files()
            if any(SEALED_FILE.fullmatch(name.removesuffix(LABEL_SUFFIX)) for name in looked_at):
                raise UsageError(
                    f"{redact(self.output.url)}: `compact` has not finished it. Run the same `maskmill compact` again, "
                    "or remove it."
                )
        if not found:
            raise UsageError(
                f"{redact(self.output.url)}: no label files in {redact(self.output.labels)}. Label into it first: "
                f"maskmill label SHARDS... --output {redact(self.output.url)}"
            )
        return [self._url(name) for name in found]

    @property
    def incomplete(self) -> str | None:
        """A line that says how many of the shards asked for have no labels; None if all have.

        Raises:
            UsageError: the manifest, or the ledger of a sealed table, is damaged.
        """
        if self.sealed:
            return manifest.incomplete_line(self.output, labeled=len(self._places), asked=len(self._ledger))
        return manifest.incomplete_line(self.output, labeled=len(self._standing.sizes), asked=self._standing.asked)

    def rows_of(self, shard: str) -> ShardRows | None:
        """Where the rows of the shard with this canonical URL lie; None if it isn't done.

        Raises:
            UsageError: the ledger of a sealed table is damaged.
        """
        if not self.sealed:
            url = self.output.label(Shard(url=shard, source=shard).label_name)
            fs, path = filesystem(url)
            return ShardRows(url=url, first=0, count=None) if fs.exists(path) else None
        index = pc.index(self._places["url"], shard).as_py()
        if index < 0:
            return None
        (place,) = self._places.slice(index, 1).to_pylist()
        return ShardRows(url=self._url(place["label_file"]), first=place["first_row"], count=place["read"])

    def of_first_version(self, shard: str) -> bool:
        """Whether the first version labeled the shard with this canonical URL, which grouped some members otherwise.

        Raises:
            UsageError, FooterError, OSError: as `rows_of` and `batches`.
        """
        rows = self.rows_of(shard)
        if rows is None:
            return False
        if self.sealed:
            index = pc.index(self._places["url"], shard).as_py()
            return self._places["directories"][index].as_py() is None
        with open_ranged(rows.url) as source:
            return check_file(source).counts.directories is None

    def batches(self, rows: ShardRows, columns: list[str], size: int) -> Iterator[pa.RecordBatch]:
        """The rows in shard order, at most `size` at once; only row groups that hold some of them are read.

        Rows of a file of an older schema version come as today's have it.

        Raises:
            FooterError: the file isn't a sound label file of this kind of table.
            OSError, ValueError: it is damaged or can't be read; FileNotFoundError: it isn't there.
        """
        with (
            self.opened(rows.url) as source,
            pq.ParquetFile(source, pre_buffer=True, page_checksum_verification=True) as file,
        ):
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            end = sum(sizes) if rows.count is None else rows.first + rows.count
            start, groups, skipped = 0, [], None
            for group, length in enumerate(sizes):
                if start < end and start + length > rows.first:
                    groups.append(group)
                    skipped = start if skipped is None else skipped
                start += length
            if start < end:
                raise ValueError(f"rows up to {end} were expected, it has {start}")
            at = skipped or 0
            # An empty list of row groups would mean all of them.
            for batch in file.iter_batches(size, row_groups=groups, columns=columns) if groups else ():
                low, high = max(rows.first - at, 0), min(end - at, batch.num_rows)
                if low < high:
                    yield current(batch.slice(low, high - low), columns)
                at += batch.num_rows

    @contextmanager
    def opened(self, url: str) -> Iterator[BinaryIO]:
        """A label file whose footer and columns are as they must be.

        Raises:
            FooterError, FileNotFoundError, OSError: as `batches`.
        """
        with open_ranged(url) as source:
            (check_sealed if self.sealed else check_file)(source)
            source.seek(0)
            yield source

    @cached_property
    def _standing(self) -> manifest.LabelFiles:
        """The label files of a table that isn't sealed."""
        return manifest.label_files(self.output)

    @cached_property
    def _ledger(self) -> pa.Table:
        """All shards of a sealed table, those without labels too, in the order of the manifest."""
        url = self.output.ledger
        table = parquet.read_columns(url, ledger.SCHEMA, _PLACES, fix=_RESTORE)
        if table is None:
            raise UsageError(f"{redact(url)}: a sealed table without its ledger. {_RESTORE}")
        return table

    @cached_property
    def _places(self) -> pa.Table:
        """Done shards of a sealed table and where they are, in the order of the manifest."""
        places = self._ledger.filter(pc.field("state") == "done")
        found = pc.unique(places["label_file"]).to_pylist()
        if any(name is None or not SEALED_FILE.fullmatch(name.removesuffix(LABEL_SUFFIX)) for name in found):
            raise UsageError(f"{redact(self.output.ledger)}: names files that no sealed table has. {_RESTORE}")
        return places

    def _url(self, file: str) -> str:
        return self.output.label(file.removesuffix(LABEL_SUFFIX))
