"""What replicas tell Prometheus, through Ray's agent on each machine; the ledger, not this, is the record of a run.

Seen with Ray 2.60, and the reasons for what stands here:
- the agent puts `ray_` before a name, and `_total` behind a counter's;
- a gauge is forgotten after two of the agent's intervals (20 s) unless it is set again, also where its process lives;
- a histogram's buckets are right, its sum is made up from their middles: true seconds are a counter of their own;
- what a process counted after its last report (10 s) is lost if it is killed.
"""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ray.util.metrics import Counter, Gauge, Histogram

from maskmill.pipeline.ledger.ledger import PHASES, LedgerRow
from maskmill.pipeline.reading.errors import SAMPLE_REASONS, SHARD_REASONS

REFRESH_SECONDS = 4.0
"""Time between settings of the gauges; a few times in each of the agent's intervals, or they go missing."""

OTHER = "other"
"""Reason of a failure whose word is none of ours, so that no text of a shard becomes a series."""

_FIRST = 5e-324
"""Added to each counter at the start, as Ray refuses 0 and 1 + this is 1: a series that begins with its first failure
shows no increase to Prometheus."""

Tags = Mapping[str, str]

_NONE: Tags = MappingProxyType({})


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """One metric: its name and every series that a process may have of it."""

    name: str
    """Name as Ray is told it."""

    kind: Literal["counter", "gauge", "histogram"]
    """A counter only grows, a gauge is as it is now, a histogram counts by size."""

    help: str
    """What it counts, with its unit."""

    series: tuple[Tags, ...] = ({},)
    """All sets of tags that it can have; each process adds a WorkerId, which is Ray's."""

    boundaries: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""

    @property
    def tag_keys(self) -> tuple[str, ...]:
        """Names of the tags, the same for each series."""
        return tuple(self.series[0])

    @property
    def exported(self) -> tuple[str, ...]:
        """The names that Prometheus sees and that can be relied on: a histogram's sum is none of them."""
        name = f"ray_{self.name}"
        if self.kind == "counter":
            return (f"{name}_total",)
        return (name,) if self.kind == "gauge" else (f"{name}_bucket", f"{name}_count")


def _states(well: str, reasons: Collection[str]) -> tuple[Tags, ...]:
    failed = ({"state": "failed", "reason": reason} for reason in (*reasons, OTHER))
    return ({"state": well, "reason": ""}, *failed)


_PHASES = tuple({"phase": phase} for phase in PHASES)

IMAGES = Metric(
    name="maskmill_images",
    kind="counter",
    help="Samples of shards that ended, labeled or failed, with its reason; a shard tried again counts again.",
    series=_states("labeled", SAMPLE_REASONS),
)
SHARDS = Metric(
    name="maskmill_shards",
    kind="counter",
    help="Shards that ended, done or failed, with its reason; one that is tried again counts again.",
    series=_states("done", SHARD_REASONS),
)
SEGMENTS = Metric(name="maskmill_segments", kind="counter", help="Segments in labeled samples.")
READ_BYTES = Metric(
    name="maskmill_read_bytes", kind="counter", help="Bytes of the shards whose samples were read, each counted once."
)
WRITTEN_BYTES = Metric(name="maskmill_written_bytes", kind="counter", help="Bytes of published label files.")
PHASE_SECONDS = Metric(
    name="maskmill_phase_seconds",
    kind="counter",
    help="Seconds spent by phase; phases overlap, and decoding is summed over threads.",
    series=_PHASES,
)
SHARD_SECONDS = Metric(
    name="maskmill_shard_seconds",
    kind="histogram",
    help="Seconds of one shard in each phase; its sum is Ray's estimate, maskmill_phase_seconds has the true one.",
    series=_PHASES,
    # From a small label file's publishing to a large shard of the large model on a CPU.
    boundaries=(0.1, 0.3, 1, 3, 10, 20, 40, 60, 120, 300, 600, 1800, 3600),
)
SHARDS_IN_FLIGHT = Metric(
    name="maskmill_shards_in_flight", kind="gauge", help="Shards that the replica works on at this moment."
)
REPLICAS = Metric(
    name="maskmill_replicas",
    kind="gauge",
    help="1 for the state that the replica is in, 0 for the other: busy with a shard, or idle (loading, waiting).",
    series=({"state": "busy"}, {"state": "idle"}),
)

