"""An answer in each of its forms: bounded and aligned as a table, whole as CSV and Parquet."""

import csv

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.jobs.query import query
from maskmill.models.errors import UsageError
from maskmill.pipeline.query import Answer, csv_lines, table_lines, write_parquet
from maskmill.pipeline.query.formats import LINE_WIDTH


def answer(**columns):
    table = pa.table(columns)
    return Answer.of(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()))


def test_a_line_is_kept_short_by_cutting_texts_and_never_numbers():
    columns = {f"text{n}": ["x" * 300] for n in range(8)} | {"number": [123456789012345678]}
    lines = list(table_lines(answer(**columns)))
    assert all(len(line) <= LINE_WIDTH for line in lines)
    assert lines[2].endswith("123456789012345678")
    assert lines[2].count("…") == 8


def test_wide_characters_stay_aligned():
    lines = list(table_lines(answer(name=["斑馬", "zebra", "zèbre"], images=[1, 22, 333])))
    assert lines == ["name   images", "-----  ------", "斑馬        1", "zebra      22", "zèbre     333"]


def test_csv_reads_back_with_lists_as_json_and_nulls_as_nothing(tmp_path):
    values = answer(key=['a,"b"\nc', None], score=[0.5, None], box=[[1, 2], None], data=[b"ab", None], yes=[True, None])
    path = tmp_path / "answer.csv"
    path.write_text("".join(f"{line}\n" for line in csv_lines(values)))
    with path.open(newline="") as file:
        found = list(csv.reader(file))
    assert found == [
        ["key", "score", "box", "data", "yes"],
        ['a,"b"\nc', "0.5", "[1, 2]", "YWI=", "true"],
        ["", "", "", "", ""],
    ]


def test_parquet_keeps_types_and_tells_its_rows(made, tmp_path, capsys):
    path = tmp_path / "zebras.parquet"
    sql = """SELECT a.key, a.score, b.score, a.bbox FROM segments a, segments b
             WHERE a.class = 'zebra' AND b.class = 'zebra'"""
    assert query(str(made), sql, output=str(path)) == 0
    table = pq.read_table(path)
    assert table.schema.types == [pa.string(), pa.float32(), pa.float32(), pa.list_(pa.int32())]
    assert table.column_names == ["key", "score", "score_1", "bbox"]
    assert capsys.readouterr().out == f"{path}: {len(table)} rows\n"


def test_a_type_that_parquet_lacks_is_wrong_usage(tmp_path):
    table = pa.table({"a": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    values = Answer.of(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()))
    with pytest.raises(UsageError, match="CAST the column"):
        write_parquet(values, tmp_path / "a.parquet")


@pytest.mark.parametrize("ending", ["csv", "json", "txt"])
def test_the_ending_chooses_the_format(made, tmp_path, capsys, ending):
    path = tmp_path / f"answer.{ending}"
    query(str(made), "SELECT vocab_id, name FROM vocabulary ORDER BY 1 LIMIT 2", output=str(path))
    assert path.read_text().splitlines()[0] == {
        "csv": "vocab_id,name", "json": '[{"vocab_id": 0, "name": "person"}', "txt": "vocab_id  name"
    }[ending]  # fmt: skip
    assert capsys.readouterr().out == f"{path}: 2 rows\n"


def test_an_answer_never_lands_in_the_table(made):
    before = sorted(made.rglob("*"))
    for place in (f"{made}/labels/a.parquet", f"{made}/a.csv", f"file://{made}/labels/../a.csv", str(made)):
        with pytest.raises(UsageError, match="inside the label table"):
            query(str(made), "SELECT 1", output=place)
    assert sorted(made.rglob("*")) == before


def test_a_wrong_statement_leaves_no_file(made, tmp_path):
    with pytest.raises(UsageError, match="SQL: "):
        query(str(made), "SELECT error('stop') FROM labels", output=str(tmp_path / "a.csv"))
    assert not list(tmp_path.iterdir())


def test_contradicting_formats_are_refused(made):
    with pytest.raises(UsageError, match="--json and --format csv"):
        query(str(made), "SELECT 1", format="csv", json=True)
    with pytest.raises(UsageError, match="Name a file"):
        query(str(made), "SELECT 1", format="parquet")
