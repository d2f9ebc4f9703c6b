"""A retry takes the right shards, with the run's own configuration, and no done shard stops being done on its way."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.jobs import cli
from maskmill.models import zoo
from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import QueriesInference
from maskmill.pipeline import run
from maskmill.pipeline.config import InferenceConfig, JobConfig, LabelConfig, ModelConfig, ReplicaConfig
from maskmill.pipeline.labeling.labeling import label_shard
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.status import settle, status
from maskmill.pipeline.output import Output
from maskmill.pipeline.retry import Given, configuration, forget, kept
from maskmill.pipeline.retry_choice import Chosen, choose, lines
from maskmill.pipeline.run import Identity
from maskmill.pipeline.verify import verify
from tests.killed import killed_as_it_wrote
from tests.plain_run import PLAIN, label, labeler, write_tar

CONFIG = LabelConfig(model=PLAIN.model, inference=PLAIN.inference, job=JobConfig(max_failed_samples=0.9))


@pytest.fixture(scope="module")
def finished(tiny, scenes, tmp_path_factory) -> tuple[Path, Path]:
    """A run of four shards, the second with one failed sample of eleven, the third no archive, the last never there."""
    folder = tmp_path_factory.mktemp("finished")
    shards = folder / "shards"
    shards.mkdir()
    shutil.copy(scenes[0], shards / "a.tar")
    write_tar(shards / "b.tar", {"x.jpg": b"\xff\xd8\xff broken", **members(scenes[1])})
    (shards / "c.tar").write_bytes(b"no archive" * 100)
    output = Output.of(str(folder / "out"))
    label(tiny, [shards / f"{name}.tar" for name in "abcd"], output, CONFIG)
    return shards, folder / "out"


def members(path: Path) -> dict[str, bytes]:
    import tarfile

    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive.getmembers()}


@pytest.fixture
def place(finished, tmp_path) -> tuple[Path, Output]:
    """A copy of the run; its shards are where they were, which tests that change them put back."""
    shards, out = finished
    kept_aside = {path: (path.read_bytes(), path.stat()) for path in shards.iterdir()}
    shutil.copytree(out, tmp_path / "out")
    yield shards, Output.of(str(tmp_path / "out"))
    for path in shards.iterdir():
        path.unlink()
    for path, (data, stat) in kept_aside.items():
        path.write_bytes(data)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def names(chosen: Chosen) -> list[tuple[str, bool]]:
    return [(Path(shard.url).stem, shard.replace) for shard in chosen.shards]


# --- which shards ----------------------------------------------------------------------------------------------------


def test_failed_and_missing_shards_are_taken_in_the_order_of_the_manifest(place):
    _, output = place
    chosen = choose(output)
    assert names(chosen) == [("c", False), ("d", False)]
    assert (chosen.failed, chosen.missing, chosen.failed_samples, chosen.stale) == (2, 0, 0, 0)
    assert lines(chosen, output) == [f"retry     2 shards of {output.url}: 2 failed"]
    Path(output.failed(chosen.shards[1].label_name)).unlink()
    assert (choose(output).failed, choose(output).missing) == (1, 1)


@pytest.mark.parametrize(("share", "taken"), [(0.0, ["b", "c", "d"]), (0.05, ["b", "c", "d"]), (0.1, ["c", "d"])])
def test_done_shards_with_more_failed_samples_than_the_share_are_taken(place, share, taken):
    chosen = choose(place[1], failed_samples=share)
    assert [name for name, _ in names(chosen)] == taken
    assert dict(names(chosen)).get("b", True) is True


def test_done_shards_whose_source_has_changed_are_taken_where_asked_for(place):
    shards, output = place
    assert choose(output, stale=True).stale == 0
    shutil.copy(shards / "b.tar", shards / "a.tar")
    assert names(choose(output)) == [("c", False), ("d", False)]
    chosen = choose(output, stale=True)
    assert names(chosen) == [("a", True), ("c", False), ("d", False)]
    assert chosen.stale == 1
    assert chosen.shards[0].etag != status(output).table["etag"][0].as_py()


def test_done_shards_whose_source_is_gone_keep_their_labels(place):
    shards, output = place
    (shards / "b.tar").unlink()
    chosen = choose(output, failed_samples=0.0, stale=True)
    assert names(chosen) == [("c", False), ("d", False)]
    assert chosen.gone == 1
    assert "kept      1 done shards whose source is no longer there" in lines(chosen, output)


def test_a_name_with_pattern_characters_is_a_name(tiny, scenes, tmp_path):
    odd = tmp_path / "a[1]{x,y}*.tar"
    odd.write_bytes(b"no archive" * 100)
    output = Output.of(str(tmp_path / "out"))
    label(tiny, [odd], output)
    shutil.copy(scenes[0], odd)
    (shard,) = choose(output).shards
    assert (shard.url, shard.missing) == (str(odd), False)


def test_a_damaged_label_file_is_replaced(place):
    _, output = place
    row = next(status(output).rows("done"))
    path = Path(output.labels, row.label_file)
    path.write_bytes(path.read_bytes()[:-100])
    Path(output.ledger).unlink()
    assert names(choose(output)) == [("a", True), ("c", False), ("d", False)]


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_wrong_usage(place, share):
    with pytest.raises(UsageError, match="--failed-samples"):
        choose(place[1], failed_samples=share)


# --- labeled again ---------------------------------------------------------------------------------------------------


def again(tiny, chosen: Chosen, output: Output) -> None:
    """What the job does with them, without Ray."""
    forget(output, [shard.url for shard in chosen.shards if shard.replace])
    with labeler(tiny, output, CONFIG, fingerprint=run.require(output)["fingerprint"]) as replica:
        rows = [label_shard(shard, replica) for shard in chosen.shards]
    ledger.write(rows, output.ledger_part(ledger.part_name()))


def test_new_labels_replace_the_old_ones(tiny, place):
    shards, output = place
    shutil.copy(shards / "a.tar", shards / "c.tar")
    write_tar(shards / "b.tar", {key: data for key, data in members(shards / "b.tar").items() if key != "x.jpg"})
    chosen = choose(output, failed_samples=0.05)
    assert names(chosen) == [("b", True), ("c", False), ("d", False)]
    again(tiny, chosen, output)
    now = settle(output)
    assert [row.state for row in now.rows()] == ["done", "done", "done", "failed"]
    assert [row.counts.read for row in now.rows()] == [10, 10, 10, 0]
    assert kept(output, chosen.shards, now) == []
    assert pq.read_table(Path(output.labels, list(now.rows())[1].label_file)).num_rows == 10
    assert choose(output, failed_samples=0.0).failed_samples == 0


def test_a_done_shard_that_fails_this_time_keeps_its_labels(tiny, place):
    shards, output = place
    before = {path.name: path.read_bytes() for path in Path(output.labels).iterdir()}
    (shards / "b.tar").write_bytes(b"no archive" * 100)
    chosen = choose(output, stale=True)
    again(tiny, chosen, output)
    now = settle(output)
    assert [row.state for row in now.rows()] == ["done", "done", "failed", "failed"]
    assert {path.name: path.read_bytes() for path in Path(output.labels).iterdir()} == before
    ((url, why),) = kept(output, chosen.shards, now)
    assert url == str(shards / "b.tar")
    assert why.startswith("not_tar")
    assert verify(output).problems == ()


def test_a_kill_between_the_new_label_file_and_its_row_leaves_the_new_counts(tiny, place):
    shards, output = place
    shutil.copy(shards / "a.tar", shards / "b.tar")
    chosen = choose(output, stale=True)
    before = list(ledger.read(output.ledger))
    again(tiny, chosen, output)
    # The rows of the job were still in memory.
    for part in output.ledger_parts():
        Path(part).unlink()
    now = settle(output)
    assert [row.counts.read for row in now.rows()] == [10, 10, 0, 0]
    assert before[1].counts.read == 11
    assert verify(output).problems == ()


def test_forgetting_keeps_all_other_rows(place):
    _, output = place
    rows = ledger.read(output.ledger)
    forget(output, [rows[1].url])
    assert ledger.read(output.ledger) == [rows[0], *rows[2:]]
    # What the ledger doesn't know is read from the label file: nothing but times is lost.
    assert settle(output).table["read"].to_pylist() == [10, 11, 0, 0]
    assert [row.counts for row in ledger.read(output.ledger)] == [row.counts for row in rows]


# --- with what -------------------------------------------------------------------------------------------------------


def test_the_configuration_is_the_runs_own(place):
    replica, job = ReplicaConfig(replicas="2", scratch=Path("/elsewhere")), JobConfig(limit=3)
    config = configuration(place[1], given=Given(device="cpu"), replica=replica, job=job)
    assert config.inference == PLAIN.inference
    assert (config.model.model, config.model.device) == ("san-tiny", "cpu")
    assert config.replica == replica
    assert config.job == JobConfig(limit=3, max_failed_samples=0.9)
    mine = configuration(place[1], given=Given(), replica=replica, job=JobConfig(max_failed_samples=0.2))
    assert mine.job.max_failed_samples == 0.2


def change(output: Output, *path: str, to: object) -> None:
    recorded = json.loads(Path(output.run).read_text())
    inner = recorded
    for name in path[:-1]:
        inner = inner[name]
    if to is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    Path(output.run).write_text(json.dumps(recorded))


def test_an_option_that_came_after_the_run_has_its_default(place):
    before = configuration(place[1], given=Given(), replica=ReplicaConfig(), job=JobConfig())
    change(place[1], "config", "limits", "max_pixels", to=KeyError)
    assert configuration(place[1], given=Given(), replica=ReplicaConfig(), job=JobConfig()) == before


@pytest.mark.parametrize(
    ("path", "to", "told"),
    [
        (("config",), KeyError, "has no config"),
        (("config", "inference"), KeyError, "config.inference isn't there"),
        (("config", "inference"), [1], "config.inference isn't there"),
        (("config", "inference", "sharpness"), 3, "config.inference.sharpness is unknown to this maskmill"),
        (("config", "inference", "top_k"), "five", "config.inference.top_k: 'five' isn't a value"),
        (("config", "inference", "top_k"), True, "config.inference.top_k"),
        (("config", "inference", "inference"), "panoptic", "config.inference.inference"),
        (("config", "model", "weights"), 7, "config.model.weights"),
        (("config", "limits", "max_pixels"), 0.5, "config.limits.max_pixels"),
        (("sealed",), True, "a sealed table"),
        (("redacted",), ["model.weights"], "Give --weights again"),
        (("redacted",), ["vocabulary.vocab"], "Give --vocab again"),
    ],
)
def test_a_configuration_that_cannot_be_taken_is_wrong_usage_in_one_line(place, capsys, path, to, told):
    _, output = place
    change(output, *path, to=to)
    assert cli.run(["retry", output.url, "--dry-run"]) == 2
    out, err = capsys.readouterr()
    assert told in err
    assert (out, len(err.splitlines())) == ("", 1)


def test_an_option_that_lost_its_credentials_is_recorded_as_such_and_may_be_given_again(place, tmp_path):
    _, output = place
    there = run.require(output)
    fresh = Output.of(str(tmp_path / "fresh"))
    config = LabelConfig(model=ModelConfig(model="san-tiny", weights="https://host.test/w.pth?sig=SECRET"))
    identity = Identity(**{**there["identity"], "resize": there["identity"]["resize"]})
    run.record(fresh, identity, config)
    assert "SECRET" not in Path(fresh.run).read_text()
    with pytest.raises(UsageError, match="Give --weights again"):
        configuration(fresh, given=Given(), replica=ReplicaConfig(), job=JobConfig())
    given = Given(weights="https://host.test/w.pth?sig=OTHER")
    made = configuration(fresh, given=given, replica=ReplicaConfig(), job=JobConfig())
    assert made.model.weights == "https://host.test/w.pth?sig=OTHER"


def test_another_form_survives_the_way_through_run_json(place, tmp_path):
    there = run.require(place[1])
    fresh = Output.of(str(tmp_path / "fresh"))
    config = LabelConfig(inference=InferenceConfig(inference="queries", score_threshold=0.25, soft_masks=True))
    run.record(fresh, Identity(**there["identity"]), config)
    made = configuration(fresh, given=Given(), replica=ReplicaConfig(), job=JobConfig())
    assert made.inference == config.inference
    assert made.inference.form() == QueriesInference(score_threshold=0.25)


# --- the command -----------------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_be_labeled_and_writes_nothing(place, tmp_path, capsys):
    shards, _ = place
    output = Output.of(str(tmp_path / "bundled"))
    label(zoo.load("san-tiny", device="cpu"), [shards / f"{name}.tar" for name in "abcd"], output, CONFIG)
    change(output, "config", "vocabulary", "vocab", to="scenes")
    before = sorted((str(path), path.stat().st_mtime_ns) for path in Path(output.url).rglob("*"))
    assert cli.run(["retry", output.url, "--failed-samples", "0", "--dry-run"]) == 0
    out, _ = capsys.readouterr()
    assert f"retry     3 shards of {output.url}: 2 failed, 1 done with failed samples" in out
    assert "would label 3 of 3 shards" in out
    assert sorted((str(path), path.stat().st_mtime_ns) for path in Path(output.url).rglob("*")) == before


def test_a_run_with_nothing_to_retry_is_summed_up(tiny, scenes, tmp_path, capsys):
    output = Output.of(str(tmp_path / "out"))
    label(tiny, scenes, output)
    change(output, "config", "vocabulary", "vocab", to="scenes")
    assert cli.run(["retry", output.url]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("retry     nothing to label again\nshards    2 done, 0 failed, 0 missing")


def test_where_nothing_is_left_the_ledger_is_merged_and_what_killed_jobs_left_removed(tiny, scenes, tmp_path, capsys):
    output = Output.of(str(tmp_path / "out"))
    label(tiny, scenes, output)
    rows = ledger.read(output.ledger)
    ledger.write([replace(rows[0], attempts=7)], output.ledger_part(ledger.part_name()))
    left = killed_as_it_wrote(Path(output.labels) / "a.parquet")
    assert cli.run(["retry", output.url, "--dry-run"]) == 0
    assert left.exists()
    assert len(output.ledger_parts()) == 1
    assert cli.run(["retry", output.url]) == 0
    assert not left.exists()
    assert output.ledger_parts() == []
    assert [row.attempts for row in ledger.read(output.ledger)] == [7, 1]


def test_no_run_is_wrong_usage(tmp_path, capsys):
    assert cli.run(["retry", str(tmp_path / "nowhere")]) == 2
    assert "no run.json there" in capsys.readouterr().err
