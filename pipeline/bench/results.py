"""What a bench found, as data, as JSON and back. How it is laid out for reading is pipeline/bench/table.py's."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from maskmill.models.errors import UsageError

FORMAT = 1
"""Version of the JSON; raised when a field changes its meaning."""

MAX_BYTES = 1 << 24
"""Largest file that is read as a bench's JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FloorRow:
    """A rate of the machine."""

    name: str
    """product (floating point operations), copy or upload (bytes)."""

    device: str
    """cpu or cuda."""

    rate: float
    """A second, at the median."""

    seconds: float
    """Of one product or copy, the median."""

    low: float
    """A quarter of the runs took less, seconds."""

    high: float
    """A quarter of the runs took more, seconds."""

    runs: int
    """How many runs these are of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One part."""

    part: str
    """Its name, the same in every bench."""

    images: int
    """Images in one run."""

    seconds: float
    """Of one run, the median."""

    low: float
    """A quarter of the runs took less, seconds."""

    high: float
    """A quarter of the runs took more, seconds."""

    runs: int
    """How many runs these are of."""

    gmac: float | None = None
    """10^9 multiply-accumulates of one image in the published form; None where the part is no matrix product."""

    utilisation: float | None = None
    """Share of the measured product rate that these are; None without them or without a floor."""

    cpu_seconds: float | None = None
    """CPU time of one image over all threads, the median; None where it wasn't taken."""

    peak_bytes: int | None = None
    """Memory at the peak: of PyTorch on a GPU, else of the process, all that it holds included."""

    bytes_read: int | None = None
    """Bytes of shards that one run reads; None where it reads none."""

    bytes_written: int | None = None
    """Bytes of label files that one run writes; None where it writes none."""

    share: float | None = None
    """Images/s over those of the model alone on the same batches, both measured by turns; None where that wasn't."""

    around: float | None = None
    """CPU time beyond the model's own over all that the threads could have had: what decoding and the rest took."""

    note: str = ""
    """What else there is to say."""

    @property
    def rate(self) -> float:
        """Images/s at the median."""
        return self.images / self.seconds


_TimedRow = TypeVar("_TimedRow", FloorRow, Row)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaPeak:
    """Memory of a replica that labeled one shard, in a process of its own."""

    samples: int
    """Samples of the shard."""

    peak_bytes: int
    """The process's resident memory at its peak."""

    device_bytes: int | None
    """What PyTorch held on the GPU at its peak; None without one."""

    arrow_bytes: int | None = None
    """What Arrow held of it at its peak: rows that wait until their row group is full, and what writes them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MixBatches:
    """What became of the images of one shard of a made-up mix of sizes (pipeline/bench/mix.py)."""

    samples: int
    """Images of the shard."""

    batch_size: int
    """Images in a full batch."""

    sizes: int
    """Padded sizes that came."""

    batches: int
    """Batches that were made."""

    padding: float
    """Share of their pixels that is padding."""

    early: float
    """Share of the images that left in a batch that wasn't full before the shard's end."""

    last: float
    """Share of the images that the shard's end left in a batch that wasn't full."""

    empty: float
    """Images that would have filled the batches, over those there were."""

    waiting_bytes: int
    """Most bytes of pixels that waited for company at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Feeding:
    """What it takes to keep a GPU busy."""

    per_core: float
    """Images/s that a core decodes, resizes, encodes and writes, by CPU time."""

    model_rate: float | None
    """Images/s of the model with its segments, as measured here; None where it wasn't."""

    model_cores: float | None
    """Cores that such a device needs."""

    gpu_rate: float
    """Images/s of an assumed GPU (--gpu-rate)."""

    gpu_cores: float
    """Cores that it needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """All that one bench found."""

    machine: Mapping[str, Any]
    """Processor, cores, memory, GPU, system."""

    versions: Mapping[str, str]
    """Of what computes."""

    settings: Mapping[str, Any]
    """The options, with defaults filled in."""

    notes: tuple[str, ...] = ()
    """What a reader of the numbers has to know."""

    floor: tuple[FloorRow, ...] = ()
    """The machine's own rates."""

    rows: tuple[Row, ...] = ()
    """The parts."""

    feeding: Feeding | None = None
    """None where it wasn't measured."""

    replicas: tuple[ReplicaPeak, ...] = ()
    """Memory at shard sizes."""

    mixes: tuple[MixBatches, ...] = ()
    """Batches of a made-up mix of image sizes."""

    def row(self, part: str) -> Row | None:
        """The part of this name, where it was measured."""
        return next((row for row in self.rows if row.part == part), None)

    def to_json(self) -> str:
        """One JSON object; rates are in it for those who read no Python."""
        data = {"format": FORMAT, **asdict(self)}
        for row, told in zip(self.rows, data["rows"], strict=True):
            told["images_per_second"] = row.rate
        return json.dumps(data, indent=1) + "\n"

    @classmethod
    def read(cls, path: str | Path, option: str) -> "Bench":
        """A bench from its file.

        Args:
            path: a local file.
            option: what named it, for errors.

        Raises:
            UsageError: no such file, or not what `maskmill bench -o` writes.
        """
        place = Path(path)
        what = f"{option} {str(path)!r}"
        try:
            if place.stat().st_size > MAX_BYTES:
                raise UsageError(f"{what}: larger than {MAX_BYTES:,} bytes. Name what `maskmill bench -o` wrote.")
            data = json.loads(place.read_bytes())
        except OSError as error:
            raise UsageError(
                f"{what}: can't be read ({error.strerror}). Name what `maskmill bench -o` wrote."
            ) from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{what}: not JSON. Name what `maskmill bench -o` wrote.") from error
        try:
            return cls._parsed(data)
        except (TypeError, KeyError, ValueError) as error:
            raise UsageError(
                f"{what}: not the JSON of a bench of format {FORMAT} ({error}). Name what `maskmill bench -o` wrote."
            ) from error

    @classmethod
    def _parsed(cls, data: Any) -> "Bench":
        if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
            raise ValueError("its format is another")
        rows = []
        for told in data["rows"]:
            told.pop("images_per_second", None)
            rows.append(_timed(Row(**told)))
        feeding = data["feeding"] and Feeding(**data["feeding"])
        if feeding is not None:
            _positive(feeding.per_core)
            if feeding.model_rate is not None:
                _positive(feeding.model_rate)
        for name in ("machine", "versions", "settings"):
            if not isinstance(data[name], dict):
                raise TypeError(f"{name} is no object")
        return cls(
            machine=data["machine"],
            versions=data["versions"],
            settings=data["settings"],
            notes=tuple(str(note) for note in data["notes"]),
            floor=tuple(_timed(FloorRow(**told)) for told in data["floor"]),
            rows=tuple(rows),
            feeding=feeding,
            replicas=tuple(ReplicaPeak(**told) for told in data["replicas"]),
            mixes=tuple(MixBatches(**told) for told in data.get("mixes", ())),
        )


def _timed(row: _TimedRow) -> _TimedRow:
    """The row, if what is divided by is a number above 0."""
    _positive(row.seconds)
    _positive(row.images if isinstance(row, Row) else row.rate)
    return row


def _positive(value: Any) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{value!r} instead of a number above 0")
