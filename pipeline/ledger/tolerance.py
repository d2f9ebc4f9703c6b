"""How many failed shards a job bears before it ends early: a count, or a share of those that ended. It ends nothing."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from maskmill.models.errors import EnvironmentFailure, UsageError

FEW = 50
"""Failed shards up to which a share says nothing yet: a short job tells of all its bad shards and ends by itself."""


class TooManyFailedError(EnvironmentFailure):
    """More shards failed than isolated faults explain; going on would only waste what is left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """A bound on failed shards."""

    count: int | None = None
    """Failed shards that are borne; None where a share is the bound."""

    share: float = 1.0
    """Failed shards that are borne, as a share of the shards that ended."""

    @classmethod
    def of(cls, text: str) -> "Tolerance":
        """The bound that a user wrote: 20 is a count, 0.1 a share.

        Raises:
            UsageError: it is neither.
        """
        if text.isdecimal():
            return cls(count=int(text))
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0.0 <= share <= 1.0:
            raise UsageError(
                f"--max-failed-shards {text!r}: expected a count such as 20, or a share between 0.0 and 1.0."
            )
        return cls(share=share)

    def exceeded(self, failed: int, ended: int) -> bool:
        """Whether so many failed of so many that ended are too many."""
        if self.count is not None:
            return failed > self.count
        return failed >= FEW and failed > self.share * ended


class Failures:
    """Counts how the shards of one job end, and says when too many failed.

    A shard that had failed in an earlier job is no news: it counts on neither side, so that a job that resumes with
    nothing but failed shards still tries them all.
    """

    def __init__(self, bound: str, known: Collection[str] = ()) -> None:
        """
        Args:
            bound: `--max-failed-shards` as the user wrote it.
            known: canonical URLs of shards that had failed before.
        """
        self._bound = bound
        self._tolerance = Tolerance.of(bound)
        self._known = known
        self._ended = 0
        self._died = 0
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(self, url: str, error: str | None) -> None:
        """A shard has ended: labeled, or with an error.

        Raises:
            TooManyFailedError: that was one too many.
        """
        if url in self._known:
            return
        self._ended += 1
        if error is not None:
            reason = error.partition(":")[0]
            self._reasons[reason] += 1
            self._examples.setdefault(reason, f"{url}: {error}")
            self.check()

    def died(self, shards: int) -> None:
        """So many shards have lost their worker for good until now; who they are isn't known.

        Raises:
            TooManyFailedError: that was one too many.
        """
        if shards != self._died:
            self._died = shards
            self.check()

    def check(self) -> None:
        """Say whether it is too many.

        Raises:
            TooManyFailedError: it is; one line says how many of how many, what was most common, and what to do.
        """
        failed = sum(self._reasons.values()) + self._died
        ended = self._ended + self._died
        if not self._tolerance.exceeded(failed, ended):
            return
        reason, number = "crashed", self._died
        example = "the worker that held them died each time; the replicas' logs say of what"
        if self._reasons and self._reasons.most_common(1)[0][1] >= number:
            reason, number = self._reasons.most_common(1)[0]
            example = f"as {self._examples[reason]}"
        raise TooManyFailedError(
            f"ended early: {failed:,} of the {ended:,} shards that ended had failed, {number:,} of them `{reason}` "
            f"({example}). Find the cause and run the same command again: it goes on from here. "
            f"--max-failed-shards, now {self._bound}, sets the bound."
        )
