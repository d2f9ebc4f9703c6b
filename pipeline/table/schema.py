"""The label table's columns and footer, written once. Every reader and writer of a label file takes its schema here."""

import pyarrow as pa

SCHEMA_VERSION = 2
"""Raised by every change to the columns; stands in each footer. What older versions wrote is older.py's."""

SEGMENT = pa.struct(
    [
        pa.field("query", pa.int16()),
        pa.field("vocab_id", pa.int32()),
        pa.field("score", pa.float32()),
        pa.field("margin", pa.float32()),
        pa.field("top_ids", pa.list_(pa.int32())),
        pa.field("top_logits", pa.list_(pa.float32())),
        pa.field("background_logit", pa.float32()),
        pa.field("mask_score", pa.float32()),
        pa.field("stability", pa.float32()),
        pa.field("kept", pa.float32()),
        pa.field("area", pa.int32()),
        pa.field("bbox", pa.list_(pa.int32())),
        pa.field("agreement", pa.float32()),
    ]
)
"""Scalars of one segment, fields as in `models.segment.Segment`; counting never has to read a mask."""

LABELS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("warnings", pa.list_(pa.string())),
        pa.field("sha256", pa.binary()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("mask_width", pa.int32()),
        pa.field("mask_height", pa.int32()),
        pa.field("caption", pa.string()),
        pa.field("candidates", pa.list_(pa.int32())),
        pa.field("segments", pa.list_(SEGMENT)),
        pa.field("masks", pa.list_(pa.binary())),
        pa.field("logit_width", pa.int16()),
        pa.field("logit_height", pa.int16()),
        pa.field("mask_logits", pa.list_(pa.binary())),
    ]
)
"""One row a sample in shard order, failed samples included."""

STATUS_OK = "ok"
"""`status` of a labeled sample."""

STATUS_FAILED = "failed"
"""`status` of a sample that could not be labeled; `error` says why."""

DICTIONARY_COLUMNS = ["shard", "status"]
"""Columns whose values repeat; the others are stored plain."""

ROW_GROUP_BYTES = 64 << 20
"""About how much Arrow memory one row group holds."""

FOOTER_KEY = b"maskmill"
"""Key of the footer's JSON in the Parquet file's metadata; its form is `pipeline.table.footer.Footer`."""
