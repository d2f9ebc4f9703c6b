"""The manifest holds what a run was asked for: every shard once, as it was last seen."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.shard import Shard, describe_many


def shard(name: str, etag: str | None = "1", size: int | None = 10) -> Shard:
    return Shard(url=f"s3://b/{name}.tar", source=f"s3://b/{name}.tar", size=size, etag=etag, missing=size is None)


def test_a_run_that_was_asked_for_nothing_has_an_empty_manifest(tmp_path):
    output = Output.of(str(tmp_path))
    assert manifest.read(output).num_rows == 0
    assert manifest.add(output, []) == 0
    assert output.manifest_parts() == []


def test_each_label_adds_what_is_new_in_the_order_of_asking(tmp_path):
    output = Output.of(str(tmp_path))
    assert manifest.add(output, [shard("b"), shard("a")]) == 2
    assert manifest.add(output, [shard("a"), shard("c")]) == 1
    assert manifest.read(output)["url"].to_pylist() == ["s3://b/b.tar", "s3://b/a.tar", "s3://b/c.tar"]
    assert [pq.read_table(part).num_rows for part in output.manifest_parts()] == [2, 1]


def test_the_same_label_again_writes_nothing(tmp_path):
    output = Output.of(str(tmp_path))
    shards = [shard("a"), shard("gone", None, None)]
    assert manifest.add(output, shards) == 2
    assert manifest.add(output, shards) == 0
    assert len(output.manifest_parts()) == 1


def test_a_shard_that_moved_is_kept_as_it_was_last_seen(tmp_path):
    output = Output.of(str(tmp_path))
    manifest.add(output, [shard("a", "1"), shard("b")])
    manifest.add(output, [shard("a", "2", 11)])
    manifest.add(output, [shard("c"), shard("b", None)])
    asked = manifest.read(output)
    assert asked["url"].to_pylist() == ["s3://b/a.tar", "s3://b/b.tar", "s3://b/c.tar"]
    assert asked["etag"].to_pylist() == ["2", None, "1"]
    assert asked["size"].to_pylist() == [11, 10, 10]


def test_a_part_names_the_label_file_of_each_shard(tmp_path, scenes):
    output = Output.of(str(tmp_path))
    manifest.add(output, describe_many([str(path) for path in scenes]))
    table = pq.read_table(output.manifest_parts()[0])
    assert table.schema.equals(manifest.SCHEMA)
    for record in table.to_pylist():
        path = Path(record["url"])
        assert record["label_file"].startswith(f"{path.stem}-")
        assert record["label_file"].endswith(".parquet")
        assert record["size"] == path.stat().st_size


def test_a_forgotten_shard_is_gone_until_it_is_asked_for_again(tmp_path):
    output = Output.of(str(tmp_path))
    manifest.add(output, [shard("a"), shard("b"), shard("c")])
    manifest.forget(output, [shard("b"), shard("c")])
    assert manifest.read(output)["url"].to_pylist() == ["s3://b/a.tar"]
    assert manifest.label_files(output).asked == 1
    assert manifest.add(output, [shard("a"), shard("b")]) == 1
    assert manifest.read(output)["url"].to_pylist() == ["s3://b/a.tar", "s3://b/b.tar"]


def test_another_etag_of_the_same_bytes_is_kept_with_the_one_it_was_labeled_with(tmp_path):
    output = Output.of(str(tmp_path))
    manifest.add(output, [shard("a", "1")])
    manifest.accept(output, [shard("a", "2")], ["1"])
    assert manifest.add(output, [shard("a", "2")]) == 0
    (row,) = manifest.read(output).to_pylist()
    assert (row["etag"], row["same_as"]) == ("2", "1")
    manifest.add(output, [shard("a", "3")])
    (row,) = manifest.read(output).to_pylist()
    assert (row["etag"], row["same_as"]) == ("3", None)


def test_parts_of_older_versions_are_read_beside_new_ones(tmp_path):
    output = Output.of(str(tmp_path))
    manifest.add(output, [shard("a"), shard("b")])
    (part,) = output.manifest_parts()
    pq.write_table(pq.read_table(part).select(["url", "size", "etag", "label_file"]), part)
    assert manifest.read(output).schema.equals(manifest.SCHEMA)
    assert manifest.add(output, [shard("a"), shard("c")]) == 1
    manifest.forget(output, [shard("a")])
    assert manifest.read(output)["url"].to_pylist() == ["s3://b/b.tar", "s3://b/c.tar"]


def test_a_part_with_other_columns_is_wrong_usage(tmp_path):
    output = Output.of(str(tmp_path))
    manifest.add(output, [shard("a")])
    (part,) = output.manifest_parts()
    pq.write_table(pq.read_table(part).select(["url", "size"]), part)
    with pytest.raises(UsageError, match="its columns aren't those"):
        manifest.read(output)


def test_no_credentials_reach_the_manifest(tmp_path):
    output = Output.of(str(tmp_path))
    source = "https://user:hunter2@host/a.tar?token=hunter3"
    manifest.add(output, [Shard(url="https://host/a.tar", source=source, size=1, etag="1")])
    data = Path(output.manifest_parts()[0]).read_bytes()
    assert b"hunter" not in data
    assert "hunter" not in str(pq.read_table(output.manifest_parts()[0]).to_pylist())
