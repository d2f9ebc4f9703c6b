"""Which label files a statement opens: those that can't matter are destroyed, and nobody notices."""

import shutil
from pathlib import Path

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.output import Output
from maskmill.pipeline.query import ask
from maskmill.pipeline.table.filters import SegmentFilter

ZEBRAS = "SELECT shard, sample_index, segment, score FROM segments WHERE class = 'zebra' ORDER BY ALL"


def asked(out, sql, **keep):
    with ask(str(out), sql, SegmentFilter(**keep)) as answer:
        return list(answer.rows)


@pytest.fixture
def broken(made: Path, tmp_path: Path) -> Path:
    """The table with garbage for every label file but the one that holds zebras."""
    out = tmp_path / "broken"
    shutil.copytree(made, out)
    for path in (out / "labels").iterdir():
        if not path.name.startswith("000000-"):
            path.write_bytes(b"garbage" * 100)
    return out


@pytest.mark.parametrize(
    ("sql", "keep"),
    [
        (ZEBRAS, {}),
        ("SELECT shard, sample_index, segment, score FROM segments ORDER BY ALL", {"classes": ("zebra",)}),
        ("WITH z AS (FROM segments) SELECT shard, sample_index, segment, score FROM z WHERE class='zebra' ORDER BY ALL",
         {}),
        ("SELECT shard, sample_index, g.segment, g.score FROM (FROM segments WHERE class IN ('zebra', 'none')) g "
         "ORDER BY ALL", {}),
    ],
)  # fmt: skip
def test_only_files_with_the_class_are_opened(made, broken, sql, keep):
    expected = asked(made, ZEBRAS)
    assert expected
    assert asked(broken, sql, **keep) == expected


def test_class_counts_open_no_label_file(made, broken):
    sql = "SELECT name, images, segments FROM classes ORDER BY ALL"
    assert asked(broken, sql) == asked(made, sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM segments",
        "SELECT count(*) FROM segments WHERE class != 'zebra'",
        "SELECT count(*) FROM segments WHERE class = 'zebra' OR score > 0.9",
        "SELECT count(*) FILTER (class = 'zebra') FROM segments",
        "SELECT count(*) FROM segments a LEFT JOIN segments b ON a.shard = b.shard AND b.class = 'zebra'",
        "SELECT sum(share) FROM classes",
        "SELECT count(*) FROM samples",
    ],
)
def test_what_needs_all_files_says_which_is_damaged(broken, sql):
    with pytest.raises(UsageError, match=r"labels/.*maskmill verify"):
        asked(broken, sql)


@pytest.mark.parametrize(
    "where",
    [
        "class = 'zebra'",
        "class IN ('zebra', 'grass')",
        "class = 'no such class'",
        "class = 'it''s' OR class = 'zebra'",
        "class = 'zebra' AND class = 'grass'",
        "class = 'zebra' AND score > 0.8",
        "class LIKE 'ze%'",
        "class = (SELECT 'zebra')",
        "false",
    ],
)
def test_pruning_changes_no_answer(made, where):
    pruned = asked(made, f"SELECT shard, sample_index, segment FROM segments WHERE {where} ORDER BY ALL")
    # A condition on a volatile expression is never pushed down to the files.
    volatile = "(SELECT *, random() AS r FROM segments)"
    whole = asked(made, f"SELECT shard, sample_index, segment FROM {volatile} WHERE r >= 0 AND ({where}) ORDER BY ALL")
    assert pruned == whole


def test_a_file_that_the_ledger_does_not_know_is_asked_too(made, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    (out / "ledger.parquet").unlink()
    assert asked(out, ZEBRAS) == asked(made, ZEBRAS)


def test_a_sealed_table_is_pruned_too(made, tmp_path):
    sealed = tmp_path / "sealed"
    compact(Output.of(str(made)), Output.of(str(sealed)), scratch=tmp_path, file_bytes=1)
    files = sorted((sealed / "labels").iterdir())
    assert len(files) == 6
    for path in files[1:]:
        path.write_bytes(b"garbage")
    assert asked(sealed, ZEBRAS) == asked(made, ZEBRAS)


def test_failures_open_only_files_with_a_failed_sample(made, broken):
    held = {row[0] for row in asked(made, "SELECT DISTINCT shard FROM failures")}
    for path in sorted((made / "labels").iterdir()):
        good = f"s3://made-up/shards/{path.name[:6]}.tar" in held
        (broken / "labels" / path.name).write_bytes(path.read_bytes() if good else b"garbage")
    assert asked(broken, "FROM failures ORDER BY ALL") == asked(made, "FROM failures ORDER BY ALL")
