"""How a run of 100,000 shards is listed, resumed and reported: seconds, peak memory and requests of each step.

    python -m tests.scale --shards 100000 --done 99000

Each step is a process of its own, so that its peak memory is its own; what Python and its libraries take is given
beside it. Nothing is labeled: the shards are small files, and label files' contents are read only where no ledger
knows them, as after a driver that was killed. All steps run on a file system and then over tests/object_store.py, a
server that speaks S3 and answers a thousand names a page, in a process of its own.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from tests.object_store import BUCKET, s3_server

if TYPE_CHECKING:
    import pyarrow as pa

    from maskmill.pipeline.ledger.ledger import LedgerRow
    from maskmill.pipeline.shards.shard import Shard

SHARD = bytes(1024)
"""What stands in every shard."""

CLASSES = 100
"""Classes found in each shard: what makes a ledger large."""

UNTOLD = 1_000
"""Done shards that no ledger knows: what a killed driver had not written yet."""

PART_ROWS = 500
"""Rows of one of the ledger's parts; a tenth of what is done stands in parts."""

LIBRARIES = (
    "pyarrow.parquet",
    "pyarrow.compute",
    "fsspec",
    "numpy",
    "s3fs",
    "maskmill.pipeline.ledger.summary",
    "maskmill.pipeline.shards.planning",
)
"""Imported before a step is measured."""

DRIVER = (*LIBRARIES, "maskmill.pipeline.cluster.labeling")
"""Imported before a step of `label`'s driver: Ray and PyTorch too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What one step took."""

    step: str
    """Its name."""

    seconds: float
    """Time, without imports."""

    libraries: int
    """Bytes in memory before it began."""

    peak: int
    """Most bytes in memory."""

    said: str
    """What came out."""

    requests: dict[str, int]
    """Requests by kind, over S3."""


# --- the run ---------------------------------------------------------------------------------------------------------


def make(out: Path, place: str, done: int) -> None:
    """The files of a run of PLACE/train/*.tar, in a local folder: manifest, label files, ledger and parts."""
    import pyarrow.parquet as pq

    from maskmill.pipeline import parquet
    from maskmill.pipeline.ledger import ledger
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.shards import manifest
    from maskmill.pipeline.shards.planning import shards_of

    output = Output.of(str(out))
    output.write_json(
        output.run,
        {"fingerprint": "f" * 64, "identity": {}, "created": "now", "config": {"model": {"model": "san-tiny"}}},
    )
    asked = shards_of([f"{place}/train/*.tar"], limit=None)
    manifest.add(output, asked)
    labels = Path(output.labels)
    labels.mkdir()
    known = asked[: done - UNTOLD]
    for shard in known:
        (labels / f"{shard.label_name}.parquet").write_bytes(b"")
    for shard in asked[done - UNTOLD : done]:
        _label_file(labels / f"{shard.label_name}.parquet", shard)
    settled = len(known) * 9 // 10
    with pq.ParquetWriter(output.ledger, ledger.SCHEMA, compression="zstd") as writer:
        for start in range(0, settled, 8192):
            writer.write_table(_rows(known[start : min(start + 8192, settled)]))
    for start in range(settled, len(known), PART_ROWS):
        parquet.write(_rows(known[start : start + PART_ROWS]), output.ledger_part(ledger.part_name()))


def _rows(shards: "list[Shard]") -> "pa.Table":
    import pyarrow as pa

    from maskmill.pipeline.ledger import ledger

    table = ledger.to_table([_row(shards[0])]).take(pa.array([0] * len(shards)))
    for name, values in (
        ("url", [shard.url for shard in shards]),
        ("etag", [shard.etag for shard in shards]),
        ("label_file", [f"{shard.label_name}.parquet" for shard in shards]),
    ):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), pa.array(values, pa.string()))
    return table


