"""The numbers that a plan is reckoned from, each given, measured or assumed. The reckoning is plan.py's."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from maskmill.models.errors import UsageError

if TYPE_CHECKING:
    from maskmill.pipeline.bench.results import Bench, Row

Origin = Literal["given", "measured", "assumed"]
"""Where a number comes from: the command line, a bench, or nothing better than a guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanConfig:
    """What the job is and what it runs on; what is left out comes from a bench, or is assumed and said to be."""

    images_per_shard: int | None = None
    """Images in a shard. Default: 10000."""

    rate: float | None = None
    """Images/s of one GPU, with its segments. Default: the bench's."""

    kept_rate: float | None = None
    """Share of that rate that whole shards keep. Default: the bench's, else 0.95."""

    core_rate: float | None = None
    """Images/s that one core decodes, resizes, encodes and writes. Default: the bench's."""

    cores_per_gpu: int | None = None
    """Cores that feed each GPU. Default: 16."""

    image_bytes: float | None = None
    """Bytes of shard that an image takes. Default: the bench's, else 250000."""

    label_bytes: float | None = None
    """Bytes of label file that an image makes. Default: the bench's, else 5000."""

    gbit_per_gpu: float | None = None
    """Network of each GPU's machine, Gbit/s each way, as a share for one GPU. Default: 10."""

    reads_per_second: float | None = None
    """Requests/s that the store answers for one prefix, reading. Default: 5500, as Amazon documents for S3."""

    writes_per_second: float | None = None
    """The same for writing. Default: 3500, as Amazon documents for S3."""

    price_gpu_hour: float | None = None
    """Price of a GPU for an hour, its machine included."""

    price_1000_reads: float | None = None
    """Price of 1,000 requests that read."""

    price_1000_writes: float | None = None
    """Price of 1,000 requests that write or list."""

    price_gb_read: float | None = None
    """Price of reading 10^9 bytes from the store: transfer, where there is one."""

    price_gb_month: float | None = None
    """Price of keeping 10^9 bytes of labels for a month."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is None:
                continue
            option = f"--{name.replace('_', '-')}"
            if not math.isfinite(value) or value < 0 or (value == 0 and not name.startswith("price")):
                raise UsageError(f"{option} {value}: expected a number above 0.")
        if self.kept_rate is not None and self.kept_rate > 1:
            raise UsageError(f"--kept-rate {self.kept_rate}: expected a share, above 0 and up to 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """A number that the plan is reckoned from."""

    name: str
    """What it is."""

    value: float
    """The number."""

    unit: str
    """Its unit."""

    origin: Origin
    """Where it comes from."""

    source: str = ""
    """Part of the bench, or why it is assumed."""


class _Known(NamedTuple):
    """A number and where it is from."""

    value: float
    source: str


def inputs_of(config: PlanConfig, bench: "Bench | None") -> dict[str, Input]:
    """All numbers that are known, by their option in `PlanConfig`.

    Raises:
        UsageError: there is no rate of a GPU.
    """
    return _Inputs(config, bench).all()


class _Inputs:
    """Each number once: what the command line gives goes before what a bench measured, and that before a guess."""

    def __init__(self, config: PlanConfig, bench: "Bench | None") -> None:
        self._config, self._bench = config, bench
        self._found: dict[str, Input] = {}

    def all(self) -> dict[str, Input]:
        """All that are known, by their option."""
        self._rates()
        self._bytes()
        self._take(
            "cores_per_gpu", "cores for each GPU", "cores", assumed=_Known(16.0, "an eighth of a machine of 8 GPUs")
        )
        self._take("gbit_per_gpu", "network for each GPU", "Gbit/s", assumed=_Known(10.0, "a share of 80 Gbit/s for 8"))
        documented = "one prefix of Amazon S3, as documented"
        self._take("reads_per_second", "store, reading", "requests/s", assumed=_Known(5500.0, documented))
        self._take("writes_per_second", "store, writing", "requests/s", assumed=_Known(3500.0, documented))
        self._take(
            "images_per_shard", "a shard", "images", assumed=_Known(10_000.0, "a common size of webdataset shards")
        )
        return self._found

    def _rates(self) -> None:
        model = self._row("model at shard's size") or self._row("model + segments")
        # A bench with --windows is one of a job with windows; its whole shards are without them, as is what they keep.
        labels = self._row("windows at shard's size") or self._row("model + windows") or model
        rate = None if labels is None else _Known(labels.rate, self._told(labels))
        self._take("rate", "a GPU", "images/s", measured=rate)
        if "rate" not in self._found:
            raise UsageError("--rate: none given, and no --bench that measured the model. Give images/s of one GPU.")
        shard = self._row("shard")
        kept = None
        if shard is not None and model is not None and self._config.rate is None:
            kept = _Known(min(1.0, shard.rate / model.rate), f"{shard.part!r} over {model.part!r}")
        self._take("kept_rate", "kept of it by whole shards", "", measured=kept, assumed=_Known(0.95, "the aim"))
        feeding = self._bench.feeding if self._bench is not None else None
        fed = None if feeding is None else _Known(feeding.per_core, self._told(self._row("feeding")))
        self._take("core_rate", "a core that feeds", "images/s", measured=fed)

    def _bytes(self) -> None:
        read = self._row("shard") or self._row("read")
        written = self._row("shard") or self._row("write")
        size = labels = None
        if read is not None and read.bytes_read:
            size = _Known(read.bytes_read / read.images, self._told(read))
        if written is not None and written.bytes_written:
            labels = _Known(written.bytes_written / written.images, self._told(written))
        self._take(
            "image_bytes", "an image in its shard", "bytes", measured=size, assumed=_Known(250e3, "1280 x 960 JPEG")
        )
        self._take("label_bytes", "its labels", "bytes", measured=labels, assumed=_Known(5e3, "ten segments"))

    def _take(
        self,
        option: str,
        name: str,
        unit: str,
        *,
        measured: "_Known | None" = None,
        assumed: "_Known | None" = None,
    ) -> None:
        """The best that is known of one number, if anything is."""
        given: float | None = getattr(self._config, option)
        known: tuple[tuple[Origin, _Known | None], ...] = (
            ("given", None if given is None else _Known(float(given), "")),
            ("measured", measured),
            ("assumed", assumed),
        )
        for origin, one in known:
            if one is not None:
                self._found[option] = Input(name=name, value=one.value, unit=unit, origin=origin, source=one.source)
                return

    def _row(self, part: str) -> "Row | None":
        return None if self._bench is None else self._bench.row(part)

    def _told(self, row: "Row | None") -> str:
        """Which part of the bench, and what it ran on."""
        if row is None or self._bench is None:
            return "the bench"
        where = self._bench.machine.get("gpu") or f"{self._bench.machine.get('cores')} cores, no GPU"
        told = self._bench.settings
        return f"{row.part!r} of {told.get('model')}, {told.get('dtype')}, on {where}"
