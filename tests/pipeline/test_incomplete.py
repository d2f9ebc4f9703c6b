"""Whoever reads a run of which shards have no labels is told so, and what is made of it says so too."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from maskmill.jobs import cli
from maskmill.pipeline.dataset import LabeledImages
from maskmill.pipeline.output import Output
from tests.plain_run import label

LINE = "incomplete: 1 of 2 shards has no labels; `maskmill status {out}` says which\n"


@pytest.fixture(scope="module")
def half(tiny, scenes, tmp_path_factory) -> Output:
    """A run of a shard and of one that never was."""
    folder = tmp_path_factory.mktemp("half")
    output = Output.of(str(folder / "out"))
    label(tiny, [scenes[0], folder / "never.tar"], output)
    return output


@pytest.fixture(scope="module")
def whole(half, tmp_path_factory) -> Output:
    """The same without the other."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(half.url, folder / "out")
    assert cli.run(["forget", str(folder / "out"), str(Path(half.url).parent / "never.tar")]) == 0
    return Output.of(str(folder / "out"))


@pytest.mark.parametrize(
    "words",
    [
        ["query", "OUT", "SELECT count(*) FROM samples"],
        ["query", "OUT", "SELECT count(*) FROM segments", "--min-score", "0.2", "-o", "TO.csv"],
        ["stats", "OUT"],
        ["stats", "OUT", "--json"],
        ["export", "OUT", "--format", "png", "-o", "TO"],
        ["show", "OUT", "--limit", "1", "-o", "TO.png"],
        ["report", "OUT", "-o", "TO.html", "--images", "1"],
        ["compact", "OUT", "TO", "--partial"],
        ["evaluate", "SHARD", "--labels", "OUT"],
    ],
    ids=lambda words: " ".join(words[:1] + [word for word in words if word.startswith("--")]),
)
def test_a_command_says_on_stderr_that_a_run_is_incomplete(half, whole, scenes, tmp_path, capsys, words):
    for output, expected in ((half, 1), (whole, 0)):
        places = {"OUT": output.url, "SHARD": str(scenes[0])}
        to = str(tmp_path / str(expected))
        given = [word.replace("TO", to) if word.startswith("TO") else places.get(word, word) for word in words]
        assert cli.run(given) == 0
        streams = capsys.readouterr()
        assert streams.err.count(LINE.format(out=output.url)) == expected
        assert "incomplete" not in streams.out


def test_an_export_records_how_many_shards_it_is_of(half, whole, tmp_path):
    for output, asked in ((half, 2), (whole, 1)):
        for form in ("coco", "hf"):
            to = tmp_path / f"{asked}-{form}"
            assert cli.run(["export", output.url, "--format", form, "-o", str(to)]) == 0
            assert json.loads((to / "export.json").read_bytes())["shards"] == {"asked": asked, "labeled": 1}
        coco = json.loads((tmp_path / f"{asked}-coco" / "instances.json").read_bytes())
        assert coco["info"]["shards"]["asked"] == asked


def test_a_page_says_it_at_its_top(half, whole, tmp_path):
    for output, expected in ((half, True), (whole, False)):
        assert cli.run(["report", output.url, "-o", str(tmp_path / "page.html"), "--images", "0"]) == 0
        page = (tmp_path / "page.html").read_text()
        assert ("incomplete: 1 of 2 shards has no labels" in page) == expected


def test_a_sealed_copy_of_a_part_says_it_too(half, tmp_path, capsys):
    assert cli.run(["compact", half.url, str(tmp_path / "sealed"), "--partial"]) == 0
    capsys.readouterr()
    assert cli.run(["query", str(tmp_path / "sealed"), "SELECT 1"]) == 0
    assert capsys.readouterr().err == LINE.format(out=tmp_path / "sealed")


def test_the_reader_warns(half, whole, caplog):
    LabeledImages(whole.url)
    assert not caplog.records
    LabeledImages(half.url)
    assert "1 of 2 shards are not labeled there; they are left out" in caplog.text


def test_a_sample_that_is_not_found_may_be_in_a_shard_without_labels(half, capsys):
    assert cli.run(["show", half.url, "no-such-key", "-o", "a.png"]) == 2
    assert "The run is incomplete: 1 of 2 shards" in capsys.readouterr().err


# --- what else of a run travels --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["coco", "coco-panoptic", "hf"])
def test_a_base_is_cut_off_the_names_of_shards(whole, scenes, tmp_path, form):
    folder = scenes[0].parents[1]
    to = tmp_path / "to"
    assert cli.run(["export", whole.url, "--format", form, "--shard-base", f"{folder}/", "-o", str(to)]) == 0
    shard = f"{scenes[0].parent.name}/{scenes[0].name}"
    if form == "hf":
        (path,) = (to / "data").iterdir()
        assert set(pq.read_table(path)["shard"].to_pylist()) == {shard}
    else:
        name = "instances.json" if form == "coco" else "panoptic.json"
        images = json.loads((to / name).read_bytes())["images"]
        assert {image["shard"] for image in images} == {shard}
    assert not any(str(folder).encode() in path.read_bytes() for path in to.rglob("*") if path.is_file())


def test_a_base_that_a_shard_does_not_lie_below_is_wrong_usage_and_nothing_is_written(whole, tmp_path, capsys):
    to = str(tmp_path / "to")
    for base in (str(tmp_path), "s3://bucket"):
        assert cli.run(["export", whole.url, "--format", "coco", "--shard-base", base, "-o", to]) == 2
        assert "doesn't lie below it" in capsys.readouterr().err
    assert not Path(to).exists()
