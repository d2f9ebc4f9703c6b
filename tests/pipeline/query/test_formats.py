"""An answer in each of its forms: bounded and aligned as a table, whole as CSV and Parquet."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.jobs.query import query
from maskmill.models.errors import UsageError
from maskmill.pipeline.query import Answer, csv_lines, json_lines, table_lines, write_parquet
from maskmill.pipeline.query.formats import LINE_WIDTH
from maskmill.pipeline.terminal import acts


def answer(**columns):
    table = pa.table(columns)
    return Answer.of(table.schema, table.to_batches())


def test_a_line_is_kept_short_by_cutting_texts_and_never_numbers():
    columns = {f"text{n}": ["x" * 300] for n in range(8)} | {"number": [123456789012345678]}
    lines = list(table_lines(answer(**columns)))
    assert all(len(line) <= LINE_WIDTH for line in lines)
    assert lines[2].endswith("123456789012345678")
    assert lines[2].count("…") == 8


def test_wide_characters_stay_aligned():
    lines = list(table_lines(answer(name=["斑馬", "zebra", "zèbre"], images=[1, 22, 333])))
    assert lines == ["name   images", "-----  ------", "斑馬        1", "zebra      22", "zèbre     333"]


def test_raw_csv_reads_back_with_lists_as_json_and_nulls_as_nothing(tmp_path):
    values = answer(key=['a,"b"\nc', None], score=[0.5, None], box=[[1, 2], None], data=[b"ab", None], yes=[True, None])
    path = tmp_path / "answer.csv"
    path.write_text("".join(f"{line}\n" for line in csv_lines(values, raw=True)))
    with path.open(newline="") as file:
        found = list(csv.reader(file))
    assert found == [
        ["key", "score", "box", "data", "yes"],
        ['a,"b"\nc', "0.5", "[1, 2]", "YWI=", "true"],
        ["", "", "", "", ""],
    ]


def test_csv_has_no_formulas_and_no_controls_and_numbers_as_they_are():
    texts = ["=1+1", "+1", "-x", "@a", "\t=1", "\r=1", " =1", "\uff1d1", "a=1", "\x1b[31m\n\x9b\u202e", "plain"]
    values = pa.table({"=text": texts, "number": [-1.5] * len(texts), "list": [["=1"]] * len(texts)})
    head, *rows = csv.reader(csv_lines(Answer.of(values.schema, values.to_batches())))
    assert head == ["'=text", "number", "list"]
    assert [row[0] for row in rows] == [
        "'=1+1", "'+1", "'-x", "'@a", r"'\t=1", r"'\r=1", "' =1", "'\uff1d1", "a=1", r"\x1b[31m\n\x9b\u202e", "plain"
    ]  # fmt: skip
    assert {tuple(row[1:]) for row in rows} == {("-1.5", '["=1"]')}


def test_json_escapes_what_acts_on_a_terminal_and_means_the_same():
    texts = ["\x1b[31m", "\x9b", "\u202e", "\u2028", "\x7f", "\U000e0041", "two\nlines", "斑馬 é \u3000"]
    values = pa.table({"\x1bname": texts})
    written = "\n".join(json_lines(Answer.of(values.schema, values.to_batches())))
    assert json.loads(written) == [{"\x1bname": text} for text in texts]
    assert all(character == "\n" or not acts(character) for character in written)
    assert "斑馬 é" in written


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
    values = Answer.of(table.schema, table.to_batches())
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
