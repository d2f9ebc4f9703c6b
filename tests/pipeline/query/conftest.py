"""A made-up table that questions are asked about. Tests only read it."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.table_scale import make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six label files of 900 samples each; the first alone holds zebras."""
    folder = tmp_path_factory.mktemp("made") / "out"
    make(folder, 6, 5400, masks=6)
    return folder


@pytest.fixture(scope="session")
def rows(made: Path) -> list[dict]:
    """All rows of its label files, as pyarrow reads them."""
    return [row for path in sorted((made / "labels").iterdir()) for row in pq.ParquetFile(path).read().to_pylist()]


@pytest.fixture(scope="session")
def names(made: Path) -> dict[int, str]:
    """Class names by id."""
    return {row["vocab_id"]: row["name"] for row in pq.read_table(made / "vocabulary.parquet").to_pylist()}