TABLE = (
    IMAGES,
    SHARDS,
    SEGMENTS,
    READ_BYTES,
    WRITTEN_BYTES,
    PHASE_SECONDS,
    SHARD_SECONDS,
    SHARDS_IN_FLIGHT,
    REPLICAS,
)
"""Every metric there is. The dashboard and the alerts in infra/ use these names and a test holds them to it."""


class ShardMetrics:
    """Counts shards that ended, in the process where it is made: a replica's, or the driver's for what it ends itself
    (a shard whose process died)."""

    def __init__(self) -> None:
        self._counters = {metric.name: _counter(metric) for metric in TABLE if metric.kind == "counter"}
        self._seconds = Histogram(
            SHARD_SECONDS.name, SHARD_SECONDS.help, list(SHARD_SECONDS.boundaries), SHARD_SECONDS.tag_keys
        )

    def add(self, row: LedgerRow) -> None:
        """Count one shard that ended."""
        counts = row.counts
        self._add(SHARDS, 1, {"state": row.state, "reason": _word(row.reason, SHARD_REASONS)})
        self._add(IMAGES, counts.labeled, {"state": "labeled", "reason": ""})
        for reason, images in counts.failed.items():
            self._add(IMAGES, images, {"state": "failed", "reason": _word(reason, SAMPLE_REASONS)})
        self._add(SEGMENTS, counts.segments)
        self._add(READ_BYTES, (row.size or 0) if row.state == "done" or counts.read else 0)
        self._add(WRITTEN_BYTES, (row.bytes or 0) if row.state == "done" else 0)
        for phase, seconds in (row.seconds or {}).items():
            if seconds > 0:
                self._add(PHASE_SECONDS, seconds, {"phase": phase})
                self._seconds.observe(seconds, {"phase": phase})

    def _add(self, metric: Metric, value: float, tags: Tags = _NONE) -> None:
        if value > 0:
            self._counters[metric.name].inc(value, dict(tags))


class ReplicaMetrics:
    """What one replica counts, and whether it is busy; any of its threads may call it."""

    def __init__(self, *, refresh: float = REFRESH_SECONDS) -> None:
        self._shards = ShardMetrics()
        self._flight = Gauge(SHARDS_IN_FLIGHT.name, SHARDS_IN_FLIGHT.help, SHARDS_IN_FLIGHT.tag_keys)
        self._replicas = Gauge(REPLICAS.name, REPLICAS.help, REPLICAS.tag_keys)
        self._in_flight = 0
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._show()
        threading.Thread(target=self._refresh, args=(refresh,), name="metrics", daemon=True).start()

    def began(self) -> None:
        """A shard's labeling begins; `ended` follows whatever becomes of it."""
        with self._lock:
            self._in_flight += 1
            self._show()

    def ended(self, row: LedgerRow) -> None:
        """A shard's labeling ended, with this row."""
        with self._lock:
            self._in_flight -= 1
            self._show()
        self._shards.add(row)

    def close(self) -> None:
        """Stop showing the gauges; a replica's process just ends."""
        self._closed.set()

    def _refresh(self, seconds: float) -> None:
        while not self._closed.wait(seconds):
            with self._lock:
                self._show()

    def _show(self) -> None:
        busy = self._in_flight > 0
        self._flight.set(self._in_flight)
        self._replicas.set(int(busy), {"state": "busy"})
        self._replicas.set(int(not busy), {"state": "idle"})


def _counter(metric: Metric) -> Counter:
    counter = Counter(metric.name, metric.help, metric.tag_keys)
    for tags in metric.series:
        counter.inc(_FIRST, dict(tags))
    return counter


def _word(reason: str | None, known: Collection[str]) -> str:
    if reason is None:
        return ""
    return reason if reason in known else OTHER
