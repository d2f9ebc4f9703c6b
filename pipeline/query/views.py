"""The views that people ask, as SQL over the table's files. Which files these are is session.py's choice."""

LABELS = "labels"
"""One row a sample, columns as the label table has them."""

VOCABULARY = "vocabulary"
"""One row a class: vocab_id, name, synonyms, source, kind."""

LEDGER = "ledger"
"""One row a shard, once a run has ended: columns `pipeline.ledger.ledger.SCHEMA`."""

SAMPLES = "samples"
"""One row a sample, failed ones included.

key, status (ok, failed), reason (the fixed word of a failure), error (the word and its detail), segments (how many;
null if failed), width, height, mask_width, mask_height, caption, warnings, sha256, shard, sample_index.
"""

SEGMENTS = "segments"
"""One row a segment of those that the filter lets pass.

class, score, margin, area, share (of the image's mask pixels), mask_score, stability, kept, agreement (null unless the
run was asked for it), bbox, kind (thing, stuff), query, top_ids, top_logits, background_logit, vocab_id, key, shard,
sample_index, segment (its place in the sample, from 0: its mask is labels.masks[segment + 1]).
"""

CLASSES = "classes"
"""One row a class of the vocabulary, found or not, counting what the filter lets pass.

name, images (with at least one), segments, share (of all labeled images' mask pixels), mean_score, kind, vocab_id.
"""

FAILURES = "failures"
"""One row a failed sample, and one a failed shard, whose key and sample_index are null.

key, reason (a fixed word), error (the word and its detail), shard, sample_index.
"""

ALL = (LABELS, VOCABULARY, LEDGER, SAMPLES, SEGMENTS, CLASSES, FAILURES)

TABLES = """
SELECT table_name AS name FROM information_schema.tables
WHERE table_schema = 'main' AND NOT starts_with(table_name, 'maskmill') ORDER BY ALL
"""
"""What SHOW TABLES means: the views, without what stands behind them."""

FIGURES = {"images": "BIGINT", "segments": "BIGINT", "share": "DOUBLE", "mean_score": "DOUBLE"}
"""Columns of `classes` that are computed only where a statement uses them, and their types."""


def figure(name: str) -> str:
    """Name of the SQL function that computes a column of `FIGURES` from a vocab_id."""
    return f"maskmill_{name}"


def samples(labels: str) -> str:
    """`SAMPLES` over label rows, a SQL table expression."""
    return f"""
        SELECT key, status, split_part(error, ':', 1) AS reason, error, len(segments) AS segments, width, height,
            mask_width, mask_height, caption, warnings, sha256, shard, sample_index
        FROM {labels}"""  # noqa: S608 - made here


def segments(labels: str, condition: str) -> str:
    """`SEGMENTS` over label rows; the condition is about a segment `s`."""
    return f"""
        SELECT name AS class, s.score, s.margin, s.area, s.area / (mask_width * mask_height) AS share, s.mask_score,
            s.stability, s.kept, s.agreement, s.bbox, kind, s.query, s.top_ids, s.top_logits, s.background_logit,
            s.vocab_id, key, shard, sample_index, segment
        FROM (
            SELECT key, shard, sample_index, mask_width, mask_height, unnest(segments) AS s,
                generate_subscripts(segments, 1) - 1 AS segment
            FROM {labels}
        ) JOIN {VOCABULARY} ON {VOCABULARY}.vocab_id = s.vocab_id
        WHERE {condition}"""  # noqa: S608 - made here


def classes(condition: str, *, figures: bool) -> str:
    """`CLASSES`; the condition is about a vocab_id; without figures these are null, for a statement's plan."""
    # A function of ours can't answer null; NaN stands for it.
    values = {
        name: f"nullif({figure(name)}(vocab_id), 'nan'::DOUBLE)::{kind}" if figures else f"NULL::{kind}"
        for name, kind in FIGURES.items()
    }
    columns = ", ".join(f"{value} AS {name}" for name, value in values.items())
    return f"SELECT name, {columns}, kind, vocab_id FROM {VOCABULARY} WHERE {condition}"  # noqa: S608 - made here


def failures(labels: str, failed_shards: str) -> str:
    """`FAILURES` over label rows and over the ledger's rows of failed shards."""
    return f"""
        SELECT key, split_part(error, ':', 1) AS reason, error, shard, sample_index FROM {labels}
        WHERE status = 'failed'
        UNION ALL
        SELECT NULL, split_part(error, ':', 1), error, url, NULL FROM {failed_shards}"""  # noqa: S608 - made here
