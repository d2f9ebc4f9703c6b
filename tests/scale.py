"""How a run of 100,000 shards is listed, resumed and reported: seconds and peak memory of each step, as a table.

    python -m tests.scale --shards 100000 --done 99000

Each step is a process of its own, so that its peak memory is its own. Nothing is labeled: the shards are small files,
the label files' contents are read only where no ledger knows them, as after a driver that was killed. The last steps
list as many keys from a server that speaks S3 and answers a thousand a page.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

MEMORY_BYTES = 1_000_000_000
"""No step may take more, at 100,000 shards."""

CLASSES = 100
"""Classes found in each shard: what makes a ledger large."""

UNTOLD = 1_000
"""Done shards that no ledger knows: what a killed driver had not written yet."""

PART_ROWS = 500
"""Rows of one of the ledger's parts; a tenth of what is done stands in parts."""

MODULES = "pyarrow.parquet", "pyarrow.compute", "fsspec", "numpy", "s3fs"
"""Imported before a step is measured; their memory counts, the time of importing them doesn't."""


def make(folder: Path, shards: int, done: int) -> None:
    """A run's files: shards, manifest, label files, ledger and parts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline import ledger, manifest, parquet
    from pipeline.output import Output
    from pipeline.shard import Shard, describe_many

    (folder / "shards").mkdir(parents=True)
    for number in range(shards):
        (folder / "shards" / f"{number:06d}.tar").write_bytes(b"\0" * 1024)
    output = Output.of(str(folder / "out"))
    output.write_json(output.run, {"fingerprint": "f" * 64, "identity": {}, "created": "now",
                                   "config": {"model": {"model": "san-tiny"}}})  # fmt: skip
    asked = describe_many([str(path) for path in sorted((folder / "shards").iterdir())])
    manifest.add(output, asked)
    labels = Path(output.labels)
    labels.mkdir()
    for shard in asked[: done - UNTOLD]:
        (labels / f"{shard.label_name}.parquet").write_bytes(b"")
    for shard in asked[done - UNTOLD : done]:
        _label_file(labels / f"{shard.label_name}.parquet", shard)
    known = asked[: done - UNTOLD]

    def rows(shards: list[Shard]) -> pa.Table:
        model = ledger.to_table([_row(shards[0])])
        table = pa.concat_tables([model]).take(pa.array([0] * len(shards)))
        for name, values in (
            ("url", [shard.url for shard in shards]),
            ("etag", [shard.etag for shard in shards]),
            ("label_file", [f"{shard.label_name}.parquet" for shard in shards]),
        ):
            index = table.schema.get_field_index(name)
            table = table.set_column(index, table.schema.field(index), pa.array(values, pa.string()))
        return table

    settled = len(known) * 9 // 10
    with pq.ParquetWriter(output.ledger, ledger.SCHEMA, compression="zstd") as writer:
        for start in range(0, settled, 8192):
            writer.write_table(rows(known[start : min(start + 8192, settled)]))
    for start in range(settled, len(known), PART_ROWS):
        parquet.write(rows(known[start : start + PART_ROWS]), output.ledger_part(ledger.part_name()))


def _row(shard: Any) -> Any:
    from datetime import UTC, datetime

    from pipeline.counts import ClassCount, Counts
    from pipeline.ledger import PHASES, LedgerRow

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


def _label_file(path: Path, shard: Any) -> None:
    from pipeline.counts import Counts
    from pipeline.table.footer import Footer
    from pipeline.table.writer import LabelWriter

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


def listed(folder: Path) -> str:
    """What `label DIR` does first."""
    from pipeline.planning import shards_of

    return f"{len(shards_of([str(folder / 'shards')], limit=None)):,} shards"


def resumed(folder: Path) -> str:
    """What the driver does before the first shard: list, manifest, what is done, what is left, a table of tasks."""
    import pyarrow as pa

    from pipeline import manifest
    from pipeline.cluster.labeling import TASKS
    from pipeline.output import Output
    from pipeline.planning import shards_of

    output = Output.of(str(folder / "out"))
    asked = shards_of([str(folder / "shards")], limit=None)
    manifest.add(output, asked)
    done = output.done()
    todo = [shard for shard in asked if shard.label_name not in done]
    columns = {name: [getattr(shard, name, None) for shard in todo] for name in TASKS.names}
    return f"{pa.table(columns, schema=TASKS).num_rows:,} of {len(asked):,} left"


def reported(folder: Path) -> str:
    """`maskmill status`."""
    from pipeline import summary
    from pipeline.output import Output
    from pipeline.status import status

    now = status(Output.of(str(folder / "out")))
    summary.lines(now)
    return f"{now.shards('done'):,} done, {now.read:,} samples"


def reported_as_json(folder: Path) -> str:
    """`maskmill status --json`."""
    from jobs.status import status

    with Path(os.devnull).open("w") as nowhere:
        sys.stdout = nowhere
        try:
            return f"exit {status(str(folder / 'out'), json=True)}"
        finally:
            sys.stdout = sys.__stdout__


def settled(folder: Path) -> str:
    """The end of a `label`: parts and footers merged into ledger.parquet."""
    from pipeline.output import Output
    from pipeline.status import settle

    output = Output.of(str(folder / "out"))
    now = settle(output)
    return f"{now.shards('done'):,} done, {Path(output.ledger).stat().st_size / 1e6:,.0f} MB"


def listed_from_s3(folder: Path) -> str:
    """What `label s3://bucket/prefix/` does first."""
    from pipeline.planning import shards_of

    return f"{len(shards_of(['s3://shards/train/*.tar'], limit=None)):,} shards"


def done_in_s3(folder: Path) -> str:
    """Which label files an output in a store holds."""
    from pipeline.output import Output

    return f"{len(Output.of('s3://shards/out').label_files()):,} label files"


STEPS: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("list the shards", listed),
    ("resume: list, manifest, done, tasks", resumed),
    ("status", reported),
    ("status --json", reported_as_json),
    ("settle", settled),
    ("status of the settled ledger", reported),
)

STORE_STEPS: tuple[tuple[str, Callable[[Path], str]], ...] = (
    ("list the shards in S3", listed_from_s3),
    ("list the label files in S3", done_in_s3),
)


def measured(step: Callable[[Path], str], folder: Path) -> tuple[float, int, str]:
    """Seconds, peak bytes of a process that does nothing else, and what it said."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measure, step.__name__, folder).result()


