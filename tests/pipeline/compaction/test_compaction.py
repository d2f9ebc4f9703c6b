"""A sealed table holds the rows of its run, in their order; the run stays as it was; what is unfinished is no table."""

import hashlib
import json
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.jobs import cli
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline import run
from maskmill.pipeline.compaction import compaction, sealing
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.status import settle, status
from maskmill.pipeline.output import Output
from maskmill.pipeline.synthesis.shards import synthesize
from maskmill.pipeline.table.digest import RowsDigest
from maskmill.pipeline.table.schema import LABELS
from maskmill.pipeline.table.sealed import check_sealed
from tests.plain_run import label


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory) -> Output:
    """A run of five shards, named in an order that isn't that of their label files. Tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    shards = synthesize(folder / "shards", 5, 6, 3)
    output = Output.of(str(folder / "out"))
    label(tiny, [shards[index] for index in (3, 0, 4, 2, 1)], output)
    return output


@pytest.fixture(scope="module")
def sealed(finished, tmp_path_factory) -> Output:
    """The same run, sealed: its five shards in more than one file and less than five."""
    folder = tmp_path_factory.mktemp("sealed")
    target = Output.of(str(folder / "table"))
    compact(finished, target, scratch=folder, file_bytes=two_shards(finished))
    return target


def two_shards(output: Output) -> int:
    """A file size that two shards fit into, and three don't."""
    return 2 * max(row.bytes or 0 for row in status(output).rows())