def _row(shard: "Shard") -> "LedgerRow":
    from datetime import UTC, datetime

    from maskmill.pipeline.ledger.counts import ClassCount, Counts
    from maskmill.pipeline.ledger.ledger import PHASES, LedgerRow

    classes = tuple(ClassCount(vocab_id=n, segments=50, images=40) for n in range(CLASSES))
    return LedgerRow(
        url=shard.url,
        size=shard.size,
        etag=shard.etag,
        state="done",
        counts=Counts(read=1000, labeled=990, failed={"decode": 8, "empty": 2}, segments=50 * CLASSES, classes=classes),
        bytes=10_000_000,
        seconds=dict.fromkeys(PHASES, 1.5),
        replica="node-17:4242",
        attempts=1,
        started=datetime(2026, 1, 1, tzinfo=UTC),
        ended=datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC),
    )


def _label_file(path: Path, shard: "Shard") -> None:
    from maskmill.pipeline.ledger.counts import Counts
    from maskmill.pipeline.table.footer import Footer
    from maskmill.pipeline.table.writer import LabelWriter

    footer = Footer(
        fingerprint="f" * 64,
        shard=shard.url,
        size=shard.size,
        etag=shard.etag,
        counts=Counts(),
        versions={},
        device="cpu",
        batch_size=1,
    )
    with LabelWriter(path, shard.url) as writer:
        writer.finish(footer)


# --- the steps, each given the folder or prefix with train/ and out/ --------------------------------------------------


def listed(place: str) -> str:
    """What `label PLACE/train/*.tar` does first."""
    from maskmill.pipeline.shards.planning import shards_of

    return f"{len(shards_of([f'{place}/train/*.tar'], limit=None)):,} shards"


def resumed(place: str) -> str:
    """What the driver does before the first shard: list, manifest, what is done, what is left, a table of tasks."""
    from maskmill.pipeline.cluster.labeling import to_tasks
    from maskmill.pipeline.output import Output
    from maskmill.pipeline.shards import manifest
    from maskmill.pipeline.shards.planning import shards_of

    output = Output.of(f"{place}/out")
    asked = shards_of([f"{place}/train/*.tar"], limit=None)
    added = manifest.add(output, asked)
    done = output.done()
    todo = [shard for shard in asked if shard.label_name not in done]
    return f"{to_tasks(todo, {}).num_rows:,} of {len(asked):,} left, {added:,} new"


def reported(place: str) -> str:
    """`maskmill status`."""
    return _printed(place, json=False)


def reported_as_json(place: str) -> str:
    """`maskmill status --json`."""
    return _printed(place, json=True)


def _printed(place: str, *, json: bool) -> str:
    from maskmill.jobs.status import status

    with tempfile.TemporaryFile("w+") as file:
        sys.stdout = file
        try:
            code = status(f"{place}/out", json=json)
        finally:
            sys.stdout = sys.__stdout__
        size = file.tell()
        file.seek(0)
        shards = next(line.strip() for line in file if '"done"' in line or line.startswith("shards"))
    return f"{size:,} bytes, exit {code}: {shards}"


def settled(place: str) -> str:
    """The end of a `label`: parts and footers merged into ledger.parquet."""
    from maskmill.pipeline.ledger.status import settle
    from maskmill.pipeline.output import Output

    now = settle(Output.of(f"{place}/out"))
    return f"{now.shards('done'):,} done"


STEPS: tuple[tuple[str, Callable[[str], str], tuple[str, ...]], ...] = (
    ("list the shards", listed, LIBRARIES),
    ("resume: list, manifest, done, tasks", resumed, DRIVER),
    ("status", reported, LIBRARIES),
    ("status --json", reported_as_json, LIBRARIES),
    ("settle", settled, LIBRARIES),
    ("status of the settled ledger", reported, LIBRARIES),
)


