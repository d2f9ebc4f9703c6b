"""Several programs on one OUT: the second of two different runs is refused, and nobody's rows are lost."""

import multiprocessing
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.resize import ResizeRule
from maskmill.models.segmenter import Segmenter
from maskmill.pipeline import run
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling.labeling import label_shard
from maskmill.pipeline.ledger import class_ledger, ledger
from maskmill.pipeline.ledger.merging import Merged, from_merged
from maskmill.pipeline.ledger.sources import LedgerReplacedError
from maskmill.pipeline.ledger.status import settle, status
from maskmill.pipeline.output import Output
from maskmill.pipeline.run import AnotherRunError, Identity
from maskmill.pipeline.shards.shard import describe_many
from maskmill.pipeline.stores.publish import read_bytes
from maskmill.pipeline.stores.ranged import open_ranged
from maskmill.pipeline.table.footer import check_file
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.verify import verify
from tests.object_store import ObjectStore, s3_server
from tests.plain_run import MANY_SEGMENTS, PLAIN, label, labeler
from tests.s3_server import S3Server, led_to, moto_server

PROGRAMS = 6


def identity(top_k: int) -> Identity:
    hashes = {"weights": "w" * 64, "vocabulary": "v" * 64, "templates": "t" * 64, "text_features": "f" * 64}
    config = replace(PLAIN, inference=replace(MANY_SEGMENTS, top_k=top_k))
    return run.identity(config, rule=ResizeRule(), **hashes)


def with_top_k(top_k: int) -> LabelConfig:
    return replace(PLAIN, inference=replace(MANY_SEGMENTS, top_k=top_k))


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with s3_server() as found:
        yield found


@pytest.fixture(scope="module")
def moto() -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