def contents(folder: str) -> dict[str, str]:
    """Digest of every file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def rows_of_run(output: Output) -> pa.Table:
    """All rows of a run as pyarrow reads them, shard after shard in the order in which they were asked for."""
    return pa.concat_tables(pq.read_table(f"{output.labels}/{row.label_file}") for row in status(output).rows("done"))


def rows_of_table(target: Output) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(Path(target.labels).iterdir()))


def test_a_sealed_table_has_the_runs_rows_in_the_order_of_its_manifest(finished, sealed):
    assert len(list(Path(sealed.labels).iterdir())) == 3
    expected = rows_of_run(finished)
    assert expected.num_rows == 30
    assert rows_of_table(sealed).equals(expected)


def test_duckdb_finds_no_row_that_is_in_one_table_alone(finished, sealed):
    found = duckdb.sql(
        f"select count(*) from ((from '{finished.labels}/*.parquet' except all from '{sealed.labels}/*.parquet') "
        f"union all (from '{sealed.labels}/*.parquet' except all from '{finished.labels}/*.parquet'))"
    ).fetchall()
    assert found == [(0,)]


def test_the_ledger_says_in_which_file_and_at_which_row_a_shard_begins(finished, sealed):
    rows = ledger.read(sealed.ledger)
    before = ledger.read(finished.ledger)
    assert [row.url for row in rows] == [row.url for row in before]
    assert [row.counts for row in rows] == [row.counts for row in before]
    assert [row.label_file for row in rows] == [f"part-00000{number}.parquet" for number in (0, 0, 1, 1, 2)]
    assert [row.first_row for row in rows] == [0, 6, 0, 6, 0]
    for row in rows:
        there = pq.read_table(f"{sealed.labels}/{row.label_file}").slice(row.first_row, row.counts.read)
        assert set(there["shard"].to_pylist()) == {row.url}
        assert there["sample_index"].to_pylist() == list(range(6))
    assert sum(row.bytes for row in rows) == sum(path.stat().st_size for path in Path(sealed.labels).iterdir())


def test_files_have_the_label_tables_columns_checksums_and_page_index(sealed):
    for path in Path(sealed.labels).iterdir():
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            assert file.schema_arrow.equals(LABELS)
            column = file.metadata.row_group(0).column(0)
            assert (column.compression, column.has_offset_index) == ("ZSTD", True)
            file.read()


def test_the_footer_names_the_run_the_shards_and_their_rows(finished, sealed):
    footer = check_sealed(Path(sealed.labels) / "part-000000.parquet")
    rows = ledger.read(finished.ledger)[:2]
    assert footer.fingerprint == run.require(finished)["fingerprint"]
    assert [(shard.url, shard.etag, shard.first_row, shard.rows) for shard in footer.shards] == [
        (rows[0].url, rows[0].etag, 0, 6),
        (rows[1].url, rows[1].etag, 6, 6),
    ]
    digest = RowsDigest()
    digest.add(rows_of_run(finished).slice(0, 12))
    assert footer.rows_sha256 == digest.hexdigest()


def test_run_json_keeps_the_identity_and_says_sealed_and_verified(finished, sealed):
    there, here = run.require(finished), run.require(sealed)
    assert run.is_sealed(here)
    assert not run.is_sealed(there)
    assert {name: here[name] for name in there} == there
    assert here["compaction"]["from"] == finished.url
    assert {name: here["compaction"][name] for name in ("files", "shards", "left_out", "rows", "verified")} == {
        "files": 3, "shards": 5, "left_out": 0, "rows": 30, "verified": True,
    }  # fmt: skip


def test_status_of_the_sealed_table_is_the_runs(finished, sealed):
    there, here = status(finished), status(sealed)
    assert (here.read, here.labeled, here.segments) == (there.read, there.labeled, there.segments)
    assert here.shards("done") == 5
    assert list(here.urls("done")) == list(there.urls("done"))


def test_nothing_of_the_run_is_changed(finished, tmp_path):
    before = contents(finished.url)
    compact(finished, Output.of(str(tmp_path / "table")), scratch=tmp_path)
    assert contents(finished.url) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table"]


def test_row_groups_are_cut_by_their_bytes_and_not_by_shards(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(sealing, "ROW_GROUP_BYTES", 20_000)
    monkeypatch.setattr(sealing, "_ROWS_AT_ONCE", 1)
    target = Output.of(str(tmp_path / "table"))
    compact(finished, target, scratch=tmp_path)
    with pq.ParquetFile(f"{target.labels}/part-000000.parquet") as file:
        groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert len(groups) > 1
    assert any(group % 6 for group in groups)
    assert rows_of_table(target).equals(rows_of_run(finished))


class Killed(BaseException):
    """What ends a process in the middle."""


@pytest.mark.parametrize("published", [0, 1, 2, 3])
def test_what_a_kill_leaves_is_no_table_and_the_same_call_finishes_it(
    finished, sealed, tmp_path, monkeypatch, published
):
    before = contents(finished.url)
    target = Output.of(str(tmp_path / "table"))
    calls = []

    def publish_or_die(local, url, **options):
        if len(calls) == published:
            raise Killed
        calls.append(url)
        return publish(local, url, **options)

    publish = compaction.publish
    with monkeypatch.context() as patched:
        patched.setattr(compaction, "publish", publish_or_die)
        with pytest.raises(Killed):
            compact(finished, target, scratch=tmp_path, file_bytes=two_shards(finished))
    assert contents(finished.url) == before
    assert not Path(target.run).exists()
    with pytest.raises(UsageError, match=r"no run\.json"):
        run.require(target)
    found = compact(finished, target, scratch=tmp_path, file_bytes=two_shards(finished))
    assert found.kept == published
    assert rows_of_table(target).equals(rows_of_run(finished))
    assert ledger.read(target.ledger) == ledger.read(sealed.ledger)


def test_a_file_from_before_a_shard_was_labeled_again_is_written_anew(finished, tmp_path):
    source, target = Output.of(str(tmp_path / "out")), Output.of(str(tmp_path / "table"))
    shutil.copytree(finished.url, source.url)
    compact(source, target, scratch=tmp_path, file_bytes=two_shards(source))
    Path(target.run).unlink()
    rows = ledger.read(source.ledger)
    # Its label file is the same, but the ledger says that it was made at another time.
    ledger.write(
        [*rows[:2], ledger.LedgerRow.from_record(rows[2].to_record() | {"started": None}), *rows[3:]], source.ledger
    )
    assert compact(source, target, scratch=tmp_path, file_bytes=two_shards(source)).kept == 2


def test_a_finished_or_foreign_destination_is_refused(finished, sealed, tmp_path):
    with pytest.raises(UsageError, match="a sealed table already"):
        compact(finished, sealed, scratch=tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="not empty"):
        compact(finished, Output.of(str(tmp_path / "photos")), scratch=tmp_path)


def test_an_unfinished_table_with_more_files_is_refused(finished, tmp_path):
    target = Output.of(str(tmp_path / "table"))
    compact(finished, target, scratch=tmp_path, file_bytes=1)
    Path(target.run).unlink()
    with pytest.raises(UsageError, match=r"more files.*Remove it"):
        compact(finished, target, scratch=tmp_path)


@pytest.mark.parametrize("place", ["", "/", "/labels", "/sealed", "/..", "/../out/x"])
def test_a_destination_in_the_run_or_around_it_is_refused(finished, tmp_path, place):
    before = contents(finished.url)
    with pytest.raises(UsageError, match="beside it"):
        compact(finished, Output.of(finished.url + place), scratch=tmp_path)
    assert contents(finished.url) == before


def test_a_link_into_the_run_is_in_the_run(finished, tmp_path):
    (tmp_path / "link").symlink_to(finished.url)
    with pytest.raises(UsageError, match="beside it"):
        compact(finished, Output.of(str(tmp_path / "link" / "table")), scratch=tmp_path)


def test_a_sealed_table_is_not_sealed_again_nor_labeled_into(sealed, tmp_path):
    with pytest.raises(UsageError, match="sealed already"):
        compact(sealed, Output.of(str(tmp_path / "again")), scratch=tmp_path)
    with pytest.raises(UsageError, match="a sealed table, nothing is added to it"):
        run.refuse_sealed(run.require(sealed), sealed)


def test_failed_and_missing_shards_are_refused_or_left_out_by_name(tiny, finished, tmp_path):
    source = Output.of(str(tmp_path / "out"))
    shutil.copytree(finished.url, source.url)
    bad = tmp_path / "bad.tar"
    bad.write_bytes(b"no archive" * 100)
    Path(source.label(Path(status(source).table["label_file"][1].as_py()).stem)).unlink()
    shards = [*(str(url) for url in status(source).urls("done")), bad]
    label(tiny, shards, source, only=0)
    (lost,) = [row.url for row in settle(source).rows("missing") if row.url != str(bad)]
    target = Output.of(str(tmp_path / "table"))
    with pytest.raises(UsageError, match=r"2 of 6 shards are failed or missing.*maskmill retry.*--partial"):
        compact(source, target, scratch=tmp_path)
    assert not Path(target.url).exists()
    found = compact(source, target, scratch=tmp_path, partial=True)
    assert (found.shards, found.left_out, found.rows) == (4, 2, 24)
    assert rows_of_table(target).equals(rows_of_run(source))
    assert list(status(target).urls("missing")) == [lost, str(bad)]


def test_a_label_file_that_changed_meanwhile_ends_it(finished, tmp_path):
    source = Output.of(str(tmp_path / "out"))
    shutil.copytree(finished.url, source.url)
    files = [Path(source.labels) / row.label_file for row in status(source).rows()]
    shutil.copyfile(files[0], files[1])
    with pytest.raises(UsageError, match=rf"{files[1].name}: not the file that the ledger tells of.*maskmill verify"):
        compact(source, Output.of(str(tmp_path / "table")), scratch=tmp_path)
    data = bytearray(files[0].read_bytes())
    data[len(data) // 2] ^= 1
    files[0].write_bytes(data)
    with pytest.raises(UsageError, match=rf"{files[0].name}: damaged"):
        compact(source, Output.of(str(tmp_path / "table2")), scratch=tmp_path)


def test_a_copy_that_differs_in_one_value_is_never_published(finished, tmp_path, monkeypatch):
    """As by a bad disk or bad memory: the file is sound, but it isn't what was read."""
    real = sealing.LabelFileWriter

    class Wrong:
        def __init__(self, path):
            self._writer = real(path)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self._writer.close()

        def write_table(self, table, **options):
            captions = pa.array(["wrong", *table["caption"].to_pylist()[1:]])
            self._writer.write_table(table.set_column(11, LABELS.field("caption"), captions), **options)

        def add_key_value_metadata(self, metadata):
            self._writer.add_key_value_metadata(metadata)

    monkeypatch.setattr(sealing, "LabelFileWriter", Wrong)
    target = Output.of(str(tmp_path / "table"))
    with pytest.raises(EnvironmentFailure, match="doesn't hold what was written"):
        compact(finished, target, scratch=tmp_path)
    assert not Path(target.url).exists()


