"""Parts of the ledger as a job writes them: rows wait for a store that is out of reach, and are written once."""

from pathlib import Path

import pytest

from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.counts import Counts
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.ledger.parts import LedgerParts
from maskmill.pipeline.output import Output
from maskmill.pipeline.stores.errors import OutputError


def row(number: int) -> LedgerRow:
    return LedgerRow(url=f"/{number}.tar", state="done", counts=Counts(read=3, labeled=3))


def urls(output: Output) -> list[str]:
    return [row.url for part in output.ledger_parts() for row in ledger.read(part)]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr("maskmill.pipeline.ledger.parts.PART_ROWS", 2)


def test_a_part_is_written_when_it_is_full_and_the_rest_at_the_end(tmp_path):
    output = Output.of(str(tmp_path))
    parts = LedgerParts(output)
    for number in range(5):
        parts.add(row(number))
    assert urls(output) == ["/0.tar", "/1.tar", "/2.tar", "/3.tar"]
    parts.write()
    parts.write()
    assert urls(output) == [f"/{number}.tar" for number in range(5)]
    assert len(output.ledger_parts()) == 3
    assert parts.images == 15


def test_rows_wait_for_a_store_that_is_out_of_reach_and_none_is_lost_or_told_twice(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("maskmill.pipeline.ledger.parts.MOST_ROWS", 6)
    output = Output.of(str(tmp_path))
    in_the_way = tmp_path / "ledger-parts"
    in_the_way.touch()
    parts = LedgerParts(output)
    for number in range(5):
        parts.add(row(number))
    assert caplog.text.count("tried again later") == 2
    with pytest.raises(OutputError):
        parts.add(row(5))
    Path(in_the_way).unlink()
    parts.write()
    assert urls(output) == [f"/{number}.tar" for number in range(6)]
