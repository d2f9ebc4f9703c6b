"""A job on a cluster over a bucket through all that may befall it at once: nothing is lost, and the ledger says so."""

import io
import json
import os
import signal
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.synthesis.shards import synthesize
from tests.chaos.chaos_segmenter import HANGS, KILLS, POISONED, POISONS, marked
from tests.fault_proxy import Fault, FaultProxy, fault_proxy
from tests.jobs.conftest import ROOT, Ended, Running, Workplace
from tests.plain_run import write_tar
from tests.ray_nodes import LOOPBACK, RayNode, RayNodes, ray_nodes
from tests.s3_server import S3Server, moto_server

SHARDS, SAMPLES = 200, 4

BAD = {12: "crashed", 45: "stalled", 99: "truncated", 140: "checksum", 199: "missing"}
"""Shard -> the reason that its failure must have. The last one is deleted when the job has listed it."""

STALL_SECONDS = "6"

PATH = f"{ROOT / 'tests' / 'chaos'}{os.pathsep}{ROOT}"
"""PYTHONPATH of processes that know the model `chaos`."""

REPLICA = "MapBatches(Replica)"
"""In the title of a replica's process."""


def name(number: int) -> str:
    return f"scenes-{number:06d}"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A bucket with shards, a proxy before it, and a cluster of two nodes (and a head that takes no work)."""

    store: S3Server
    proxy: FaultProxy
    cluster: RayNodes
    workplace: Workplace

    def label(self, shards: str, out: str, *options: str) -> Running:
        return self.workplace.start(
            *("label", shards, "--output", self.store.url(out), "--model", "chaos"),
            *("--store", f"s3,endpoint={self.proxy.endpoint}", "--scratch", self.workplace.scratch),
            *("--replicas", "1:3", "--cpus-per-replica", "1", "--batch-size", "4", *options),
        )

    def labels(self, out: str) -> set[str]:
        """Label files that stand in the bucket."""
        pages = self.store.client().get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.store.bucket, Prefix=f"{out}/labels/")
        return {entry["Key"] for page in found for entry in page.get("Contents", [])}

    def replicas(self) -> list[int]:
        return [pid for node in self.cluster.nodes for pid in node.workers(REPLICA)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The shards as they were before anything was wrong with five of them."""
    paths = synthesize(tmp_path_factory.mktemp("shards"), SHARDS, SAMPLES, 11)
    return {f"in/{path.name}": path.read_bytes() for path in paths}


def with_image(tar: bytes, image: bytes, path: Path) -> bytes:
    """The shard with one image more, between its own."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    first = dict(list(members.items())[: len(members) // 2])
    return write_tar(path, {**first, "marked.png": image, **members}).read_bytes()


def without_its_end(tar: bytes) -> bytes:
    """The shard cut where a member ends: what is there is in order."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return tar[: archive.getmembers()[len(archive.getmembers()) // 2].offset]


@pytest.fixture
def place(workplace: Workplace, sound: dict[str, bytes], tmp_path: Path) -> Iterator[Place]:
    with moto_server() as store, fault_proxy(store.endpoint, seed=5) as proxy:
        # The endpoint isn't among them: it comes with --store, also to replicas.
        credentials = {key: value for key, value in store.environment().items() if key != "AWS_ENDPOINT_URL"}
        environment = {**credentials, "PYTHONPATH": PATH, "TMPDIR": str(workplace.scratch)}
        with ray_nodes(2, 2, environment=environment) as cluster:
            store.put_all(sound)
            own = {**workplace.environment, **environment, **cluster.driver()}
            yield Place(store=store, proxy=proxy, cluster=cluster, workplace=replace(workplace, environment=own))


def spoil(place: Place, sound: dict[str, bytes], folder: Path) -> None:
    """Make four shards bad, and the network worse."""

    def of(reason: str) -> str:
        return next(f"in/{name(number)}.tar" for number, word in BAD.items() if word == reason)

    place.store.put_all(
        {
            of("crashed"): with_image(sound[of("crashed")], marked(KILLS), folder / "kills.tar"),
            of("stalled"): with_image(sound[of("stalled")], marked(HANGS), folder / "hangs.tar"),
            of("truncated"): without_its_end(sound[of("truncated")]),
        }
    )
    place.proxy.faults += [
        Fault(kind="flip", keys=of("checksum"), methods=["GET"]),
        Fault(kind="slow_down", share=0.05),
    ]


def tables(place: Place, out: str) -> dict[str, pa.Table]:
    """Label file -> its rows."""
    found = place.store.objects(f"{out}/labels/")
    return {key.rsplit("/", 1)[-1]: pq.read_table(io.BytesIO(data)) for key, data in found.items()}


def failures(place: Place, out: str) -> dict[str, dict[str, object]]:
    """Shard -> what failed/ says of it."""
    found = place.store.objects(f"{out}/failed/")
    return {key.rsplit("/", 1)[-1][: len(name(0))]: json.loads(data) for key, data in found.items()}


def done(place: Place, out: str, count: int) -> Callable[[], bool]:
    return lambda: len(place.labels(out)) >= count


def kill_a_replica(place: Place) -> None:
    os.kill(place.replicas()[0], signal.SIGKILL)


