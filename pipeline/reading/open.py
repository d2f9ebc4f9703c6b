"""Opens a shard: spooled, checked, grouped. The one call that labeling makes to read."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from maskmill.pipeline.reading.archive import ArchiveReport, check_archive
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.samples import Sample, read_samples
from maskmill.pipeline.reading.spool import nothing, spooled
from maskmill.pipeline.shards.shard import Shard


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenShard:
    """A shard on local disk whose headers were checked."""

    report: ArchiveReport
    """What the walk over its headers found."""

    samples: Iterator[Sample] = field(repr=False)
    """Its samples, once, in order; read from disk as they are taken."""

    bytes: int
    """Size of the archive."""

    path: Path
    """Where it lies on local disk."""

    first_version: bool
    """Whether its members are grouped as the first version did."""


@contextmanager
def open_shard(
    shard: Shard,
    scratch: Path,
    limits: ReadLimits,
    *,
    extra: Collection[str] = (),
    first_version: bool = False,
    alive: Callable[[], None] = nothing,
) -> Iterator[OpenShard]:
    """A shard ready to be read; its scratch copy is gone when the context ends.

    Args:
        shard: as `pipeline.shards.shard.describe` gives it.
        scratch: an existing directory on a local disk.
        limits: what the shard and its samples may cost.
        extra: extensions of members to read beyond image and caption.
        first_version: group members as the first version did (`grouping.group`): how older label tables are read.
        alive: called, from another thread, whenever bytes of a download have arrived.

    Raises:
        ShardError: the shard cannot be had, or is not an archive that may be read. Taking samples raises it too.
    """
    with spooled(shard, scratch, alive=alive) as path:
        report = check_archive(path, limits)
        samples = read_samples(path, report, limits, extra=extra, first_version=first_version)
        yield OpenShard(report=report, samples=samples, bytes=report.bytes, path=path, first_version=first_version)
