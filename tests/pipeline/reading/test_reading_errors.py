import pickle
from typing import get_args

import pytest

from maskmill.pipeline.reading import errors
from maskmill.pipeline.reading.errors import (
    MAX_DETAIL,
    SAMPLE_REASONS,
    SHARD_REASONS,
    WARNINGS,
    SampleError,
    ShardError,
)


def test_every_reason_word_is_explained() -> None:
    assert tuple(SAMPLE_REASONS) == get_args(errors.SampleReason)
    assert tuple(SHARD_REASONS) == get_args(errors.ShardReason)
    assert tuple(WARNINGS) == get_args(errors.WarningWord)
    assert all(word == word.lower() and " " not in word for word in (*SAMPLE_REASONS, *SHARD_REASONS, *WARNINGS))


def test_a_detail_is_one_short_printable_line_without_secrets() -> None:
    error = ShardError("read", "https://u:SECRET@h/a\n\x1b[31mred\udcff " + "x" * 10**6)
    assert "SECRET" not in str(error)
    assert str(error).isprintable()
    assert len(error.detail) == MAX_DETAIL
    str(error).encode()


@pytest.mark.parametrize("error", [SampleError("decode", "why"), ShardError("truncated")])
def test_an_error_travels_between_processes(error: SampleError | ShardError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.reason, again.detail, str(again)) == (
        type(error),
        error.reason,
        error.detail,
        str(error),
    )
