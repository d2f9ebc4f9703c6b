"""`show` with several keys, and with a filter instead of keys."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from maskmill.jobs import cli
from maskmill.jobs.show import show
from maskmill.models.errors import UsageError
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.output import Output
from maskmill.pipeline.showing.lookup import locate, read
from maskmill.pipeline.showing.show import MOST_ON_A_SHEET, places, show_all
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from tests import plain_run


@pytest.fixture(scope="module")
def out(tiny, scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("show") / "out"
    plain_run.label(tiny, scenes, Output.of(str(folder)))
    return folder


@pytest.fixture(scope="module")
def rows(out):
    return [row for file in sorted((out / "labels").iterdir()) for row in pq.read_table(file).to_pylist()]


def found_by(out, keep, **options):
    chosen, bound = places(Output.of(str(out)), (), keep, **options)
    return [(place.shard, place.sample_index) for place in chosen], bound


def test_several_keys_are_one_sheet(out, rows, tmp_path, capsys):
    keys = [rows[12]["key"], rows[0]["key"], rows[3]["key"]]
    png = tmp_path / "sheet.png"
    assert show(str(out), *keys, output=png) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("'")[1] for line in lines if line.startswith(str(png))] == keys
    with Image.open(png) as sheet, Image.open(one_of(out, keys[0], tmp_path)) as one:
        assert sheet.width > one.width
        assert sheet.height < 2 * one.height


def test_a_key_named_twice_is_drawn_once(out, rows, tmp_path, capsys):
    show(str(out), rows[0]["key"], rows[0]["key"], output=tmp_path / "a.png")
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_each_sample_has_a_file_of_its_own(out, rows, tmp_path):
    keys = [row["key"] for row in rows[:3]]
    assert show(str(out), *keys, output=tmp_path / "new", each=True) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(f"{key}.png" for key in keys)


def test_names_of_files_come_from_keys_and_never_leave_the_folder(tiny, scenes, tmp_path):
    import tarfile

    with tarfile.open(scenes[0]) as archive:
        image = archive.extractfile(next(member for member in archive if member.name.endswith(".jpg"))).read()
    keys = ("../up", "dir/a b", "dir/a_b", ".hidden", "c" * 220, "Ä")
    tar = plain_run.write_tar(tmp_path / "names.tar", {f"{key}.jpg".replace("..", "__"): image for key in keys})
    run = tmp_path / "out"
    plain_run.label(tiny, [tar], Output.of(str(run)))
    assert show(str(run), output=tmp_path / "pictures", each=True, limit=10) == 0
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {"names.tar", "out", "pictures"}
    assert {"dir_a_b.png", "dir_a_b-2.png"} <= names
    assert not any(name.startswith(".") or len(name) > 110 for name in names)


@pytest.mark.parametrize(
    "keep", [SegmentFilter(min_score=0.2), SegmentFilter(min_area=50, min_margin=0.01), SegmentFilter(min_kept=0.9)]
)
def test_a_filter_finds_what_its_words_say_in_the_tables_order(out, rows, keep):
    bound = keep.bound(vocabulary_of_run(Output.of(str(out))), "general")
    wanted = [
        (row["shard"], row["sample_index"]) for row in rows if any(bound.keeps(segment) for segment in row["segments"])
    ]
    found, _ = found_by(out, keep, limit=1000)
    assert sorted(found) == sorted(wanted)
    assert found_by(out, keep, limit=2)[0] == found[:2]


def test_a_class_is_looked_for_where_the_ledger_knows_it(out, rows, tmp_path):
    names = {entry.vocab_id: entry.name for entry in vocabulary_of_run(Output.of(str(out)))}
    shards = sorted({row["shard"] for row in rows})
    held = {
        shard: {segment["vocab_id"] for row in rows if row["shard"] == shard for segment in row["segments"]}
        for shard in shards
    }
    alone = [
        (shard, vocab_id)
        for shard in shards
        for vocab_id in sorted(held[shard])
        if sum(vocab_id in ids for ids in held.values()) == 1
    ]
    shard, vocab_id = alone[0]
    found, _ = found_by(out, SegmentFilter(classes=(names[vocab_id],)), limit=1000)
    assert {place[0] for place in found} == {shard}


def test_only_segments_that_pass_are_drawn_and_the_rest_is_counted(out, rows):
    output = Output.of(str(out))
    row = max(rows, key=lambda row: len(row["segments"]))
    scores = sorted(segment["score"] for segment in row["segments"])
    bound = SegmentFilter(min_score=scores[1]).bound(vocabulary_of_run(output), "general")
    (found,) = read(output, [locate(output, row["key"])], bound)
    assert found.left_out == sum(score < scores[1] for score in scores) > 0
    assert len(found.segments) + found.left_out == len(scores)


def test_a_sealed_table_is_searched_too(out, rows, tmp_path):
    sealed = Output.of(str(tmp_path / "sealed"))
    compact(Output.of(str(out)), sealed, scratch=tmp_path)
    keep = SegmentFilter(min_score=0.2)
    assert found_by(tmp_path / "sealed", keep, limit=1000)[0] == found_by(out, keep, limit=1000)[0]
    assert show(sealed.url, output=tmp_path / "a.png", limit=2) == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "KEYS: none given"),
        (["--limit", "0"], "--limit 0"),
        (["--min-area", "1000000"], "no segment passes"),
        (["--classes", "zebar"], "--classes 'zebar'"),
        (["--sample-index", "1", "--limit", "2"], "Name a key"),
        (["nobody", "--min-score", "0.2"], "no such sample"),
    ],
)
def test_wrong_words_are_refused(out, tmp_path, capsys, arguments, told):
    png = tmp_path / "a.png"
    assert cli.run(["show", str(out), *arguments, "-o", str(png)]) == 2
    assert told in capsys.readouterr().err
    assert not png.exists()


def test_a_sheet_of_too_many_is_refused(out, rows):
    output = Output.of(str(out))
    place = locate(output, rows[0]["key"])
    with pytest.raises(UsageError, match="--each"):
        show_all(output, [place] * (MOST_ON_A_SHEET + 1), Path("never.png"))


def one_of(out: Path, key: str, folder: Path) -> Path:
    """A picture of one sample alone."""
    png = folder / "one.png"
    show(str(out), key, output=png)
    return png
