"""Reckons a large job from rates: GPU-hours, days, bytes, requests, cost, and what holds it up. It measures nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from maskmill.models.errors import UsageError
from maskmill.pipeline.capacity.inputs import Input, PlanConfig, inputs_of

if TYPE_CHECKING:
    from maskmill.pipeline.bench.results import Bench

READS_A_SHARD = 5
"""GET and HEAD of a shard, the same of run.json before its label file is published, and HEAD of the label file after
the PUT; counted in tests/pipeline/capacity/test_plan.py."""

WRITES_A_SHARD = 1
"""PUT of its label file. One larger than 100 MB goes up in parts of 50 MB, each a request more."""

LISTED_AT_ONCE = 1000
"""Names in one answer to a listing."""

MONTH_HOURS = 730.0
"""Hours of a month, as stores and clouds count them."""


CORES = "cores that feed it"
"""Name of a resource that only a bench or the user knows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """Something that every image takes a share of."""

    name: str
    """GPU, cores that feed it, network in, network out, store reads, store writes."""

    limit: float
    """Images/s that it allows the whole job."""

    used: float
    """Share of it that the job uses at its speed; 1 is the bottleneck."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A job, reckoned."""

    images: int
    """Images to label."""

    gpus: int
    """GPUs that label."""

    inputs: tuple[Input, ...]
    """What it is reckoned from."""

    shards: int
    """Shards."""

    speed: float
    """Images/s of the whole job."""

    gpu_hours: float
    """GPUs times hours."""

    days: float
    """From the first image to the last, with nothing lost to failures or waiting."""

    bytes_read: float
    """Of shards."""

    bytes_written: float
    """Of label files."""

    reads: int
    """Requests that read: GET and HEAD."""

    writes: int
    """Requests that write or list: PUT and LIST."""

    resources: tuple[Resource, ...]
    """The one that holds the job up first, then the others by how near they are."""

    costs: Mapping[str, float]
    """By what is paid for, where a price was given; label files are kept one month."""

    @property
    def bottleneck(self) -> Resource:
        """What holds the job up."""
        return self.resources[0]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self) | {"bottleneck": self.bottleneck.name, "cost": sum(self.costs.values())}


def plan(images: int, gpus: int, config: PlanConfig, bench: "Bench | None" = None) -> Plan:
    """Reckon a job.

    Args:
        images: images to label.
        gpus: GPUs that label.
        config: the rest.
        bench: what was measured, if anything.

    Raises:
        UsageError: a number that makes no sense, or one that is neither given nor measured and that nobody can assume.
    """
    for option, value in (("--images", images), ("--gpus", gpus)):
        if value < 1:
            raise UsageError(f"{option} {value}: expected 1 or more.")
    inputs = inputs_of(config, bench)
    known = {option: one.value for option, one in inputs.items()}
    a_shard = int(known["images_per_shard"])
    shards = -(-images // a_shard)
    reads = shards * READS_A_SHARD
    writes = shards * WRITES_A_SHARD + -(-shards // LISTED_AT_ONCE)
    byte_rate = gpus * known["gbit_per_gpu"] * 1e9 / 8
    limits = {
        "GPU": gpus * known["rate"] * known["kept_rate"],
        "network in": byte_rate / known["image_bytes"],
        "network out": byte_rate / known["label_bytes"],
        "store reads": known["reads_per_second"] * a_shard / READS_A_SHARD,
        "store writes": known["writes_per_second"] * a_shard / WRITES_A_SHARD,
    }
    if "core_rate" in known:
        limits[CORES] = gpus * known["cores_per_gpu"] * known["core_rate"]
    speed = min(limits.values())
    hours = images / speed / 3600
    bytes_read, bytes_written = images * known["image_bytes"], images * known["label_bytes"]
    amounts = {
        "GPU-hours": (gpus * hours, config.price_gpu_hour),
        "requests that read": (reads / 1000, config.price_1000_reads),
        "requests that write": (writes / 1000, config.price_1000_writes),
        "bytes read": (bytes_read / 1e9, config.price_gb_read),
        "a month of labels": (bytes_written / 1e9, config.price_gb_month),
    }
    return Plan(
        images=images,
        gpus=gpus,
        inputs=tuple(inputs.values()),
        shards=shards,
        speed=speed,
        gpu_hours=gpus * hours,
        days=hours / 24,
        bytes_read=bytes_read,
        bytes_written=bytes_written,
        reads=reads,
        writes=writes,
        resources=tuple(
            Resource(name=name, limit=limit, used=speed / limit)
            for name, limit in sorted(limits.items(), key=lambda pair: pair[1])
        ),
        costs={what: amount * price for what, (amount, price) in amounts.items() if price is not None},
    )


def lines(found: Plan) -> list[str]:
    """A plan as lines of text: what it is reckoned from first."""
    told = [f"{found.images:,} images on {found.gpus:,} GPUs", "", "from"]
    width = max(len(one.name) for one in found.inputs)
    for one in found.inputs:
        number = f"{one.value:,.3g}" if one.value < 10 else f"{one.value:,.0f}"
        source = f": {one.source}" if one.source else ""
        told.append(f"  {one.name.ljust(width)}  {number:>10} {one.unit:<10}  {one.origin}{source}")
    rows = [
        ("speed", f"{found.speed:,.0f} images/s"),
        ("time", f"{found.days:,.1f} days, if nothing fails and nothing waits"),
        ("GPU-hours", f"{found.gpu_hours:,.0f}"),
        ("shards", f"{found.shards:,}"),
        ("read", f"{_size(found.bytes_read)}, {found.reads:,} requests (GET, HEAD)"),
        ("written", f"{_size(found.bytes_written)}, {found.writes:,} requests (PUT, LIST)"),
    ]
    told += ["", "comes", *(f"  {name:<10} {value}" for name, value in rows)]
    told += ["", "limits, the bottleneck first"]
    told += [f"  {one.name:<20} {one.limit:>16,.0f} images/s  {one.used:>6.1%} used" for one in found.resources]
    if not any(one.name == CORES for one in found.resources):
        told.append(f"  {CORES:<20} {'unknown':>16}           (--core-rate, or a bench that measured feeding)")
    if found.costs:
        told += ["", "cost, at the prices given"]
        told += [f"  {what:<20} {cost:>16,.2f}" for what, cost in found.costs.items()]
        told.append(f"  {'together':<20} {sum(found.costs.values()):>16,.2f}")
    return told


def _size(count: float) -> str:
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if count >= scale:
            return f"{count / scale:,.2f} {unit}"
    return f"{count / 1e6:,.2f} MB"
