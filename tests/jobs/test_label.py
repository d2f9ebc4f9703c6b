"""`maskmill label` from its command line to its table, with a real Ray: the main path, and the same command again."""

import json
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from maskmill.pipeline.config import machine_cpus
from tests.jobs.conftest import MANY_SEGMENTS, Ended, Workplace
from tests.mosaics import write_mosaics

SHARDS, SAMPLES = 3, 8

ONE_CPU = ("--batch-size", "4", "--cpus-per-replica", "1")
"""With the same threads and batch size labels are the same to the bit; one CPU leaves room for a second replica."""


@pytest.fixture(scope="module")
def labeled(shared_workplace: Workplace) -> Workplace:
    """A folder where three shards were labeled into `out`."""
    made = shared_workplace.run(
        "synthesize", "shards", "--shards", str(SHARDS), "--samples", str(SAMPLES), "--seed", "3"
    )
    assert made.code == 0, made.err
    ended = label(shared_workplace, "shards", "out")
    (shared_workplace.cwd / "out.log").write_text(ended.out)
    (shared_workplace.cwd / "steps.log").write_text("\n".join(ended.steps))
    assert ended.code == 0, ended.err
    return shared_workplace


def label(place: Workplace, shards: str, out: str, *options: str) -> Ended:
    return place.run("label", shards, "--output", out, *MANY_SEGMENTS, *ONE_CPU, *options)


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_output_is_laid_out_as_documented_and_nothing_is_left_over(labeled: Workplace) -> None:
    found = {Path(name).parts[0] for name in files(labeled.cwd / "out")}
    assert found == {"run.json", "vocabulary.parquet", "text", "manifest", "labels", "ledger.parquet"}
    assert sorted(entry.name for entry in (labeled.cwd / "out").iterdir()) == sorted(found)
    assert len(list((labeled.cwd / "out" / "labels").glob("*.parquet"))) == SHARDS
    assert [entry for entry in labeled.scratch.iterdir() if entry.name.startswith("maskmill")] == []


def test_it_says_what_was_done_and_nothing_of_ray(labeled: Workplace) -> None:
    out, steps = ((labeled.cwd / name).read_text() for name in ("out.log", "steps.log"))
    read = SHARDS * SAMPLES
    assert out.splitlines()[0] == f"shards    {SHARDS} done, 0 failed, 0 missing, of {SHARDS} asked for"
    assert f"{read} read = {read} labeled + 0 failed" in out
    assert "images/s" in out
    assert steps.splitlines() == ["starting Ray", "loading san-tiny"]


def test_every_sample_is_there_with_three_segments_or_more_on_average(labeled: Workplace) -> None:
    rows, ok, segments, kinds = duckdb.sql(
        "SELECT count(*), count(*) FILTER (status = 'ok'), sum(len(segments)), count(DISTINCT key) "
        f"FROM '{labeled.cwd}/out/labels/*.parquet'"
    ).fetchall()[0]
    assert rows == ok == kinds == SHARDS * SAMPLES
    assert segments / rows >= 3


def test_the_same_command_again_finds_all_done_and_touches_no_label(labeled: Workplace) -> None:
    before = files(labeled.cwd / "out" / "labels")
    again = label(labeled, "shards", "out")
    assert again.code == 0, again.err
    assert files(labeled.cwd / "out" / "labels") == before
    assert ("images/s" in again.out, again.err) == (False, ""), "no Ray, no model"


def test_another_vocabulary_into_it_is_refused_with_the_fields_that_differ(labeled: Workplace) -> None:
    refused = label(labeled, "shards", "out", "--vocab", "voc-20")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1
    assert "vocabulary:" in refused.err
    assert "another --output" in refused.err


def test_status_verify_and_query_agree_with_the_table(labeled: Workplace) -> None:
    status = labeled.run("status", "out", "--json")
    assert status.code == 0
    told = json.loads(status.out)
    assert told["samples"]["read"] == told["samples"]["labeled"] == SHARDS * SAMPLES
    verify = labeled.run("verify", "out", "--deep", "--json")
    assert (verify.code, json.loads(verify.out)["problems"]) == (0, [])
    assert json.loads(verify.out)["checked"]["masks"] == told["segments"]
    query = labeled.run("query", "out", "SELECT sum(len(masks)) AS n FROM labels", "--json")
    assert json.loads(query.out) == [{"n": told["segments"]}]


@pytest.mark.slow
def test_show_draws_a_sample_of_it(labeled: Workplace) -> None:
    shown = labeled.run("show", "out", "000000003", "-o", "picture.png")
    assert shown.code == 0, shown.err
    assert (labeled.cwd / "picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_replicas_change_no_label_and_the_module_is_the_same_program(labeled: Workplace) -> None:
    # A CPU must stay free to feed the replicas: a machine with two has room for one.
    replicas = "2" if machine_cpus() > 2 else "1"
    options = [*MANY_SEGMENTS, *ONE_CPU, "--replicas", replicas]
    program = [sys.executable, "-m", "maskmill.jobs.label"]
    ended = labeled.run("shards", "--output", "two", *options, program=program)
    assert ended.code == 0, ended.err
    for path in (labeled.cwd / "out" / "labels").glob("*.parquet"):
        assert pq.read_table(labeled.cwd / "two" / "labels" / path.name).equals(pq.read_table(path))


@pytest.mark.slow
def test_limit_takes_the_first_shards_and_a_wider_call_adds_the_rest(workplace: Workplace) -> None:
    workplace.run("synthesize", "shards", "--shards", "2", "--samples", "4")
    dry = workplace.run("label", "shards", "--output", "out", "--limit", "1", "--dry-run")
    assert dry.out.startswith("would label 1 of 1 shards")
    assert not (workplace.cwd / "out").exists()
    assert label(workplace, "shards", "out", "--limit", "1").code == 0
    assert len(list((workplace.cwd / "out/labels").iterdir())) == 1
    assert label(workplace, "shards", "out").code == 0
    assert len(list((workplace.cwd / "out/labels").iterdir())) == 2


@pytest.mark.slow
def test_large_photos_are_labeled_through_windows_and_a_retry_knows_it(workplace: Workplace) -> None:
    options = ["--model", "san-tiny", "--inference", "semantic", "--windows", "2", *ONE_CPU]
    _, second = (write_mosaics(workplace.cwd / f"{name}.tar", 3, seed=seed) for seed, name in enumerate("ab"))
    whole = second.read_bytes()
    second.write_bytes(b"no archive")
    ended = workplace.run("label", "a.tar", "b.tar", "--output", "out", *options)
    assert ended.code == 1, ended.err
    price = "windows   128 x 128, in photos of a short side of 256 or more:\n           1:1   9 windows, "
    assert price in ended.out
    run = json.loads((workplace.cwd / "out" / "run.json").read_bytes())
    assert run["identity"]["windows"] == "128 every 85 of images up to 2 times their usual size"
    assert workplace.run("label", "a.tar", "--output", "out", *options[:4], *ONE_CPU).code == 2
    second.write_bytes(whole)
    ended = workplace.run("retry", "out", *ONE_CPU)
    assert (ended.code, price in ended.out) == (0, True), ended.err
    assert workplace.run("verify", "out", "--deep").code == 0
    scored = [
        json.loads(workplace.run("evaluate", "a.tar", "b.tar", *words, "--batch-size", "8", "--json").out)[0]["iou"]
        for words in (["--labels", "out"], ["--model", "san-tiny", "--windows", "2"])
    ]
    assert scored[0] == pytest.approx(scored[1], abs=1e-3)
