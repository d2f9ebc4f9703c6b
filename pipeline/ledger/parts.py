"""Rows of one job on their way into the parts of the ledger. Merging them is pipeline/ledger/merging.py's."""

import logging
import time
from datetime import UTC, datetime

from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.output import Output
from maskmill.pipeline.stores.errors import OutputError

PART_ROWS = 5_000
"""Most rows of a part, unless the store was out of reach for a while."""

MOST_ROWS = 20_000
"""Rows that wait for a store that takes none, until the job ends: some 200 MB if each shard holds a hundred classes."""

_log = logging.getLogger(__name__)


class LedgerParts:
    """Takes rows as shards end, and writes them now and then; adds up what a job did.

    None is kept longer than a part takes to fill, but where the store takes none.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._waiting: list[LedgerRow] = []
        self._wrote = time.monotonic()
        self._parts = 0
        self._first: datetime | None = None
        self.images = 0

    def add(self, row: LedgerRow) -> None:
        """One more shard has ended."""
        self._waiting.append(row)
        self.images += row.counts.read
        if row.started is not None:
            self._first = row.started if self._first is None else min(self._first, row.started)
        waited = time.monotonic() - self._wrote
        if waited >= ledger.part_seconds(self._parts) or len(self._waiting) % PART_ROWS == 0:
            try:
                self.write()
            except OutputError as error:
                # Nothing is lost by it yet, and what the replicas do may well go on.
                if len(self._waiting) >= MOST_ROWS:
                    raise
                self._wrote = time.monotonic()
                _log.warning("%s; it is tried again later", error)

    def write(self) -> None:
        """Leave what waits as one part.

        Raises:
            OutputError: the store doesn't take it; the rows go on waiting.
        """
        if self._waiting:
            ledger.write(self._waiting, self._output.ledger_part(ledger.part_name()))
            self._parts += 1
        self._waiting, self._wrote = [], time.monotonic()

    def discard(self) -> None:
        """Drop the rows that wait."""
        self._waiting = []

    @property
    def seconds(self) -> float:
        """Since the first shard started."""
        return (datetime.now(UTC) - self._first).total_seconds() if self._first is not None else 0.0
