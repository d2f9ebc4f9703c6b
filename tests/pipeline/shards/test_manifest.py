"""The manifest holds what a run was asked for: every shard once, as it was last seen."""

from pathlib import Path

import pyarrow.parquet as pq

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


def test_no_credentials_reach_the_manifest(tmp_path):
    output = Output.of(str(tmp_path))
    source = "https://user:hunter2@host/a.tar?token=hunter3"
    manifest.add(output, [Shard(url="https://host/a.tar", source=source, size=1, etag="1")])
    data = Path(output.manifest_parts()[0]).read_bytes()
    assert b"hunter" not in data
    assert "hunter" not in str(pq.read_table(output.manifest_parts()[0]).to_pylist())
