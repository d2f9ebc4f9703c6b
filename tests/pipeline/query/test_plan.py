"""What is known of a statement before it runs; the answers themselves are held to it in test_pruning.py."""

import pytest

from maskmill.pipeline.query.plan import plan_of


@pytest.mark.parametrize(
    ("sql", "classes"),
    [
        ("FROM segments WHERE class = 'zebra'", {"zebra"}),
        ("FROM segments WHERE class IN ('zebra', 'it''s')", {"zebra", "it's"}),
        ("FROM segments WHERE class = 'a' OR class = 'b'", {"a", "b"}),
        ("SELECT 1 FROM segments a JOIN segments b USING (shard) WHERE a.class = 'a' AND b.class = 'b'", {"a", "b"}),
        ("FROM samples s WHERE EXISTS (FROM segments g WHERE g.shard = s.shard AND g.class = 'a')", {"a"}),
        ("SELECT class, count(*) FROM segments GROUP BY 1 HAVING class = 'a'", {"a"}),
        ("FROM segments", None),
        ("FROM segments WHERE class = 'a' UNION ALL FROM segments", None),
        ("FROM segments WHERE class = 'a' OR score > 0.5", None),
        ("FROM (SELECT *, row_number() OVER (ORDER BY score) FROM segments) WHERE class = 'a'", None),
        ("FROM segments WHERE score > 0.5 AND lower(class) = 'a'", None),
        ("FROM segments a LEFT JOIN segments b ON a.class = 'a' AND a.shard = b.shard", None),
    ],
)  # fmt: skip
def test_classes_are_those_that_every_reading_is_bounded_to(sql, classes):
    plan = plan_of(sql)
    assert plan is not None
    assert plan.classes == classes


def test_views_are_those_whose_names_stand_there_in_whatever_spelling():
    plan = plan_of("WITH a AS (FROM Segments) SELECT 1 FROM a, main.classes c WHERE false")
    assert plan is not None
    assert plan.views == {"segments", "classes"}


@pytest.mark.parametrize("sql", ["SELEC", "FROM nothing", "FROM '/etc/passwd'", "FROM read_text('/etc/passwd')"])
def test_a_wrong_statement_has_no_plan(sql):
    assert plan_of(sql) is None
