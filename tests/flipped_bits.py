"""Flips single bits of a label file: is each seen by `verify --deep`, or do readers answer as before? A plain module.

`python -m tests.flipped_bits [--every N] [--footer] [--checksum]` flips every bit, or every N-th, of a small label
file or of its footer, as of a run whose ledger has no checksum or has one, and prints how many were seen and how many
changed nothing.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq

from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.table.footer import check_file
from maskmill.pipeline.table.label_check import LabelFile, check

SOURCE = next((Path(__file__).parent / "data" / "schema_v1" / "open" / "labels").glob("*.parquet"))
"""A label file of four scenes, as an earlier version wrote it."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A sound label file in a folder where its damaged copies may stand."""

    path: Path
    row: LedgerRow
    fingerprint: str

    @classmethod
    def of(cls, source: Path, folder: Path, *, checksum: bool) -> "Subject":
        """A copy of a label file, as a ledger with or without checksums tells of it."""
        path = folder / source.name
        path.write_bytes(source.read_bytes())
        footer = check_file(path)
        row = LedgerRow.from_footer(footer, path.stat().st_size, path.name)
        if checksum:
            row = replace(row, label_sha256=sha256(path.read_bytes()).hexdigest())
        return cls(path=path, row=row, fingerprint=footer.fingerprint)

    def is_seen(self, path: Path) -> bool:
        """Whether `verify --deep` finds a problem with a copy."""
        file = LabelFile(url=str(path), rows=(self.row,), fingerprint=self.fingerprint, sealed=False)
        return bool(check(file, deep=True).problems)


def flip(data: bytes, bit: int) -> bytes:
    """The bytes with one bit changed."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def footer_bits(data: bytes) -> range:
    """The bits of Parquet's footer, its length and the magic word behind it among them."""
    length = int.from_bytes(data[-8:-4], "little")
    return range(8 * (len(data) - 8 - length), 8 * len(data))


def answers(path: Path) -> list[str]:
    """What DuckDB, Polars and Arrow answer: all rows, and questions that statistics may answer or prune."""
    found: list[Any] = [_or_error(lambda: pq.read_table(path).to_pylist())]
    with duckdb.connect(":memory:") as connection:
        found += [_or_error(lambda sql=sql: connection.sql(sql).fetchall()) for sql in _questions(path)]
    found += [
        _or_error(lambda: pl.scan_parquet(path).filter(pl.col("width") == 128).collect().to_dicts()),
        _or_error(lambda: pl.scan_parquet(path).filter(pl.col("key") > "000000001").collect().to_dicts()),
        _or_error(lambda: pl.scan_parquet(path).select(pl.col("sample_index").max(), pl.len()).collect().to_dicts()),
    ]
    return [json.dumps(answer, default=repr) for answer in found]


_FLAT = ("key", "shard", "sample_index", "status", "error", "sha256", "width", "height", "mask_width", "mask_height",
         "caption", "logit_width", "logit_height")  # fmt: skip


def _questions(path: Path) -> Iterator[str]:
    file = f"read_parquet('{path}')"
    yield f"FROM {file}"
    yield f"DESCRIBE FROM {file}"
    for name in _FLAT:
        yield f"SELECT count(*), count({name}), min({name}), max({name}), count(DISTINCT {name}) FROM {file}"
        for value in (f"(SELECT min({name}) FROM {file})", f"(SELECT max({name}) FROM {file})"):
            yield f"SELECT count(*) FROM {file} WHERE {name} >= {value}"
        yield f"SELECT count(*) FROM {file} WHERE {name} IS NULL"
    yield f"SELECT count(*) FROM {file} WHERE sample_index = 3"
    yield f"SELECT count(*) FROM {file} WHERE key = '000000002' AND width = 128 AND status = 'ok'"
    segments = f"(SELECT unnest(segments) s FROM {file})"
    yield f"SELECT s.vocab_id, count(*), avg(s.score) FROM {segments} GROUP BY 1 ORDER BY 1"


def _or_error(ask: Any) -> Any:
    try:
        return ask()
    except Exception as error:  # any error of any reader is an answer other than the right one
        return f"{type(error).__name__}"


def outcome(subject: Subject, bit: int) -> str:
    """`seen`, `harmless` or `MISSED` for one bit."""
    damaged = subject.path.with_name(f"{os.getpid()}.parquet")
    damaged.write_bytes(flip(subject.path.read_bytes(), bit))
    if subject.is_seen(damaged):
        return "seen"
    return "harmless" if answers(damaged) == _sound_answers(subject.path) else "MISSED"


@cache
def _sound_answers(path: Path) -> list[str]:
    return answers(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--checksum", action="store_true")
    parser.add_argument("--footer", action="store_true")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        subject = Subject.of(SOURCE, Path(folder), checksum=given.checksum)
        data = subject.path.read_bytes()
        bits: Sequence[int] = (footer_bits(data) if given.footer else range(8 * len(data)))[:: given.every]
        counts: Counter[str] = Counter()
        with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
            for bit, found in zip(bits, pool.map(partial(outcome, subject), bits, chunksize=50), strict=True):
                counts[found] += 1
                if found == "MISSED":
                    print(f"bit {bit % 8} of byte {bit // 8} is not seen", flush=True)
        found = ", ".join(f"{n:,} {word}" for word, n in counts.items())
        print(f"{len(bits):,} flips of {len(data):,} bytes: {found}")


if __name__ == "__main__":
    main()
