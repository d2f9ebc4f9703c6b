"""Finds images with ground truth, in webdataset shards or in folders, and where their bytes lie. Decodes nothing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from maskmill.models.errors import UsageError
from maskmill.pipeline.reading.archive import check_archive
from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.grouping import Group, group
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.members import Member
from maskmill.pipeline.reading.samples import IMAGE_EXTENSIONS, image_of
from maskmill.pipeline.reading.spool import spooled
from maskmill.pipeline.shards.listing import hidden
from maskmill.pipeline.shards.planning import shards_of
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.truth.class_map import TruthIds

TRUTH_MEMBER = "seg.png"
"""Extension of the member that holds a sample's ground truth: a class id a pixel."""

NO_PAIRS = (
    "SHARDS: no sample has an image and ground truth. Expected KEY.jpg (or jpeg, png, webp) beside KEY.seg.png, or a "
    "folder with images/ and annotations/."
)
"""What is said where nothing was found."""

IMAGES, ANNOTATIONS = "images", "annotations"
"""The two folders of a data set in files: images/A/B.jpg has its class ids in annotations/A/B.png."""

Source = Shard | Path
"""Where pairs come from: a shard, or a folder that holds images/ and annotations/."""


@dataclass(frozen=True, slots=True)
class Span:
    """Some bytes of a local file."""

    path: str
    """The file."""

    offset: int
    """First byte."""

    size: int
    """How many."""

    def read(self) -> bytes:
        """The bytes.

        Raises:
            ShardError: read, if the disk fails; changed, if the file has become shorter.
        """
        try:
            with Path(self.path).open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise ShardError("read", f"{type(error).__name__}: {error.strerror}") from error
        if len(data) < self.size:
            raise ShardError("changed", f"{self.path} was cut while it was read")
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One image and its ground truth, both still bytes on disk."""

    source: str
    """Canonical URL of its shard, or its folder."""

    index: int
    """Position in the shard, counted over all samples as `label` counts them; in a folder, in sorted order."""

    key: str
    """webdataset's `__key__`; in a folder, the path below images/ without its ending."""

    image: Span
    """The image file."""

    truth: Span
    """The PNG of class ids."""

    ids: TruthIds = "vocabulary"
    """What its numbers are."""

    @property
    def stated(self) -> str:
        """What tells it from another, in one line."""
        return f"{self.source}\n{self.index}\n{self.key}\n{self.image.size}\n{self.truth.size}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """What a source holds."""

    source: str
    """Canonical URL of the shard, or the folder."""

    pairs: tuple[Pair, ...]
    """Images with ground truth, in order."""

    bare: int
    """Samples that lack an image or its ground truth; they are left out."""


def sources_of(arguments: Sequence[str]) -> list[Source]:
    """Shards and folders that arguments name.

    Raises:
        UsageError: none given, a pattern that matches nothing, a shard that isn't there.
        EnvironmentFailure: a store can't be listed.
    """
    if not arguments:
        raise UsageError("SHARDS: none given. Expected tar files, globs, or a folder with images/ and annotations/.")
    found: list[Source] = []
    for argument in arguments:
        folder = Path(argument)
        if (folder / IMAGES).is_dir() and (folder / ANNOTATIONS).is_dir():
            found.append(folder)
        else:
            found.extend(shards_of([argument], limit=None))
    for source in found:
        if isinstance(source, Shard) and source.missing:
            raise UsageError(f"{source.url}: no such shard. Check the name.")
    return list(dict.fromkeys(found))


@contextmanager
def open_pairs(
    source: Source,
    scratch: Path,
    limits: ReadLimits,
    *,
    ids: TruthIds = "vocabulary",
    first_version: bool = False,
) -> Iterator[Pairs]:
    """A source's pairs, readable for as long as the context lasts; a shard in a store is copied to `scratch`.

    Args:
        source: a shard or a folder.
        scratch: an existing local folder.
        limits: what a shard may cost.
        ids: what the numbers of its ground truth are.
        first_version: group a shard's members as the first version did, whose label table these are held against.

    Raises:
        UsageError: the shard can't be had, or is not an archive that may be read; also when the pairs are read.
    """
    try:
        if isinstance(source, Path):
            yield _of_folder(source, ids)
        else:
            with spooled(source, scratch) as path:
                groups = group(check_archive(path, limits), first_version=first_version)
                yield _of_shard(source, path, groups, limits, ids)
    except ShardError as error:
        name = source if isinstance(source, Path) else source.url
        raise UsageError(f"{name}: can't be read: {error}. Mend it, or leave it out.") from error


def _of_shard(shard: Shard, path: Path, groups: Sequence[Group], limits: ReadLimits, ids: TruthIds) -> Pairs:
    found = []
    for index, sample in enumerate(groups):
        image = image_of(sample.members, limits)
        truth = sample.members.get(TRUTH_MEMBER)
        if truth is not None and truth.fault is not None:
            raise UsageError(f"{shard.url}: {truth.name[:80]!r}: {truth.fault.detail}. Pack the file itself.")
        if image is not None and truth is not None and image.fault is None and truth.fault is None:
            spans = _span(path, image), _span(path, truth)
            found.append(Pair(source=shard.url, index=index, key=sample.key, image=spans[0], truth=spans[1], ids=ids))
    return Pairs(source=shard.url, pairs=tuple(found), bare=len(groups) - len(found))


def _span(path: Path, member: Member) -> Span:
    return Span(str(path), member.offset, member.size)


def _of_folder(folder: Path, ids: TruthIds) -> Pairs:
    images = sorted(
        path
        for path in (folder / IMAGES).rglob("*")
        if path.suffix.lower().removeprefix(".") in IMAGE_EXTENSIONS
        and not any(map(hidden, path.relative_to(folder / IMAGES).parts))
        and path.is_file()
    )
    found = []
    for index, image in enumerate(images):
        below = image.relative_to(folder / IMAGES).with_suffix("")
        truth = folder / ANNOTATIONS / f"{below}.png"
        if truth.is_file():
            spans = _whole(image), _whole(truth)
            pair = Pair(source=str(folder), index=index, key=str(below), image=spans[0], truth=spans[1], ids=ids)
            found.append(pair)
    return Pairs(source=str(folder), pairs=tuple(found), bare=len(images) - len(found))


def _whole(path: Path) -> Span:
    return Span(str(path), 0, path.stat().st_size)
