"""What the views say, held against the rows themselves."""

import json
from collections import Counter, defaultdict

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.ledger import LedgerRow
from maskmill.pipeline.query import ask
from maskmill.pipeline.table.filters import SegmentFilter
from tests.table_scale import make


def asked(out, sql, **keep):
    with ask(str(out), sql, SegmentFilter(**keep)) as answer:
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]


def expected_classes(rows, names, keep=lambda segment: True):
    """Images, segments, share and mean score by name, of the classes found."""
    found, images, pixels = defaultdict(list), Counter(), 0
    for row in rows:
        if row["status"] == "ok":
            pixels += row["mask_width"] * row["mask_height"]
            passing = [segment for segment in row["segments"] if keep(segment)]
            images.update({names[segment["vocab_id"]] for segment in passing})
            for segment in passing:
                found[names[segment["vocab_id"]]].append(segment)
    return {
        name: {
            "images": images[name],
            "segments": len(segments),
            "share": pytest.approx(sum(segment["area"] for segment in segments) / pixels),
            "mean_score": pytest.approx(sum(segment["score"] for segment in segments) / len(segments)),
        }
        for name, segments in found.items()
    }


def test_samples_has_a_row_for_each_sample(made, rows):
    found = asked(made, "FROM samples ORDER BY shard, sample_index")
    assert len(found) == len(rows) == 5400
    by_place = {(row["shard"], row["sample_index"]): row for row in rows}
    for sample in found:
        row = by_place[sample["shard"], sample["sample_index"]]
        assert sample["key"] == row["key"]
        assert sample["segments"] == (None if row["segments"] is None else len(row["segments"]))
        assert sample["reason"] == (None if row["error"] is None else "decode")


def test_segments_has_a_row_for_each_segment_with_its_class_and_its_place(made, rows, names):
    found = asked(made, "FROM segments")
    by_place = {(row["shard"], row["sample_index"]): row for row in rows}
    assert len(found) == sum(len(row["segments"] or ()) for row in rows)
    for segment in found:
        row = by_place[segment["shard"], segment["sample_index"]]
        stored = row["segments"][segment["segment"]]
        assert {name: segment[name] for name in stored} == stored
        assert segment["class"] == names[stored["vocab_id"]]
        assert segment["share"] == pytest.approx(stored["area"] / (row["mask_width"] * row["mask_height"]))


def test_a_segment_leads_to_its_mask(made, rows):
    sql = """SELECT g.shard, g.sample_index, g.segment, l.masks[g.segment + 1] AS mask
             FROM segments g JOIN labels l USING (shard, sample_index)"""
    by_place = {(row["shard"], row["sample_index"]): row for row in rows}
    for found in asked(made, sql):
        assert found["mask"] == by_place[found["shard"], found["sample_index"]]["masks"][found["segment"]]


def test_classes_counts_every_class_found_or_not(made, rows, names):
    found = {
        row.pop("name"): row for row in asked(made, "SELECT name, images, segments, share, mean_score FROM classes")
    }
    assert set(found) == set(names.values())
    expected = expected_classes(rows, names)
    assert {name: row for name, row in found.items() if row["segments"]} == expected
    assert all(row == {"images": 0, "segments": 0, "share": 0, "mean_score": None}
               for name, row in found.items() if name not in expected)  # fmt: skip


@pytest.mark.parametrize(
    ("keep", "passes"),
    [
        ({"min_score": 0.8}, lambda segment: segment["score"] >= 0.8),
        ({"min_area": 90000, "min_stability": 0.901}, lambda s: s["area"] >= 90000 and s["stability"] >= 0.901),
    ],
)
def test_the_filter_holds_for_segments_and_classes(made, rows, names, keep, passes):
    sql = "SELECT name, images, segments, share, mean_score FROM classes WHERE segments > 0"
    found = {row.pop("name"): row for row in asked(made, sql, **keep)}
    assert found == expected_classes(rows, names, passes)
    (counted,) = asked(made, "SELECT count(*) AS n FROM segments", **keep)
    assert counted["n"] == sum(row["segments"] for row in found.values())


def test_the_filter_by_class_shows_only_these(made, rows, names):
    keep = {"classes": ("zebra", "grass"), "min_score": 0.7}
    wanted = {"zebra", "grass"}
    sql = "SELECT name, images, segments, share, mean_score FROM classes"
    found = {row.pop("name"): row for row in asked(made, sql, **keep)}
    expected = expected_classes(rows, names, lambda s: names[s["vocab_id"]] in wanted and s["score"] >= 0.7)
    assert found == expected
    assert {row["class"] for row in asked(made, "FROM segments", **keep)} == {"zebra", "grass"}
    left = asked(made, "SELECT DISTINCT class FROM segments", leave_out=("grass",))
    assert "grass" not in {row["class"] for row in left}


def test_failures_holds_failed_samples_and_failed_shards(tmp_path):
    out = tmp_path / "out"
    make(out, 3, 3000, masks=2)
    lost = ledger.read(str(out / "ledger.parquet"))
    (out / "labels" / lost[2].label_file).unlink()
    (out / "failed").mkdir()
    failed = LedgerRow(url=lost[2].url, state="failed", error="missing_shard: no such object", attempts=3)
    name = lost[2].label_file.replace(".parquet", ".json")
    (out / "failed" / name).write_text(json.dumps(failed.to_json()))
    found = asked(out, "FROM failures ORDER BY key NULLS LAST")
    assert found[-1] == {
        "key": None,
        "reason": "missing_shard",
        "error": "missing_shard: no such object",
        "shard": lost[2].url,
        "sample_index": None,
    }
    assert len(found) - 1 == sum(row.counts.failed.get("decode", 0) for row in lost[:2]) > 0
    assert {row["reason"] for row in found[:-1]} == {"decode"}


def test_a_filter_that_would_change_nothing_is_refused(made):
    with pytest.raises(UsageError, match="neither `segments` nor `classes`"):
        asked(made, "FROM samples", min_score=0.5)
    with pytest.raises(UsageError, match="'zebr': not in this run's vocabulary"):
        asked(made, "FROM segments", classes=("zebr",))


def test_the_views_are_what_show_tables_lists(made):
    assert asked(made, "SHOW TABLES") == asked(made, "-- all\nshow  tables; -- of them")
    assert [row["name"] for row in asked(made, "SHOW TABLES")] == [
        "classes", "failures", "labels", "ledger", "samples", "segments", "vocabulary",
    ]  # fmt: skip


def test_views_answer_before_there_is_a_ledger(tmp_path):
    out = tmp_path / "out"
    make(out, 2, 40, masks=2)
    before = asked(out, "FROM classes ORDER BY vocab_id"), asked(out, "FROM failures")
    (out / "ledger.parquet").unlink()
    assert (asked(out, "FROM classes ORDER BY vocab_id"), asked(out, "FROM failures")) == before
