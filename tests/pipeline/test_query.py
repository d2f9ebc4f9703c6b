import base64
import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.jobs.query import query
from maskmill.models.errors import UsageError
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.query import ask, json_lines, table_lines
from maskmill.pipeline.query.formats import TABLE_ROWS
from maskmill.pipeline.table.schema import LABELS
from maskmill.pipeline.table.vocabulary_table import VOCABULARY

SEGMENT = {
    "query": 3,
    "vocab_id": 1,
    "score": 0.75,
    "margin": 0.5,
    "top_ids": [1, 0],
    "top_logits": [4.0, 2.0],
    "background_logit": -1.0,
    "mask_score": 0.9,
    "stability": 0.8,
    "kept": 1.0,
    "area": 12,
    "bbox": [0, 0, 4, 3],
}


def row(shard: str, index: int, **changes: object) -> dict[str, object]:
    sample = {"key": f"k{index}", "shard": shard, "sample_index": index, "status": "ok", "segments": [], "masks": []}
    return dict.fromkeys(LABELS.names) | sample | changes


def write(rows: list[dict[str, object]], schema: pa.Schema, url: str) -> None:
    with fsspec.open(url, "wb") as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)


def make(out: str) -> str:
    first = [
        row("a.tar", 0, caption="two\x1b[31m lines\nhere", segments=[SEGMENT, SEGMENT], masks=[b"abc", b"de"]),
        row("a.tar", 1, sha256=bytes(32)),
    ]
    second = [row("b.tar", 0, status="failed", error="decode: broken", segments=None, masks=None)]
    write(first, LABELS, f"{out}/labels/a-0000000000000000.parquet")
    write(second, LABELS, f"{out}/labels/b-0000000000000000.parquet")
    names = [{"vocab_id": i, "name": name, "synonyms": [], "source": "test"} for i, name in enumerate(["sand", "disc"])]
    write(names, VOCABULARY, f"{out}/vocabulary.parquet")
    return out


@pytest.fixture
def out(tmp_path):
    (tmp_path / "it's out [1]" / "labels").mkdir(parents=True)
    return make(str(tmp_path / "it's out [1]"))


def table(out: str, sql: str) -> list[str]:
    with ask(out, sql) as answer:
        return list(table_lines(answer))


def records(out: str, sql: str) -> list[dict[str, object]]:
    with ask(out, sql) as answer:
        return json.loads("\n".join(json_lines(answer)))


def test_a_table_is_aligned_with_numbers_on_the_right(out):
    lines = table(out, "SELECT shard, count(*) * 100 AS n, avg(sample_index) AS mean FROM labels GROUP BY 1 ORDER BY 1")
    assert lines == ["shard    n  mean", "-----  ---  ----", "a.tar  200   0.5", "b.tar  100     0"]


def test_segments_join_the_vocabulary(out):
    sql = """SELECT name, count(*) AS segments, sum(s.area) AS area
             FROM (SELECT unnest(segments) AS s FROM labels) JOIN vocabulary ON vocab_id = s.vocab_id GROUP BY ALL"""
    assert records(out, sql) == [{"name": "disc", "segments": 2, "area": 24}]


def test_binary_values_are_counted_in_tables_and_whole_in_json(out):
    sql = "SELECT sha256, masks FROM labels WHERE shard = 'a.tar' ORDER BY sample_index"
    lines = table(out, sql)
    assert "[<3 bytes>, <2 bytes>]" in lines[2]
    assert "<32 bytes>" in lines[3]
    rows = records(out, sql)
    assert [base64.b64decode(mask) for mask in rows[0]["masks"]] == [b"abc", b"de"]
    assert rows[0]["sha256"] is None
    assert base64.b64decode(rows[1]["sha256"]) == bytes(32)


def test_text_from_data_is_cut_and_reaches_no_terminal_control(out):
    (line,) = table(out, "SELECT caption || repeat('x', 100) FROM labels WHERE caption IS NOT NULL")[2:]
    assert line.startswith(r"two\x1b[31m lines\nhere")
    assert line.endswith("x…")
    assert len(line) == 60


