"""Counts what an export took and what it left out. Nothing else."""

from dataclasses import dataclass, fields


@dataclass(kw_only=True, slots=True)
class Tally:
    """Counts of one shard, or of all."""

    images: int = 0
    """Samples that were written."""

    empty: int = 0
    """Of these, such without a segment."""

    segments: int = 0
    """Segments that were written."""

    filtered: int = 0
    """Segments that the filter dropped."""

    hidden: int = 0
    """Segments that lie wholly under others, where a format has one label a pixel."""

    merged: int = 0
    """Segments of a stuff class that were joined to another of it in the same image, where a format wants one."""

    failed: int = 0
    """Failed samples, which are left out."""

    skipped: int = 0
    """Samples left out because no segment of theirs passed the filter."""

    def add(self, other: "Tally") -> None:
        """Count what another counted too."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
