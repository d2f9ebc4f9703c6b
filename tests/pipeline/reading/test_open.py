from collections.abc import Iterator
from pathlib import Path

import pytest

from maskmill.pipeline.reading.errors import SampleError, ShardError
from maskmill.pipeline.reading.images import decode_sample
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.open import open_shard
from maskmill.pipeline.shards.shard import describe
from tests import hostile


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, hostile.Expected]]:
    path = tmp_path_factory.mktemp("hostile")
    return path, hostile.write_hostile(path)


def reasons(path: Path, limits: ReadLimits) -> Iterator[tuple[str | None, tuple[str, ...]]]:
    with open_shard(describe(str(path)), path.parent, limits) as opened:
        assert opened.bytes == path.stat().st_size
        for index, sample in enumerate(opened.samples):
            assert sample.index == index
            sample.key.encode()
            try:
                decode_sample(sample, limits)
                yield None, sample.warnings
            except SampleError as error:
                yield error.reason, sample.warnings


@pytest.mark.parametrize("name", [f"{name}.tar" for name in sorted(hostile.cases())])
def test_a_hostile_shard_ends_as_it_must(folder: tuple[Path, dict[str, hostile.Expected]], name: str) -> None:
    path, expected = folder[0] / name, folder[1][name]
    if expected.shard is None:
        found = list(reasons(path, ReadLimits()))
        assert tuple(reason for reason, _ in found) == expected.samples
        assert tuple(words for _, words in found) == (expected.warnings or ((),) * len(found))
        with open_shard(describe(str(path)), path.parent, ReadLimits()) as opened:
            assert (opened.report.unkeyed, opened.report.directories) == (expected.unkeyed, expected.directories)
    else:
        with pytest.raises(ShardError) as raised:
            list(reasons(path, ReadLimits()))
        assert raised.value.reason == expected.shard


@pytest.mark.parametrize("name", [f"{name}.tar" for name in sorted(hostile.cases())])
def test_keeping_truncated_shards_changes_those_alone(
    folder: tuple[Path, dict[str, hostile.Expected]], name: str
) -> None:
    path, expected = folder[0] / name, folder[1][name]
    limits = ReadLimits(keep_truncated=True)
    if expected.kept is not None:
        assert len(list(reasons(path, limits))) == expected.kept
    elif expected.shard is not None:
        with pytest.raises(ShardError) as raised:
            list(reasons(path, limits))
        assert raised.value.reason == expected.shard
    else:
        assert len(list(reasons(path, limits))) == len(expected.samples)
