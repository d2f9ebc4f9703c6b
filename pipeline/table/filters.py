"""Which segments count: one set of words for queries, exports, reports and the training reader. Reads no table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from maskmill.models import arguments
from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FLOORS = {
    "min_score": "score",
    "min_margin": "margin",
    "min_mask_score": "mask_score",
    "min_stability": "stability",
    "min_kept": "kept",
    "min_agreement": "agreement",
}
"""Option -> column of a segment that must not be below it."""

_MASK_OWN = ("min_mask_score", "min_stability", "min_kept")
"""Options about a query's own mask, which segments in semantic form don't have."""

_LATER = frozenset({"min_agreement"})
"""Fields that came after the first trainings on labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentFilter:
    """What a segment must be to count. The default lets everything pass."""

    min_score: float = 0.0
    """Least softmax probability of the top class."""

    min_margin: float = 0.0
    """Least distance of the score to the second class's probability."""

    min_mask_score: float = 0.0
    """Least mean foreground probability inside the mask (general, queries)."""

    min_stability: float = 0.0
    """Least IoU of the mask at logit +1 and at -1 (general, queries)."""

    min_kept: float = 0.0
    """Least share of the query's own mask that the segment holds (general, queries)."""

    min_agreement: float = 0.0
    """Least agreement with other views of the image (runs labeled with --agreement)."""

    min_area: int = 0
    """Least pixels of the mask."""

    classes: tuple[str, ...] = ()
    """Only these names; none means all."""

    leave_out: tuple[str, ...] = ()
    """Never these names."""

    def __post_init__(self) -> None:
        for names in ("classes", "leave_out"):
            object.__setattr__(self, names, arguments.texts(names, getattr(self, names)))
        for option in _FLOORS:
            value = getattr(self, option)
            arguments.number(option, value)
            if not 0.0 <= value <= 1.0:
                raise UsageError(f"--{option.replace('_', '-')} {value}: expected a number between 0 and 1.")
        arguments.number("min_area", self.min_area)
        if not self.min_area >= 0:
            raise UsageError(f"--min-area {self.min_area}: expected pixels, 0 or more.")

    @property
    def stated(self) -> dict[str, Any]:
        """The fields as a run that the filter shapes records them: those that came later only where they are used, so
        that what began before there was such a field can be resumed."""
        plain = SegmentFilter()
        every = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in every if name not in _LATER or value != getattr(plain, name)}

    def bound(self, vocabulary: Vocabulary, inference: str, *, agreement: bool = True) -> "BoundFilter":
        """The filter for one run's table.

        Args:
            vocabulary: the run's.
            inference: the run's inference form.
            agreement: whether the run's segments have one.

        Raises:
            UsageError: a name that the vocabulary lacks, or a bound on what segments of this run don't have.
        """
        import numpy as np  # not above: a command's options are read without it

        if inference == "semantic" and (asked := [option for option in _MASK_OWN if getattr(self, option) > 0]):
            raise UsageError(
                f"--{asked[0].replace('_', '-')} {getattr(self, asked[0])}: a segment in semantic form has no mask of "
                "its own to judge. Use --min-score, --min-margin or --min-area."
            )
        if self.min_agreement > 0 and not agreement:
            raise UsageError(
                f"--min-agreement {self.min_agreement}: this run was labeled without --agreement, its segments have "
                "none. Use --min-score, --min-margin or --min-area."
            )
        by_name = {name: entry.vocab_id for entry in vocabulary for name in entry.synonyms}
        by_name |= {entry.name: entry.vocab_id for entry in vocabulary}

        def ids(option: str, names: Sequence[str]) -> frozenset[int]:
            unknown = [name for name in names if name not in by_name]
            if unknown:
                raise UsageError(
                    f"{option} {unknown[0]!r}: not in this run's vocabulary. Its names: OUT/vocabulary.parquet."
                )
            return frozenset(by_name[name] for name in names)

        wanted = ids("--classes", self.classes) if self.classes else frozenset(range(len(vocabulary)))
        # In the table's own precision: a score stored as 0.7 is below 0.7 in double precision, and shall pass.
        floors = {
            column: float(np.float32(bound)) for option, column in _FLOORS.items() if (bound := getattr(self, option))
        }
        return BoundFilter(
            floors=floors,
            min_area=self.min_area,
            ids=wanted - ids("--leave-out", self.leave_out),
            every_class=not self.classes and not self.leave_out,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundFilter:
    """A filter with its names looked up."""

    floors: Mapping[str, float]
    """Column of a segment -> least value, one that float32 holds; a null is below every bound."""

    min_area: int
    """Least pixels."""

    ids: frozenset[int]
    """Vocabulary ids that pass."""

    every_class: bool
    """Whether classes don't matter."""

    def keeps(self, segment: Mapping[str, Any]) -> bool:
        """Whether a segment, as a row of the table has it, counts."""
        return (
            segment["vocab_id"] in self.ids
            and segment["area"] >= self.min_area
            and all((value := segment[column]) is not None and value >= least for column, least in self.floors.items())
        )

    def passing(self, segments: "Mapping[str, NDArray[Any]]") -> "NDArray[np.bool_]":
        """Which of many segments count.

        Args:
            segments: columns of the struct by name, one value a segment; NaN stands for null.
        """
        import numpy as np

        passes: NDArray[np.bool_] = segments["area"] >= self.min_area
        for column, least in self.floors.items():
            passes &= segments[column] >= np.float32(least)
        if not self.every_class:
            passes &= np.isin(segments["vocab_id"], sorted(self.ids))
        return passes

    def sql(self, segment: str) -> str:
        """The same as a condition of DuckDB's SQL.

        Args:
            segment: a SQL expression of a segment's struct, such as `s`; never what a user typed.
        """
        conditions = [f"{segment}.{column} >= {least!r}::FLOAT" for column, least in self.floors.items()]
        if self.min_area:
            conditions.append(f"{segment}.area >= {self.min_area}")
        if not self.every_class:
            listed = ", ".join(map(str, sorted(self.ids))) or "NULL"
            conditions.append(f"{segment}.vocab_id IN ({listed})")
        return " AND ".join(conditions) or "true"