def busy(nodes: list[RayNode]) -> RayNode:
    """The node with the most replicas."""
    return max(nodes, key=lambda node: len(node.workers(REPLICA)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_sound_shards_are_labeled_as_if_nothing_had_happened_and_bad_ones_say_why(
    place: Place, sound: dict[str, bytes], tmp_path: Path
) -> None:
    bad = {name(number): reason for number, reason in BAD.items()}
    good = [place.store.url(key) for key in sound if Path(key).stem not in bad]
    (tmp_path / "good.txt").write_text("\n".join(good))
    undisturbed = place.label(f"@{tmp_path / 'good.txt'}", "undisturbed").wait()
    assert undisturbed.code == 0, undisturbed.err
    for node in place.cluster.nodes:
        assert set() < node.listening() <= LOOPBACK

    spoil(place, sound, tmp_path)
    place.proxy.log.clear()
    started = time.monotonic()
    first, told = disturbed(place)
    seconds = time.monotonic() - started
    report(place, told, seconds, first)

    assert told.code == 1, told.err
    assert "Traceback" not in told.err
    mine, theirs = tables(place, "out"), tables(place, "undisturbed")
    assert len(theirs) == SHARDS - len(BAD)
    assert mine.keys() == theirs.keys()
    for file, table in mine.items():
        assert table.equals(theirs[file]), file
    reasons = {shard: str(record["error"]).partition(":")[0] for shard, record in failures(place, "out").items()}
    assert reasons == bad
    puts = Counter(entry.key for entry in place.proxy.of("out/labels/*", "PUT") if entry.status == 200)
    assert puts.keys() == place.labels("out")
    assert set(puts.values()) == {1}, "a label file was published twice"
    assert [entry.name for entry in place.workplace.scratch.iterdir() if entry.name.startswith("maskmill")] == []
    ledger(place)


def disturbed(place: Place) -> tuple[int, Ended]:
    """Two jobs by one command, with a worker, a driver and a node killed and a shard deleted: the second one's end.

    Returns:
        How many shards were done as the first job's driver was killed, and how the second one ended.
    """
    everything = place.store.url("in/*.tar")
    options = ("--stall-seconds", STALL_SECONDS)
    job = place.label(everything, "out", *options)
    job.until(done(place, "out", 5))
    kill_a_replica(place)
    job.until(done(place, "out", 40))
    job.kill()
    before = len(place.labels("out"))
    assert 40 <= before < SHARDS - len(BAD)

    job = place.label(everything, "out", *options)
    job.until(done(place, "out", before + 10))
    last = f"in/{name(max(BAD))}.tar"
    assert not place.proxy.of(last, "GET"), "it is to be deleted when it was listed and not yet read"
    place.store.client().delete_object(Bucket=place.store.bucket, Key=last)
    job.until(done(place, "out", before + 40))
    busy(place.cluster.nodes[1:]).kill()
    return before, job.wait()


def ledger(place: Place) -> None:
    """Status and the ledger tell the same: every shard that was asked for, once."""
    rows = pq.read_table(io.BytesIO(place.store.objects("out/ledger.parquet")["out/ledger.parquet"]))
    urls = rows["url"].to_pylist()
    assert sorted(urls) == sorted(place.store.url(f"in/{name(number)}.tar") for number in range(SHARDS))
    assert Counter(rows["state"].to_pylist()) == {"done": SHARDS - len(BAD), "failed": len(BAD)}
    place.proxy.faults.clear()
    options = ("--store", f"s3,endpoint={place.proxy.endpoint}", "--json")
    status = place.workplace.run("status", place.store.url("out"), *options)
    assert json.loads(status.out)["samples"]["labeled"] == SAMPLES * (SHARDS - len(BAD))
    verify = place.workplace.run("verify", place.store.url("out"), "--deep", *options)
    assert json.loads(verify.out)["problems"] == []


def report(place: Place, told: Ended, seconds: float, first: int) -> None:
    """Print what happened."""
    print(
        f"\n{SHARDS} shards x {SAMPLES} images, 2 nodes; {first} done as the driver was killed; {seconds:.0f} s in all"
    )
    print(f"requests {dict(place.proxy.requests())}")
    print(f"failed requests {dict(place.proxy.failed())}")
    refused = Counter(entry.key for entry in place.proxy.of("out/labels/*", "PUT") if entry.status == 412)
    print(f"label files put again and refused: {sum(refused.values())}")
    rows = pq.read_table(io.BytesIO(place.store.objects("out/ledger.parquet")["out/ledger.parquet"]))
    print(f"shards by attempts {dict(sorted(Counter(rows['attempts'].to_pylist()).items()))}")
    for shard, record in sorted(failures(place, "out").items()):
        print(f"{shard}: {record['error']} (attempts {record['attempts']})")
    print(told.out)
    print(told.err)


@pytest.mark.slow
def test_a_poisoned_device_restarts_its_replica_and_neither_ends_the_job_nor_fails_a_shard(
    workplace: Workplace, sound: dict[str, bytes]
) -> None:
    shards = workplace.cwd / "shards"
    shards.mkdir()
    for key, data in list(sound.items())[:12]:
        (shards / Path(key).name).write_bytes(data)
    poisonous = shards / f"{name(5)}.tar"
    with_image(poisonous.read_bytes(), marked(POISONS), poisonous)
    poisoned = workplace.cwd / "poisoned"
    place = replace(workplace, environment={**workplace.environment, "PYTHONPATH": PATH, POISONED: str(poisoned)})
    ended = place.run("label", "shards", "--output", "out", "--model", "chaos", "--cpus-per-replica", "1")
    assert (ended.code, ended.steps) == (0, ["starting Ray", "loading chaos"])
    assert poisoned.exists()
    rows = pq.read_table(workplace.cwd / "out" / "ledger.parquet")
    tried = dict(zip(rows["url"].to_pylist(), rows["attempts"].to_pylist(), strict=True))
    assert tried[str(poisonous)] == 2
    assert set(rows["state"].to_pylist()) == {"done"}
    assert not list((workplace.cwd / "out").glob("failed/*"))
