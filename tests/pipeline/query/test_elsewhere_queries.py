"""The README's questions asked with other tools, without maskmill: they stay true as long as these pass."""

from pathlib import Path

import duckdb
import polars as pl
import pyarrow.compute as pc
import pyarrow.parquet as pq

from maskmill.pipeline.query import ask

ZEBRAS = (
    "SELECT shard, sample_index, max(score) AS score FROM segments WHERE class = 'zebra' AND score > 0.8 GROUP BY ALL"
)
CLASSES = "SELECT name, images, segments FROM classes WHERE segments > 0"


def asked(out, sql):
    with ask(str(out), sql) as answer:
        return sorted(answer.rows)


def test_plain_duckdb_answers_alike(made, monkeypatch):
    monkeypatch.chdir(made.parent)
    zebras = duckdb.sql("""
        SELECT shard, sample_index, max(s.score) AS score
        FROM (SELECT shard, sample_index, unnest(segments) AS s FROM 'out/labels/*.parquet')
        JOIN 'out/vocabulary.parquet' v ON v.vocab_id = s.vocab_id
        WHERE v.name = 'zebra' AND s.score > 0.8 GROUP BY ALL
    """)
    assert sorted(zebras.fetchall()) == asked(made, ZEBRAS)
    counts = duckdb.sql("""
        SELECT name, sum(c.images)::BIGINT AS images, sum(c.segments)::BIGINT AS segments
        FROM (SELECT unnest(class_counts) AS c FROM 'out/ledger.parquet')
        JOIN 'out/vocabulary.parquet' v ON v.vocab_id = c.vocab_id GROUP BY name
    """)
    assert sorted(counts.fetchall()) == asked(made, CLASSES)


def test_polars_answers_alike(made, monkeypatch):
    monkeypatch.chdir(made.parent)
    zebras = (
        pl.scan_parquet("out/labels/*.parquet")
        .select("shard", "sample_index", "segments")
        .explode("segments")
        .unnest("segments")
        .join(pl.scan_parquet("out/vocabulary.parquet"), on="vocab_id")
        .filter(pl.col("name") == "zebra", pl.col("score") > 0.8)
        .group_by("shard", "sample_index")
        .agg(pl.col("score").max())
        .collect()
    )
    assert sorted(zebras.rows()) == asked(made, ZEBRAS)
    counts = (
        pl.scan_parquet("out/ledger.parquet")
        .select(pl.col("class_counts").explode())
        .unnest("class_counts")
        .group_by("vocab_id")
        .agg(pl.col("images", "segments").sum())
        .join(pl.scan_parquet("out/vocabulary.parquet"), on="vocab_id")
        .select("name", "images", "segments")
        .collect()
    )
    assert sorted(counts.rows()) == asked(made, CLASSES)


def test_pyarrow_answers_alike(made, monkeypatch):
    monkeypatch.chdir(made.parent)
    counts = pq.read_table("out/ledger.parquet", columns=["class_counts"])["class_counts"]
    flat = pc.list_flatten(counts).combine_chunks()
    names = pq.read_table("out/vocabulary.parquet")["name"]
    found: dict[str, list[int]] = {}
    for entry in flat.to_pylist():
        total = found.setdefault(names[entry["vocab_id"]].as_py(), [0, 0])
        total[0] += entry["images"]
        total[1] += entry["segments"]
    assert sorted((name, *total) for name, total in found.items()) == asked(made, CLASSES)
    # Of a list of structs single fields can be read: 8 bytes a segment instead of the row.
    leaves = ["segments.list.element.vocab_id", "segments.list.element.score"]
    zebra, above = names.to_pylist().index("zebra"), 0
    for path in Path("out/labels").iterdir():
        segments = pc.list_flatten(pq.ParquetFile(path).read(columns=leaves)["segments"])
        scores, ids = pc.struct_field(segments, "score"), pc.struct_field(segments, "vocab_id")
        above += pc.sum(pc.and_(pc.equal(ids, zebra), pc.greater(scores, 0.8))).as_py()
    assert [(above,)] == asked(made, "SELECT count(*) FROM segments WHERE class = 'zebra' AND score > 0.8::FLOAT")
