"""Small tables come back as they were put; what else stands in their place is told in one line."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline import parquet

SCHEMA = pa.schema([pa.field("url", pa.string(), nullable=False), pa.field("size", pa.int64())])
TABLE = pa.Table.from_pylist([{"url": "a", "size": 1}, {"url": "ä", "size": None}], schema=SCHEMA)


def test_a_table_comes_back_and_one_that_is_not_there_is_none(tmp_path):
    url = str(tmp_path / "deeper" / "t.parquet")
    assert parquet.read(url, SCHEMA, fix="Remove it.") is None
    parquet.write(TABLE, url)
    assert parquet.read(url, SCHEMA, fix="Remove it.").equals(TABLE)
    parquet.write(TABLE.slice(0, 0), url)
    assert parquet.read(url, SCHEMA, fix="Remove it.").num_rows == 0


def test_damage_is_told_with_its_fix(tmp_path):
    path = tmp_path / "t.parquet"
    parquet.write(TABLE, str(path))
    sound = path.read_bytes()
    other = io.BytesIO()
    pq.write_table(TABLE.drop_columns("url"), other)
    for damage in (b"", sound[:-1], sound[:20] + sound[21:], other.getvalue(), b"PAR1" + bytes(50) + b"PAR1"):
        path.write_bytes(damage)
        with pytest.raises(UsageError, match=r"t\.parquet: .*Remove it\.") as refused:
            parquet.read(str(path), SCHEMA, fix="Remove it.")
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("there", [0, 1, 2])
def test_later_columns_may_be_missing_from_the_last_on_and_are_null(tmp_path, there):
    later = ("colour", "weight")
    schema = pa.schema([*SCHEMA, pa.field("colour", pa.string()), pa.field("weight", pa.int64())])
    path = str(tmp_path / "t.parquet")
    full = TABLE.append_column("colour", pa.array(["red", None])).append_column("weight", pa.array([1, 2]))
    written = full.select(full.column_names[: 2 + there]).cast(pa.schema(list(schema)[: 2 + there]))
    parquet.write(written, path)
    found = parquet.read(path, schema, fix="Remove it.")
    assert found.schema == schema
    assert found.select(written.column_names).equals(written)
    assert all(found[name].null_count == 2 for name in later[there:])
    some = parquet.read_columns(path, schema, ["weight", "url"], fix="Remove it.")
    assert some.equals(found.select(["weight", "url"]))
    with parquet.opened(path, schema, fix="Remove it.") as file:
        assert file.schema_arrow.names == written.column_names


def test_other_columns_are_told_where_some_may_be_missing(tmp_path):
    schema = pa.schema([*SCHEMA, pa.field("colour", pa.string()), pa.field("weight", pa.int64())])
    path = str(tmp_path / "t.parquet")
    parquet.write(TABLE.append_column("weight", pa.array([1, 2])), path)
    with pytest.raises(UsageError, match="its columns"):
        parquet.read(path, schema, fix="Remove it.")
