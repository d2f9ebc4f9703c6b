"""DEST of a compaction: what may stand there, what of it is kept, and that it holds in the end what was put there."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.compaction.sealing import Part, digest_of
from maskmill.pipeline.output import LABEL_SUFFIX, Output
from maskmill.pipeline.stores.publish import is_local, names
from maskmill.pipeline.stores.ranged import open_whole
from maskmill.pipeline.stores.urls import canonical, filesystem, redact
from maskmill.pipeline.table.footer import FooterError
from maskmill.pipeline.table.label_table import SEALED_FILE
from maskmill.pipeline.table.parquet_check import check_parquet
from maskmill.pipeline.table.sealed import check_sealed

_UNFINISHED = {"labels", "manifest", "vocabulary.parquet", "ledger.parquet"}
"""What an interrupted compaction may have left; run.json is not among it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """A published label file."""

    size: int
    """Bytes."""

    sha256: str
    """Of its bytes, in hexadecimal."""


def file_name(number: int) -> str:
    """Name of a sealed table's label file below labels/."""
    return f"part-{number:06d}{LABEL_SUFFIX}"


def refuse_nested(source: Output, target: Output) -> None:
    """Check that neither place lies in the other.

    Raises:
        UsageError: one does.
    """
    # A link may lead from one into the other.
    here, there = (
        str(Path(place.url).resolve()) if is_local(place.url) else canonical(place.url) for place in (source, target)
    )
    if f"{there}/".startswith(f"{here}/") or f"{here}/".startswith(f"{there}/"):
        raise UsageError(
            f"DEST {redact(target.url)}: is {redact(source.url)}, lies in it, or holds it. Name a place beside it."
        )


def standing_files(target: Output, files: int) -> set[int]:
    """Numbers of the label files that stand in the target; it holds nothing that this call would not write.

    Raises:
        UsageError: it does.
    """
    found = set(names(target.url))
    labels = [name.removesuffix(LABEL_SUFFIX) for name in target.label_files()]
    if found - _UNFINISHED or any(SEALED_FILE.fullmatch(name) is None for name in labels):
        what = "a sealed table already" if "run.json" in found else "not empty"
        raise UsageError(f"DEST {redact(target.url)}: {what}. Name an empty place, or remove it.")
    numbers = {int(name.removeprefix("part-")) for name in labels}
    if max(numbers, default=-1) >= files:
        raise UsageError(
            f"DEST {redact(target.url)}: holds an unfinished table with more files, from another --file-size or "
            "another run. Remove it."
        )
    return numbers


def file_if_same(url: str, part: Part) -> File | None:
    """The label file that an interrupted call published for the very same rows; None if it isn't that.

    All of it is read and checked: the checksum that the ledger will hold must be that of a sound file.

    Raises:
        UsageError: it is a file of another run.
    """
    try:
        with open_whole(url) as (file, checksum):
            footer = check_sealed(file)
            if footer.fingerprint != part.fingerprint:
                raise UsageError(f"{redact(url)}: an unfinished table of another run. Remove it, or name another DEST.")
            sound = part.stands_in(footer) and digest_of(file) == footer.rows_sha256
            if not sound or check_parquet(file) is not None:
                return None
            return File(size=file.seek(0, 2), sha256=checksum)
    except (FooterError, FileNotFoundError, pa.ArrowException, OSError, ValueError):
        return None


def another_compact(url: str) -> EnvironmentFailure:
    """The error of a call that found a file of another one where it was to put its own."""
    return EnvironmentFailure(
        f"{redact(url)}: another `compact` has put it there meanwhile. Name another DEST, or wait until that has ended."
    )


def check_published(target: Output, sizes: list[int]) -> None:
    """Check that every file stands there with its bytes, and no other one.

    Raises:
        EnvironmentFailure: one doesn't, or another one does.
    """
    fs, _ = filesystem(target.url)
    expected = {file_name(number): size for number, size in enumerate(sizes)}
    wrong = target.label_files().keys() ^ expected.keys()
    urls = {name: target.label(name.removesuffix(LABEL_SUFFIX)) for name in expected.keys() - wrong}
    wrong |= {name for name, url in urls.items() if int(fs.size(filesystem(url)[1])) != expected[name]}
    if wrong:
        raise EnvironmentFailure(
            f"{redact(target.labels)}: {sorted(wrong)[0]} isn't what was published there. Is another `compact` at work?"
        )