def measured(step: Callable[[str], str], place: str, libraries: tuple[str, ...]) -> tuple[float, int, int, str]:
    """Seconds, bytes before and at the peak, of a process that does nothing else, and what it said."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, step.__name__, place, libraries).result()


def _measure(name: str, place: str, libraries: tuple[str, ...]) -> tuple[float, int, int, str]:
    for library in libraries:
        import_module(library)
    before = _memory("VmRSS")
    started = time.perf_counter()
    said: str = globals()[name](place)
    return time.perf_counter() - started, before, _memory("VmHWM"), said


def _memory(name: str) -> int:
    """Bytes that this process holds or held at most; getrusage would count what its parent held when it forked."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


# --- the store -------------------------------------------------------------------------------------------------------


def _serve(folder: Path, told: Connection) -> None:
    """Answers with the requests since the last question, until the other end is closed."""
    with s3_server() as store:
        for path in (folder / "train").iterdir():
            store.put(f"train/{path.name}", SHARD)
        told.send(store.address)
        while True:
            try:
                uploads = told.recv()
            except EOFError:
                return
            for key, data in uploads.items():
                store.put(key, data)
            told.send(dict(Counter(_kind(request) for request in store.requests)))
            store.requests.clear()


def _kind(request: str) -> str:
    """LIST, or the method."""
    method, _, path = request.partition(" ")
    return "LIST" if method == "GET" and path == f"{BUCKET}/" else method


@contextmanager
def store(folder: Path) -> Iterator[Connection]:
    """The shards of a folder in a store that s3fs is led to; a dict of objects sent to it is put there."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_serve, args=(folder, there), daemon=True)
    process.start()
    there.close()
    settings = {
        "AWS_ENDPOINT_URL": here.recv(),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield here
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        here.close()
        process.join()


def made(out: Path, place: str, done: int) -> None:
    """`make` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        process.submit(make, out, place, done).result()


def steps(place: str, requests: Callable[[], dict[str, int]]) -> Iterator[Figures]:
    """All steps on one place."""
    for name, step, libraries in STEPS:
        requests()
        seconds, before, peak, said = measured(step, place, libraries)
        yield Figures(step=name, seconds=seconds, libraries=before, peak=peak, said=said, requests=requests())


def figures(shards: int, done: int, *, s3: bool) -> Iterator[Figures]:
    """All steps on a file system, and over S3."""
    with tempfile.TemporaryDirectory(prefix="maskmill-scale-") as name:
        here = Path(name)
        (here / "train").mkdir()
        for number in range(shards):
            (here / "train" / f"{number:06d}.tar").write_bytes(SHARD)
        made(here / "out", str(here), done)
        yield from steps(str(here), dict)
        if not s3:
            return
        with store(here) as server:

            def told(uploads: dict[str, bytes]) -> dict[str, int]:
                server.send(uploads)
                found: dict[str, int] = server.recv()
                return found

            made(here / "copy", f"s3://{BUCKET}", done)
            files = (path for path in (here / "copy").rglob("*") if path.is_file())
            told({f"out/{path.relative_to(here / 'copy')}": path.read_bytes() for path in files})
            yield from steps(f"s3://{BUCKET}", lambda: told({}))


def main() -> None:
    """Print the figures, as a table or one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--done", type=int, default=99_000)
    parser.add_argument("--no-s3", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.json:
        print(f"{'step':<35} {'seconds':>8} {'peak MiB':>8} {'of it libraries':>16}  requests, result")
    for found in figures(arguments.shards, arguments.done, s3=not arguments.no_s3):
        if arguments.json:
            print(json.dumps(asdict(found)), flush=True)
        else:
            asked = "".join(f"{number:,} {kind}, " for kind, number in sorted(found.requests.items()))
            print(
                f"{found.step:<35} {found.seconds:>8.1f} {found.peak / 2**20:>8.0f} {found.libraries / 2**20:>16.0f}"
                f"  {asked}{found.said}",
                flush=True,
            )


if __name__ == "__main__":
    main()