def test_json_has_no_nan_and_an_empty_answer_is_an_empty_array(out):
    sql = "SELECT 'nan'::DOUBLE AS a, DATE '2026-01-02' AS b"
    assert records(out, sql) == [{"a": None, "b": "2026-01-02"}]
    assert records(out, "SELECT key FROM labels WHERE false") == []
    assert table(out, "SELECT key FROM labels WHERE false")[-1] == "(no rows)"


def test_a_long_answer_says_where_the_table_stops(out):
    lines = table(out, f"SELECT * FROM range({TABLE_ROWS + 1})")
    assert lines[-1] == "(the first 1,000 rows; --format json or csv gives all)"
    assert len(lines) == TABLE_ROWS + 3
    assert len(table(out, f"SELECT * FROM range({TABLE_ROWS})")) == TABLE_ROWS + 2
    assert len(records(out, f"SELECT * FROM range({TABLE_ROWS + 1})")) == TABLE_ROWS + 1


def test_the_ledger_is_a_view_once_there_is_one(out):
    with pytest.raises(UsageError, match="ledger does not exist"):
        table(out, "SELECT * FROM ledger")
    ledger.write([ledger.missing("file:///c.tar", 5, None)], f"{out}/ledger.parquet")
    assert records(out, "SELECT url, state, size, started FROM ledger") == [
        {"url": "file:///c.tar", "state": "missing", "size": 5, "started": None}
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM '/etc/hostname'",
        "SELECT * FROM glob('/etc/*')",
        "COPY (SELECT 1) TO 'stolen.csv'",
        "CREATE TABLE t (a INT)",
        "ATTACH 'other.db'",
        "SET threads = 1",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA version",
        "SELECT 1; SELECT 2",
        "",
        "SELEC",
        "SELECT nothing FROM labels",
        "SELECT 1 / 0::INT, error('stop') FROM labels",
    ],
)
def test_what_is_not_one_readable_select_is_wrong_usage_in_one_line(out, sql, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError) as caught:
        table(out, sql)
    assert str(caught.value).startswith("SQL: ")
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_other_files_of_the_run_are_not_open_either(out):
    with fsspec.open(f"{out}/run.json", "wt") as file:
        file.write('{"identity": {}, "fingerprint": "f"}')
    with pytest.raises(UsageError, match="file system operations are disabled"):
        table(out, "SELECT * FROM read_text('" + f"{out}/run.json".replace("'", "''") + "')")


@pytest.mark.parametrize("before", ["", "EXPLAIN ANALYZE ", "WITH stolen AS "])
def test_label_files_cannot_be_overwritten(out, before):
    file = f"{out}/labels/a-0000000000000000.parquet"
    with fsspec.open(file, "rb") as opened:
        data = opened.read()
    copy = "COPY (SELECT 1 AS a) TO '" + file.replace("'", "''") + "'"
    with pytest.raises(UsageError, match="SQL: "):
        table(out, f"WITH stolen AS ({copy}) SELECT 1" if "WITH" in before else before + copy)
    with fsspec.open(file, "rb") as opened:
        assert opened.read() == data


def test_columns_of_one_name_stay_apart_in_json(out):
    assert records(out, "SELECT 1 AS a, 2 AS a, 3 AS a_1") == [{"a": 1, "a_1": 2, "a_1_1": 3}]


def test_a_run_without_labels_is_wrong_usage_with_the_fix(tmp_path):
    with pytest.raises(UsageError, match=r"no label files .*maskmill label SHARDS"):
        table(str(tmp_path / "nowhere"), "SELECT 1")


def test_a_run_in_an_object_store_is_read_through_fsspec():
    out = make("memory://bucket/run")
    assert records(out, "SELECT count(*) AS n FROM labels") == [{"n": 3}]
    with pytest.raises(UsageError, match="file system operations are disabled"):
        table(out, "SELECT * FROM read_text('/etc/hostname')")


def test_the_command_prints_a_table_or_json(out, capsys):
    assert query(out, "SELECT 1 AS one") == 0
    assert query(out, "SELECT 1 AS one", json=True) == 0
    assert capsys.readouterr().out == 'one\n---\n  1\n[{"one": 1}\n]\n'
