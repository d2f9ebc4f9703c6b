"""Asks a label table in SQL, with DuckDB, reading and nothing else. What the views mean is in views.py."""

from maskmill.pipeline.query.bounded import Limits, process_memory
from maskmill.pipeline.query.formats import Answer, csv_lines, json_lines, table_lines, write_parquet
from maskmill.pipeline.query.session import ask

__all__ = [
    "Answer",
    "Limits",
    "ask",
    "csv_lines",
    "json_lines",
    "process_memory",
    "table_lines",
    "write_parquet",
]
