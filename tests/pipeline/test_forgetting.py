"""A shard that is forgotten leaves its run without a trace, and none goes that has labels unless that is asked for."""

import shutil
from pathlib import Path

import pytest

from maskmill.jobs import cli
from maskmill.models.errors import UsageError
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.forgetting import choose, forget
from maskmill.pipeline.ledger import ledger
from maskmill.pipeline.ledger.status import settle, status
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.verify import verify
from tests.plain_run import label, table_of
from tests.version_1 import put_run

TYPOS = ("typo/0.tar", "typo/1.tar", "typo/2.tar")


@pytest.fixture(scope="module")
def run(tiny, scenes, tmp_path_factory) -> Output:
    """A run of two shards that are there and three that aren't."""
    folder = tmp_path_factory.mktemp("run")
    output = Output.of(str(folder / "out"))
    label(tiny, [*scenes, *(folder / name for name in TYPOS)], output)
    return output


@pytest.fixture
def output(run, tmp_path) -> Output:
    shutil.copytree(run.url, tmp_path / "out")
    return Output.of(str(tmp_path / "out"))


@pytest.fixture
def typos(run) -> list[str]:
    return [str(Path(run.url).parent / name) for name in TYPOS]


def test_a_mistyped_path_is_forgotten_and_the_run_is_whole(output, typos, capsys):
    assert cli.run(["status", output.url]) == 1
    capsys.readouterr()
    assert cli.run(["forget", output.url, *typos]) == 0
    assert capsys.readouterr().out.splitlines()[:5] == [
        f"forgot 3 shards of {output.url}",
        *(f"  {name}" for name in typos),
        "shards    2 done, 0 failed, 0 missing, of 2 asked for",
    ]
    assert output.failures() == set()
    assert cli.run(["status", output.url]) == 0
    found = verify(output, deep=True)
    assert (found.problems, found.strays, len(found.status)) == ((), (), 2)
    assert len(ledger.read(output.ledger)) == 2


@pytest.mark.parametrize(
    "names", [["*/typo/*.tar"], ["{folder}/typo/{{0..2}}.tar"], ["@{list}"], ["{folder}/typo/[0-2]*"]]
)
def test_patterns_are_held_against_the_names_of_the_run(output, typos, tmp_path, names):
    (tmp_path / "list.txt").write_text("\n".join(typos))
    given = [name.format(folder=Path(typos[0]).parent.parent, list=tmp_path / "list.txt") for name in names]
    given = [name if name.startswith("@") or not name.startswith("*") else f"/{name}" for name in given]
    assert [shard.url for shard in choose(output, given).shards] == typos


def test_a_name_with_braces_is_itself_first(output, scenes):
    braces = str(scenes[0].with_name("a{1,2}.tar"))
    manifest.add(output, [Shard(url=braces, source=braces, missing=True)])
    assert [shard.url for shard in choose(output, [braces]).shards] == [braces]


def test_a_relative_name_is_one_from_the_current_folder(output, typos, monkeypatch):
    Path(typos[0]).parent.mkdir(exist_ok=True)
    monkeypatch.chdir(Path(typos[0]).parent)
    assert [shard.url for shard in choose(output, ["1.tar", "./1.tar"]).shards] == typos[1:2]


@pytest.mark.parametrize("name", ["never.tar", "/elsewhere/*.tar", "s3://bucket/typo/0.tar"])
def test_a_name_that_the_run_was_not_asked_for_is_wrong_usage_and_nothing_goes(output, typos, capsys, name):
    assert cli.run(["forget", output.url, typos[0], name]) == 2
    assert "this run was not asked for" in capsys.readouterr().err
    assert len(status(output)) == 5


def test_a_shard_that_has_labels_is_refused_and_goes_with_them_where_asked_for(output, scenes, capsys):
    assert cli.run(["forget", output.url, str(scenes[0])]) == 2
    assert f"{scenes[0]}: labeled" in capsys.readouterr().err
    assert cli.run(["forget", output.url, str(scenes[0]), "--labels", "--dry-run"]) == 0
    assert capsys.readouterr().out == f"would forget 1 shard of {output.url}, with 1 label file\n  {scenes[0]}\n"
    assert status(output).shards("done") == 2
    assert cli.run(["forget", output.url, str(scenes[0]), "--labels"]) == 0
    now = status(output)
    assert (now.shards("done"), len(now)) == (1, 4)
    assert len(output.done()) == 1
    assert verify(output).problems == ()


def test_a_damaged_label_file_is_one_too(output, scenes):
    (shard,) = choose(output, [str(scenes[0])], labels=True).shards
    Path(output.label(shard.label_name)).write_bytes(b"damaged")
    with pytest.raises(UsageError, match="--labels"):
        choose(output, [str(scenes[0])])


def test_a_forgotten_shard_can_be_labeled_again(output, run, scenes, tiny):
    forget(output, choose(output, [str(scenes[0])], labels=True))
    assert label(tiny, [scenes[0]], output).shards("done") == 2
    (shard,) = choose(output, [str(scenes[0])], labels=True).shards
    assert table_of(output, shard).equals(table_of(run, shard))
    assert verify(output).problems == ()


def test_parts_of_a_job_at_work_stay_its_own(output, scenes, typos):
    rows = ledger.read(output.ledger)
    Path(output.ledger).unlink()
    ledger.write(rows[:1], output.ledger_part(ledger.part_name()))
    forget(output, choose(output, typos))
    assert len(output.ledger_parts()) == 1
    assert (status(output).shards("done"), len(status(output))) == (2, 2)
    ledger.write(rows[1:], output.ledger_part(ledger.part_name()))  # what the job knew before of what is forgotten
    assert len(settle(output)) == 2
    assert [row.url for row in ledger.read(output.ledger)] == [str(path) for path in scenes]


def test_what_was_interrupted_is_finished_by_the_same_command(output, scenes, capsys):
    chosen = choose(output, [str(scenes[0])], labels=True)
    Path(output.label(chosen.shards[0].label_name)).unlink()  # all that an interrupted one came to
    assert cli.run(["forget", output.url, str(scenes[0]), "--labels"]) == 0
    assert len(status(output)) == 4


def test_a_run_of_an_older_version_forgets_too(tmp_path):
    output = Output.of(str(put_run("open", tmp_path)))
    (url,) = manifest.read(output)["url"].to_pylist()
    forget(output, choose(output, [url], labels=True))
    assert len(status(output)) == 0


def test_a_sealed_table_forgets_nothing(output, typos, tmp_path):
    sealed = Output.of(str(tmp_path / "sealed"))
    (tmp_path / "scratch").mkdir()
    compact(output, sealed, scratch=tmp_path / "scratch", partial=True)
    with pytest.raises(UsageError, match="a sealed table, nothing is taken out"):
        choose(sealed, typos)


def test_no_run_and_no_shards_are_wrong_usage(output, tmp_path, capsys):
    assert cli.run(["forget", str(tmp_path / "nowhere"), "a.tar"]) == 2
    assert cli.run(["forget", output.url]) == 2
    assert "SHARDS: none given" in capsys.readouterr().err
