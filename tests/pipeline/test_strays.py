"""Files that desktops and browsers leave among a run's own are read by nothing, and counted by nothing."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.jobs import cli
from maskmill.pipeline.dataset import LabeledImages
from maskmill.pipeline.output import Output
from maskmill.pipeline.verify import verify
from tests.killed import killed_as_it_wrote
from tests.plain_run import label

STRAYS = ("Thumbs.db", ".DS_Store", "desktop.ini", "x (1).parquet", "notes.txt")
FOLDERS = ("manifest", "labels", "failed", "text", "ledger-parts")


@pytest.fixture(scope="module")
def run(tiny, scenes, tmp_path_factory) -> Output:
    output = Output.of(str(tmp_path_factory.mktemp("run") / "out"))
    label(tiny, scenes[:1], output)
    return output


@pytest.fixture
def littered(run, tmp_path) -> Output:
    """The run with strays in all its folders; in labels/ and manifest/ also a copy of a file of its own."""
    shutil.copytree(run.url, tmp_path / "out")
    for folder in FOLDERS:
        (tmp_path / "out" / folder).mkdir(exist_ok=True)
        for name in STRAYS:
            (tmp_path / "out" / folder / name).write_bytes(b"\x00 something else")
    for folder in ("labels", "manifest"):
        (path,) = Path(run.url, folder).iterdir()
        shutil.copy(path, tmp_path / "out" / folder / f"{path.stem} (1).parquet")
    return Output.of(str(tmp_path / "out"))


def printed(capsys, *arguments: str) -> str:
    assert cli.run(arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [("status", "--json"), ("stats", "--json")])
def test_status_and_stats_say_what_they_say_without_strays(run, littered, capsys, arguments):
    command, option = arguments
    found, clean = (json.loads(printed(capsys, command, out.url, option)) for out in (littered, run))
    assert found == clean


@pytest.mark.parametrize(
    "sql", ["SELECT count(*) AS n FROM samples", "SELECT sum(segments) FROM classes", "FROM failures"]
)
def test_query_counts_what_stats_counts(run, littered, capsys, sql):
    assert printed(capsys, "query", littered.url, sql) == printed(capsys, "query", run.url, sql)


def test_exports_reports_and_copies_are_those_of_the_run(run, littered, capsys, tmp_path):
    for out, to in ((run, "clean"), (littered, "found")):
        printed(capsys, "export", out.url, "--format", "coco", "-o", str(tmp_path / to))
        printed(capsys, "compact", out.url, str(tmp_path / f"{to}-sealed"))
        assert "10 of 10 samples" in printed(capsys, "report", out.url, "-o", str(tmp_path / f"{to}.html"))
    files = [tmp_path / to / "instances.json" for to in ("clean", "found")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert pq.read_table(tmp_path / "found-sealed" / "labels").num_rows == 10


def test_a_retry_finds_nothing_to_label_again(littered, capsys):
    assert "nothing to label again" in printed(capsys, "retry", littered.url, "--stale", "--failed-samples", "0")


def test_the_reader_gives_each_sample_once(littered):
    assert len(list(LabeledImages(littered.url))) == 10


def test_verify_names_strays_and_finds_no_damage(littered, run, capsys):
    found = verify(littered)
    assert found.problems == ()
    assert len(found.strays) == len(FOLDERS) * len(STRAYS) + 2
    assert {"labels/x (1).parquet", "manifest/Thumbs.db", "text/.DS_Store", "failed/desktop.ini"} <= set(found.strays)
    assert "note      labels/x (1).parquet: not a file of this run" in printed(capsys, "verify", littered.url)
    assert json.loads(printed(capsys, "verify", littered.url, "--json"))["strays"] == list(found.strays)
    assert verify(run).strays == ()


def test_strays_in_a_sealed_copy_are_not_read_either(littered, run, capsys, tmp_path):
    printed(capsys, "compact", run.url, str(tmp_path / "sealed"))
    for name in STRAYS:
        (tmp_path / "sealed" / "labels" / name).write_bytes(b"\x00 something else")
    sql = "SELECT count(*) AS n FROM samples"
    assert printed(capsys, "query", str(tmp_path / "sealed"), sql) == printed(capsys, "query", run.url, sql)
    assert verify(Output.of(str(tmp_path / "sealed"))).problems == ()


def test_settling_beside_strays_leaves_them_alone(littered, capsys):
    from maskmill.pipeline.ledger.status import settle

    assert settle(littered).all_done
    assert all(Path(littered.url, folder, name).exists() for folder in FOLDERS for name in STRAYS)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("query", "OUT", "FROM classes", "-o"), "answer.csv"),
        (("show", "OUT", "--limit", "1", "-o"), "sample.png"),
        (("report", "OUT", "-o"), "page.html"),
    ],
)
def test_what_a_killed_command_left_beside_its_output_is_removed(run, capsys, tmp_path, words, name):
    killed_as_it_wrote(tmp_path / name)
    printed(capsys, *(run.url if word == "OUT" else word for word in words), str(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == [name]