def _measure(name: str, folder: Path) -> tuple[float, int, str]:
    from importlib import import_module

    for module in MODULES:
        import_module(module)
    started = time.perf_counter()
    said = globals()[name](folder)
    seconds = time.perf_counter() - started
    return seconds, _peak(), said


def _peak() -> int:
    """Most bytes that this process ever held; getrusage would count what its parent held when it was started."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


# --- a server that speaks S3's listing -------------------------------------------------------------------------------


class _Listing(BaseHTTPRequestHandler):
    keys: int
    requests: "multiprocessing.sharedctypes.Synchronized[int]"
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with self.requests.get_lock():
            self.requests.value += 1
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        prefix = query.get("prefix", "")
        ending = {"train/": ".tar", "out/labels/": "-0123456789abcdef.parquet"}.get(prefix)
        start = int(query.get("continuation-token", "0"))
        stop = min(start + 1000, self.keys) if ending else 0
        entries = "".join(
            f"<Contents><Key>{prefix}{number:06d}{ending}</Key><Size>1024</Size>"
            f"<ETag>&quot;{number:032x}&quot;</ETag><StorageClass>STANDARD</StorageClass>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for number in range(start, stop)
        )
        more = stop < self.keys and ending is not None
        token = f"<NextContinuationToken>{stop}</NextContinuationToken>" if more else ""
        body = (
            f"<ListBucketResult><Name>shards</Name><Prefix>{prefix}</Prefix><KeyCount>{stop - start}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_HEAD(self) -> None:
        with self.requests.get_lock():
            self.requests.value += 1
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _serve(keys: int, requests: Any, told: Connection) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Listing,), {"keys": keys, "requests": requests}))
    told.send(server.server_port)
    server.serve_forever()


@contextmanager
def listing_server(keys: int) -> Iterator[Any]:
    """A server with so many keys in a process of its own, and how many requests it got; s3fs is led to it."""
    context = multiprocessing.get_context("spawn")
    requests = context.Value("q", 0)
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(keys, requests, there), daemon=True)
    process.start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{here.recv()}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield requests
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        process.kill()
        process.join()


def figures(shards: int, done: int) -> Iterator[tuple[str, float, int, str]]:
    """Each step's name, seconds, peak bytes, and what came out."""
    with tempfile.TemporaryDirectory(prefix="maskmill-scale-") as name:
        folder = Path(name)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            process.submit(make, folder, shards, done).result()
        for step, work in STEPS:
            yield (step, *measured(work, folder))
        with listing_server(shards) as requests:
            for step, work in STORE_STEPS:
                requests.value = 0
                seconds, peak, said = measured(work, folder)
                yield step, seconds, peak, f"{said}, {requests.value} requests"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=100_000)
    parser.add_argument("--done", type=int, default=99_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.json:
        print(f"{'step':<38} {'seconds':>8} {'peak MB':>8}  result")
    for step, seconds, peak, said in figures(arguments.shards, arguments.done):
        if arguments.json:
            print(json.dumps({"step": step, "seconds": round(seconds, 2), "peak_bytes": peak, "result": said}))
        else:
            print(f"{step:<38} {seconds:>8.1f} {peak / 1e6:>8.0f}  {said}", flush=True)


if __name__ == "__main__":
    main()