@pytest.fixture(params=["folder", "S3", pytest.param("S3 without conditions", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path, store: ObjectStore) -> str:
    """An empty place on each kind of store."""
    store.objects.clear()
    store.unconditional = request.param == "S3 without conditions"
    return str(tmp_path / "out") if request.param == "folder" else "s3://shards/out"


# --- who begins a run ------------------------------------------------------------------------------------------------


def _record(url: str, start: "threading.Barrier", answers: "multiprocessing.Queue[int]", top_k: int) -> None:
    start.wait()
    try:
        run.record(Output.of(url), identity(top_k), LabelConfig())
    except UsageError:
        return
    answers.put(top_k)


def test_of_many_processes_one_begins_the_run_in_a_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        url = str(tmp_path / str(attempt))
        start, answers = context.Barrier(PROGRAMS), context.Queue()
        programs = [context.Process(target=_record, args=(url, start, answers, k)) for k in range(1, PROGRAMS + 1)]
        for program in programs:
            program.start()
        for program in programs:
            program.join()
        winner = answers.get(timeout=60)
        assert answers.empty()
        assert run.require(Output.of(url))["identity"]["top_k"] == winner


def _began(output: Output, start: threading.Barrier, top_k: int) -> int | None:
    start.wait()
    try:
        run.record(output, identity(top_k), LabelConfig())
        return top_k
    except UsageError:
        return None


def test_of_many_one_begins_the_run_on_a_store_with_conditions(moto: S3Server) -> None:
    with led_to(moto), ThreadPoolExecutor(PROGRAMS) as threads:
        for attempt in range(3):
            output = Output.of(moto.url(str(attempt)))
            start = threading.Barrier(PROGRAMS)
            began = list(threads.map(partial(_began, output, start), range(1, PROGRAMS + 1)))
            (winner,) = [top_k for top_k in began if top_k is not None]
            assert run.require(output)["identity"]["top_k"] == winner


def test_the_same_run_may_be_begun_by_many_at_once(place: str) -> None:
    output = Output.of(place)
    start = threading.Barrier(PROGRAMS)

    def begin(_: int) -> None:
        start.wait()
        run.record(output, identity(5), LabelConfig())
        run.confirm(output, identity(5).fingerprint)

    with ThreadPoolExecutor(PROGRAMS) as threads:
        list(threads.map(begin, range(PROGRAMS)))


# --- whose labels ----------------------------------------------------------------------------------------------------


def test_two_jobs_of_different_settings_leave_the_labels_of_one(
    tiny: Segmenter, scenes: list[Path], place: str
) -> None:
    output = Output.of(place)
    start = threading.Barrier(2)

    def job(top_k: int) -> int | None:
        start.wait()
        try:
            label(tiny, scenes, output, with_top_k(top_k))
        except UsageError:
            return None
        return top_k

    with ThreadPoolExecutor(2) as threads:
        ended = list(threads.map(job, [2, 3]))
    recorded = run.require(output)
    assert [top_k for top_k in ended if top_k is not None] == [recorded["identity"]["top_k"]]
    names = output.done()
    assert len(names) == len(scenes)
    for name in names:
        with open_ranged(output.label(name)) as file:
            assert check_file(file).fingerprint == recorded["fingerprint"]
    assert verify(output, deep=True).problems == ()


def test_a_run_that_another_took_over_publishes_no_label_file(tiny: Segmenter, scenes: list[Path], place: str) -> None:
    """As on a store without conditions, where the other looked for run.json before this one's was there."""
    output = Output.of(place)
    run.record(output, identity(2), LabelConfig())
    ours, theirs = identity(2).fingerprint, identity(3).fingerprint
    run.confirm(output, ours)
    output.write_json(output.run, {**run.require(output), "identity": identity(3).recorded, "fingerprint": theirs})
    with pytest.raises(AnotherRunError, match=f"run {theirs[:16]}, this is {ours[:16]}"):
        run.confirm(output, ours)
    shard = describe_many([str(scenes[0])])[0]
    with labeler(tiny, output, fingerprint=ours) as replica:
        row = label_shard(shard, replica)
    assert (row.state, row.reason) == ("failed", "other_run")
    assert (output.done(), output.failures()) == (set(), set())
    with labeler(tiny, output, fingerprint=theirs) as replica:
        assert label_shard(shard, replica).state == "done"


def test_a_label_file_of_another_run_is_a_failed_shard_until_it_is_removed(
    tiny: Segmenter, scenes: list[Path], tmp_path: Path
) -> None:
    output, other = Output.of(str(tmp_path / "out")), Output.of(str(tmp_path / "other"))
    label(tiny, scenes[:1], other, with_top_k(2))
    label(tiny, scenes[1:], output, with_top_k(3))
    (name,) = other.done()
    shutil.copy(other.label(name), output.label(name))
    for _ in range(2):
        now = label(tiny, scenes, output, with_top_k(3))
        (failed,) = now.failures
        assert failed.reason == "other_run"
        assert "Remove it and run the same `label` again" in str(failed.error)
        assert not now.all_done
    assert "made by run" in "".join(problem.text for problem in verify(output).problems)
    Path(output.label(name)).unlink()
    assert label(tiny, scenes, output, with_top_k(3)).all_done
    assert verify(output, deep=True).problems == ()


# --- whose ledger ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tiny: Segmenter, scenes: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Output:
    output = Output.of(str(tmp_path_factory.mktemp("finished") / "out"))
    label(tiny, scenes, output)
    return output


@pytest.fixture
def there(finished: Output, place: str, store: ObjectStore) -> Output:
    """The finished run at each kind of place."""
    for path in Path(finished.url).rglob("*"):
        if path.is_file():
            name = str(path.relative_to(finished.url))
            if place.startswith("s3://"):
                store.put(f"out/{name}", path.read_bytes())
            else:
                Path(place, name).parent.mkdir(parents=True, exist_ok=True)
                Path(place, name).write_bytes(path.read_bytes())
    return Output.of(place)


def _never(_: float) -> None:
    pass


def _replaced(output: Output) -> None:
    """Another process merges the ledger: the same rows in another order."""
    ledger.write(list(reversed(ledger.read(output.ledger))), output.ledger)


def test_a_ledger_that_is_replaced_while_it_is_read_is_read_again(there: Output) -> None:
    expected = sorted(row.url for row in ledger.read(there.ledger))
    calls = []

    def read(now: Merged) -> list[str]:
        calls.append(now)
        if len(calls) == 1:
            _replaced(there)
        return [url for block in now.blocks() for url in block["url"].to_pylist()]

    assert sorted(from_merged(there, read, wait=_never)) == expected
    assert len(calls) == 2


def test_one_that_is_replaced_each_time_is_given_up_with_one_line(there: Output) -> None:
    def read(now: Merged) -> None:
        _replaced(there)
        list(now.blocks())

    with pytest.raises(LedgerReplacedError, match=r"ledger\.parquet: another process replaces it") as gave_up:
        from_merged(there, read, wait=_never)
    assert "\n" not in str(gave_up.value)


def test_a_part_that_is_merged_and_removed_between_two_requests_is_read_again(
    finished: Output, store: ObjectStore
) -> None:
    for path in Path(finished.url).rglob("*"):
        if path.is_file():
            store.put(f"part/{path.relative_to(finished.url)}", path.read_bytes())
    there = Output.of("s3://shards/part")
    rows = ledger.read(there.ledger)
    part = there.ledger_part(ledger.part_name())
    ledger.write([replace(rows[0], attempts=7)], part)
    seen = 0

    def merge(now: Merged) -> list[str]:
        nonlocal seen
        seen += 1
        if seen == 1:
            # Its footer is still there to be read, its rows no longer.
            ledger.write([replace(rows[0], attempts=7), *rows[1:]], there.ledger)
            store.removed.add(part.removeprefix("s3://shards/"))
        return [url for block in now.blocks() for url in block["url"].to_pylist()]

    assert sorted(from_merged(there, merge, wait=_never)) == sorted(row.url for row in rows)
    assert (seen, there.ledger_parts()) == (2, [])


def test_what_another_merged_meanwhile_is_not_written_over(there: Output) -> None:
    def merge(now: Merged) -> None:
        _replaced(there)
        now.refuse_replaced()

    with pytest.raises(LedgerReplacedError):
        from_merged(there, merge, wait=_never)


def test_jobs_that_end_together_lose_no_row(there: Output) -> None:
    before = ledger.read(there.ledger)
    start = threading.Barrier(len(before))

    def end(number: int) -> None:
        row = replace(before[number], attempts=7 + number)
        ledger.write([row], there.ledger_part(f"{ledger.part_name()}-{number}"))
        start.wait()
        settle(there)
        class_ledger.read(LabelTable(there), 48)

    with ThreadPoolExecutor(len(before)) as threads:
        list(threads.map(end, range(len(before))))
    settle(there)
    assert ledger.read(there.ledger) == [replace(row, attempts=7 + n) for n, row in enumerate(before)]
    assert there.ledger_parts() == []


def test_of_two_compactions_into_one_place_the_second_is_refused(
    finished: Output, tiny: Segmenter, scenes: list[Path], place: str, tmp_path: Path
) -> None:
    target, other = Output.of(place), Output.of(str(tmp_path / "other"))
    label(tiny, scenes, other, with_top_k(2))

    def second(line: str) -> None:
        """Begins once the first has published its first file of two, and ends before it goes on."""
        if "1 of 2" in line:
            with pytest.raises(UsageError, match="an unfinished table of another run"):
                compact(other, target, scratch=tmp_path, file_bytes=1)

    compact(finished, target, scratch=tmp_path, file_bytes=1, told=second)
    assert verify(target, deep=True).problems == ()
    with pytest.raises(UsageError, match="a sealed table already"):
        compact(other, target, scratch=tmp_path, file_bytes=1)


def test_two_compactions_of_one_run_into_one_place_make_one_table(finished: Output, place: str, tmp_path: Path) -> None:
    target, start = Output.of(place), threading.Barrier(2)

    def seal(_: int) -> bool:
        start.wait()
        try:
            compact(finished, target, scratch=tmp_path, file_bytes=1)
        except (UsageError, EnvironmentFailure):
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert any(threads.map(seal, range(2)))
    assert verify(target, deep=True).problems == ()


def test_compact_goes_on_where_a_job_ends_beside_it(there: Output, tmp_path: Path) -> None:
    target = Output.of(str(tmp_path / "table"))

    def replaced(_: str) -> None:
        _replaced(there)

    found = compact(there, target, scratch=tmp_path, file_bytes=1, told=replaced)
    assert found.files == 2
    assert verify(target, deep=True).problems == ()
    assert status(target).segments == status(there).segments
    assert read_bytes(there.run) is not None
