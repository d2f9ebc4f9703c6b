import duckdb
import numpy as np
import pytest

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.table.filters import SegmentFilter

VOCABULARY = Vocabulary.of(["sky", "road", "zebra"])

SEGMENTS = [
    {"vocab_id": v, "score": s, "margin": s / 2, "mask_score": m, "stability": m, "kept": m, "agreement": m, "area": a}
    for v in (0, 1, 2)
    for s in (0.25, 0.5, 0.875)
    for m in (None, 0.125, 0.75)
    for a in (1, 100)
]

FILTERS = [
    SegmentFilter(),
    SegmentFilter(min_score=0.5),
    SegmentFilter(min_margin=0.25, min_area=2),
    SegmentFilter(min_stability=0.5, classes=("zebra", "sky")),
    SegmentFilter(min_mask_score=0.125, min_kept=0.2, leave_out=("road",)),
    SegmentFilter(min_agreement=0.2, min_score=0.3),
    SegmentFilter(classes=("sky",), leave_out=("sky",)),
]


@pytest.mark.parametrize("asked", FILTERS)
def test_a_row_a_query_and_columns_are_filtered_alike(asked):
    bound = asked.bound(VOCABULARY, "general")
    table = duckdb.connect()
    table.execute(
        "CREATE TABLE t (i INT, s STRUCT(vocab_id INT, score FLOAT, margin FLOAT, mask_score FLOAT, stability FLOAT, "
        "kept FLOAT, agreement FLOAT, area INT))"
    )
    table.executemany("INSERT INTO t VALUES (?, ?)", list(enumerate(SEGMENTS)))
    asked_in_sql = {row[0] for row in table.execute(f"SELECT i FROM t WHERE {bound.sql('s')}").fetchall()}
    passing = {i for i, segment in enumerate(SEGMENTS) if bound.keeps(segment)}
    assert asked_in_sql == passing
    columns = {
        name: np.array([np.nan if segment[name] is None else segment[name] for segment in SEGMENTS], kind)
        for name, kind in {name: "i4" if name in ("vocab_id", "area") else "f4" for name in SEGMENTS[0]}.items()
    }
    assert set(np.flatnonzero(bound.passing(columns)).tolist()) == passing


@pytest.mark.parametrize("value", [0.7, 0.8])
def test_a_bound_passes_what_equals_it_in_the_tables_precision(value):
    bound = SegmentFilter(min_score=value).bound(VOCABULARY, "general")
    stored = float(np.float32(value))
    segment = SEGMENTS[0] | {"score": stored}
    row = duckdb.connect().execute(f"SELECT {bound.sql('s')} FROM (SELECT {{'score': {stored!r}::FLOAT}} AS s)")
    assert row.fetchall() == [(True,)]
    assert bound.keeps(segment)


def test_a_synonym_names_its_class(tmp_path):
    file = tmp_path / "names.yaml"
    file.write_text("- {name: sky, kind: stuff}\n- {name: road, synonyms: [street, heaven]}\n")
    vocabulary = Vocabulary.load(str(file))
    assert SegmentFilter(classes=("street",)).bound(vocabulary, "general").ids == {1}
    assert SegmentFilter(classes=("sky",)).bound(vocabulary, "general").ids == {0}


@pytest.mark.parametrize(
    ("asked", "inference", "said"),
    [
        (SegmentFilter(classes=("zebar",)), "general", "--classes 'zebar'"),
        (SegmentFilter(leave_out=("zebar",)), "general", "--leave-out 'zebar'"),
        (SegmentFilter(min_stability=0.5), "semantic", "--min-stability 0.5"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(asked, inference, said):
    with pytest.raises(UsageError, match=said):
        asked.bound(VOCABULARY, inference)


def test_agreement_is_not_asked_of_a_run_without_it():
    asked = SegmentFilter(min_agreement=0.5)
    with pytest.raises(UsageError, match=r"--min-agreement 0\.5: this run was labeled without --agreement"):
        asked.bound(VOCABULARY, "general", agreement=False)
    assert asked.bound(VOCABULARY, "semantic").floors == {"agreement": 0.5}
    assert SegmentFilter().bound(VOCABULARY, "general", agreement=False).floors == {}


def test_a_training_that_began_before_a_bound_was_offered_has_the_same_filter():
    assert set(SegmentFilter().stated) == {
        "min_score", "min_margin", "min_mask_score", "min_stability", "min_kept", "min_area", "classes", "leave_out",
    }  # fmt: skip
    assert SegmentFilter(min_agreement=0.5).stated["min_agreement"] == 0.5


def test_bounds_are_shares():
    with pytest.raises(UsageError, match="--min-score 80"):
        SegmentFilter(min_score=80)