def test_a_run_in_a_store_is_sealed_in_a_store(finished, tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(finished.url, "/bucket/sealing-run", recursive=True)
    target = Output.of("memory://bucket/sealed-run")
    found = compact(Output.of("memory://bucket/sealing-run"), target, scratch=tmp_path, file_bytes=two_shards(finished))
    assert (found.files, found.rows) == (3, 30)
    memory.get("/bucket/sealed-run", str(tmp_path / "copy"), recursive=True)
    assert rows_of_table(Output.of(str(tmp_path / "copy"))).equals(rows_of_run(finished))
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.slow
def test_a_run_on_s3_is_sealed_on_s3(finished, tmp_path):
    from tests.s3_server import led_to, moto_server

    with moto_server() as server, led_to(server):
        server.put_all(
            {
                f"run/{path.relative_to(finished.url)}": path.read_bytes()
                for path in Path(finished.url).rglob("*")
                if path.is_file()
            }
        )
        before = server.objects("run/")
        source, target = Output.of(server.url("run")), Output.of(server.url("table"))
        found = compact(source, target, scratch=tmp_path, file_bytes=two_shards(finished))
        assert (found.files, found.kept, found.rows) == (3, 0, 30)
        assert server.objects("run/") == before
        objects = server.objects("table/")
        server.client().delete_object(Bucket=server.bucket, Key="table/run.json")
        assert compact(source, target, scratch=tmp_path, file_bytes=two_shards(finished)).kept == 3
    labels = [data for key, data in sorted(objects.items()) if key.startswith("table/labels/")]
    tables = [pq.read_table(pa.BufferReader(data)) for data in labels]
    assert pa.concat_tables(tables).equals(rows_of_run(finished))
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_it_sealed(finished, tmp_path, capsys):
    dest = str(tmp_path / "table")
    assert cli.run(["compact", finished.url, dest, "--file-size", f"{two_shards(finished)}"]) == 0
    out, err = capsys.readouterr()
    assert "shards    5 done\nsealed    30 rows in 3 files, " in out
    assert "verified  every row, in order" in out
    assert [line.split()[0] for line in err.splitlines()] == [f"part-00000{number}.parquet" for number in range(3)]
    assert json.loads(Path(dest, "run.json").read_text())["sealed"] is True


@pytest.mark.parametrize("size", ["0", "-1", "many", "1GiBs", "", "9" * 99])
def test_a_file_size_that_is_none_is_wrong_usage(finished, tmp_path, capsys, size):
    assert cli.run(["compact", finished.url, str(tmp_path / "table"), f"--file-size={size}"]) == 2
    assert "--file-size" in capsys.readouterr().err
    assert not (tmp_path / "table").exists()
