"""A sealed table answers every question as the run that it was made from; an unfinished one answers none."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.jobs import cli
from maskmill.models.errors import UsageError
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.evaluation.table import evaluate_table
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.output import Output
from maskmill.pipeline.showing.lookup import find
from maskmill.pipeline.synthesis.shards import synthesize
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.truth.pairs import sources_of
from tests.plain_run import label


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> list[Path]:
    return synthesize(tmp_path_factory.mktemp("shards"), 3, 5, 9)


@pytest.fixture(scope="module")
def run(tiny, shards, tmp_path_factory) -> Output:
    output = Output.of(str(tmp_path_factory.mktemp("run") / "out"))
    label(tiny, shards, output)
    return output


@pytest.fixture(scope="module")
def sealed(run, tmp_path_factory) -> Output:
    """All shards in one file, in row groups that end in the middle of shards."""
    folder = tmp_path_factory.mktemp("sealed")
    target = Output.of(str(folder / "table"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("maskmill.pipeline.compaction.sealing.ROW_GROUP_BYTES", 1)
        patched.setattr("maskmill.pipeline.compaction.sealing._ROWS_AT_ONCE", 2)
        compact(run, target, scratch=folder)
    return target


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_shards_rows_are_the_same_from_either_table(run, sealed, shards, size):
    there, here = LabelTable(run), LabelTable(sealed)
    for shard in shards:
        expected = pa.Table.from_batches(there.batches(there.rows_of(str(shard)), ["shard", "key", "masks"], size))
        found = pa.Table.from_batches(here.batches(here.rows_of(str(shard)), ["shard", "key", "masks"], size))
        assert found.equals(expected)
        assert found.num_rows == 5
        assert set(found["shard"].to_pylist()) == {str(shard)}


def test_only_the_row_groups_of_the_shard_are_read(sealed, shards):
    table = LabelTable(sealed)
    (path,) = Path(sealed.labels).iterdir()
    with pq.ParquetFile(path) as file:
        last = file.metadata.row_group(file.num_row_groups - 1).column(0)
    data = bytearray(path.read_bytes())
    data[last.data_page_offset + last.total_compressed_size - 1] ^= 1
    copy = Output.of(str(path.parents[1]) + "-copy")
    shutil.copytree(sealed.url, copy.url)
    Path(copy.labels, path.name).write_bytes(data)
    damaged = LabelTable(copy)
    first, third = (damaged.rows_of(str(shards[number])) for number in (0, 2))
    assert list(damaged.batches(first, ["key"], 100)) == list(
        table.batches(table.rows_of(str(shards[0])), ["key"], 100)
    )
    with pytest.raises((OSError, ValueError)):
        list(damaged.batches(third, ["key"], 100))


def test_a_shard_that_is_not_done_has_no_rows(run, sealed):
    assert LabelTable(run).rows_of("/never.tar") is None
    assert LabelTable(sealed).rows_of("/never.tar") is None


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM labels ORDER BY shard, sample_index",
        "SELECT * FROM vocabulary",
        "SELECT url, state, read, labeled, segments, class_counts FROM ledger",
        "SELECT name, count(*) AS n FROM (SELECT unnest(segments) AS s FROM labels) "
        "JOIN vocabulary ON vocab_id = s.vocab_id GROUP BY ALL ORDER BY ALL",
    ],
)
def test_query_answers_the_same(run, sealed, capsys, sql):
    assert cli.run(["query", run.url, sql, "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert expected
    assert cli.run(["query", sealed.url, sql, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == expected


def test_the_rows_of_a_query_come_in_the_order_of_the_manifest(sealed, shards, capsys):
    assert cli.run(["query", sealed.url, "SELECT shard, sample_index FROM labels", "--json"]) == 0
    rows = [(row["shard"], row["sample_index"]) for row in json.loads(capsys.readouterr().out)]
    assert rows == [(str(shard), index) for shard in shards for index in range(5)]


def test_show_finds_the_same_sample(run, sealed, shards):
    keys = pq.read_table(run.labels, columns=["key", "shard"]).to_pylist()
    for row in keys[::4]:
        expected = find(run, row["key"], shard=row["shard"])
        found = find(sealed, row["key"], shard=row["shard"])
        assert (found.shard, found.sample_index, found.caption) == (
            expected.shard,
            expected.sample_index,
            expected.caption,
        )
        assert [(one.vocab_id, one.score) for one in found.segments] == [
            (one.vocab_id, one.score) for one in expected.segments
        ]
        for one, other in zip(found.segments, expected.segments, strict=True):
            np.testing.assert_array_equal(one.mask, other.mask)
    with pytest.raises(UsageError, match="no labels of that shard"):
        find(sealed, "x", shard="/never.tar")


def test_evaluation_scores_the_same(run, sealed, shards, tmp_path):
    sources = sources_of([str(shard) for shard in shards[1:]])
    expected = evaluate_table(sources, run, 48, scratch=tmp_path)
    found = evaluate_table(sources, sealed, 48, scratch=tmp_path)
    assert found.images == expected.images == 10
    np.testing.assert_array_equal(found.counts, expected.counts)


def test_status_agrees(run, sealed, capsys):
    assert cli.run(["status", run.url, "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    assert cli.run(["status", sealed.url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    files = [path.stat().st_size for path in Path(sealed.labels).iterdir()]
    assert found.pop("bytes") == sum(files)
    assert expected.pop("bytes") > 0
    assert found == expected


@pytest.mark.parametrize("command", ["query", "show", "status", "verify"])
def test_an_unfinished_table_is_refused_by_every_command(sealed, tmp_path, capsys, command):
    shutil.copytree(sealed.url, tmp_path / "table")
    Path(tmp_path, "table", "run.json").unlink()
    more = {"query": ["SELECT 1"], "show": ["a", "-o", str(tmp_path / "a.png")]}.get(command, [])
    assert cli.run([command, str(tmp_path / "table"), *more]) == 2
    err = capsys.readouterr().err
    assert ("has not finished it" in err) or ("no run.json there" in err)


@pytest.mark.parametrize("name", ["../../secret.parquet", "a-0123456789abcdef.parquet", None])
def test_a_ledger_that_names_foreign_files_is_damaged(sealed, tmp_path, name):
    copy = Output.of(str(tmp_path / "table"))
    shutil.copytree(sealed.url, copy.url)
    rows = ledger.read(copy.ledger)
    records = [row.to_record() | {"label_file": name} for row in rows]
    ledger.write([ledger.LedgerRow.from_record(record) for record in records], copy.ledger)
    with pytest.raises(UsageError, match=r"ledger\.parquet: names files that no sealed table has"):
        print(LabelTable(copy).files)
    Path(copy.ledger).unlink()
    with pytest.raises(UsageError, match="without its ledger"):
        print(LabelTable(copy).files)
