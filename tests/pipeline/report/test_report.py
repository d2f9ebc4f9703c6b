import hashlib
import json
import re
import shutil
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from maskmill.jobs import cli
from maskmill.models.errors import UsageError
from maskmill.models.masks import rle
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.evaluation.confusion import count, iou, mean_iou, pixel_accuracy
from maskmill.pipeline.evaluation.table import painted
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.report.choice import Choice
from maskmill.pipeline.report.config import PAGE_BYTES, ReportConfig
from maskmill.pipeline.report.page import embedded, page
from maskmill.pipeline.report.picture import Drawer
from maskmill.pipeline.report.report import report
from maskmill.pipeline.shards.shard import describe
from maskmill.pipeline.showing.source import Original, TruthFormat
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.truth.class_map import decode_class_map
from maskmill.pipeline.truth.pairs import open_pairs
from tests import plain_run
from tests.pipeline.report.conftest import CLASS, SCRIPT, label_file
from tests.s3_server import led_to, moto_server

EVERYTHING = SegmentFilter()


def made(out, keep=EVERYTHING, **config):
    return report(str(out), keep, ReportConfig(**config))


def data_of(html: bytes) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html.decode(), re.S)[1])


def test_the_page_says_what_the_run_is(strangers):
    data = data_of(made(strangers).html)
    rows = [row for file in sorted((strangers / "labels").iterdir()) for row in pq.read_table(file).to_pylist()]
    ok = [row for row in rows if row["status"] == "ok"]
    assert data["ledger"]["read"] == len(rows) == 25
    assert data["ledger"]["labeled"] == len(ok) == 24
    assert data["ledger"]["failed"] == {"truncated": 1}
    assert data["ledger"]["segments"] == sum(len(row["segments"]) for row in ok)
    assert data["run"]["identity"]["model"] == "san-tiny"
    assert data["drawn"]["samples"] == 25
    assert sum(one[4] for one in data["classes"]) == data["ledger"]["segments"]
    assert sum(data["figures"]["segments"]) == 24
    assert sum(map(sum, data["figures"]["map"]["counts"])) == data["ledger"]["segments"]
    assert len(data["pictures"]) == 24


def test_pictures_hold_the_image_and_its_masks(strangers):
    data = data_of(made(strangers).html)
    rows = {
        (row["shard"], row["sample_index"]): row
        for file in (strangers / "labels").iterdir()
        for row in pq.read_table(file).to_pylist()
    }
    for picture in data["pictures"]:
        row = rows[picture["shard"], picture["index"]]
        with Image.open(BytesIO(b64decode(picture["jpeg"]))) as image:
            assert image.size == (picture["shownWidth"], picture["shownHeight"]) == (128, 128)
        wanted = {(segment["vocab_id"], mask) for segment, mask in zip(row["segments"], row["masks"], strict=True)}
        assert {(segment["id"], segment["rle"].encode()) for segment in picture["segments"]} == wanted
        for segment in picture["segments"]:
            share = rle.decode(segment["rle"].encode(), (128, 128)).mean()
            assert segment["share"] == pytest.approx(share, abs=1e-5)


def test_what_shards_say_stands_in_the_page_as_data_only(strangers):
    html = made(strangers).html.decode()
    assert {SCRIPT, CLASS} <= {picture["caption"] for picture in data_of(html.encode())["pictures"]} | {
        one[1] for one in data_of(html.encode())["classes"]
    }
    assert html.count("<script") == html.count("</script>") == 2
    assert "window.pwned" in html
    assert "<img" not in html
    assert html.isascii() or not re.search("[\u202a-\u202e]", html)


def test_only_the_pages_own_script_and_style_are_allowed(strangers):
    html = made(strangers).html.decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)[1]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for kind, pattern in (("script", r'<script type="module">(.*?)</script>'), ("style", r"<style>(.*?)</style>")):
        digest = b64encode(hashlib.sha256(re.search(pattern, html, re.S)[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    # Names of XML's languages are no addresses.
    assert set(re.findall(r"""https?://[^"'\s]*""", html)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r'\b(?:src|href)="(?!#|data:)', html)


def test_data_never_fill_another_place():
    html = page({"a": "{{script}} {{policy}} {{data}}"}).decode()
    assert data_of(html.encode()) == {"a": "{{script}} {{policy}} {{data}}"}


def test_the_same_seed_makes_the_same_page(strangers):
    assert made(strangers, seed=3).html == made(strangers, seed=3).html
    assert made(strangers, seed=3, images=8).html != made(strangers, seed=4, images=8).html


@pytest.mark.parametrize("images", [0, 1, 5])
def test_as_many_images_as_asked_for(strangers, images):
    result = made(strangers, images=images)
    assert result.shown == len(data_of(result.html)["pictures"]) == images
    assert len(result.html) <= PAGE_BYTES


def test_a_filter_leaves_only_what_passes(strangers):
    keep = SegmentFilter(min_score=0.3, classes=(CLASS,))
    data = data_of(made(strangers, keep).html)
    assert data["filter"] == ["--min-score 0.3", f"--classes {CLASS}"]
    assert data["pictures"]
    for picture in data["pictures"]:
        assert {segment["name"] for segment in picture["segments"]} == {CLASS}
        assert all(segment["score"] >= 0.3 for segment in picture["segments"])
    assert data["drawn"]["segments"] == sum(data["figures"]["score"])
    everything = data_of(made(strangers).html)
    assert data["classes"][0][:5] == everything["classes"][0][:5], "the ledger's counts know no filter"


def test_a_filter_that_nothing_passes_is_a_page_too(strangers):
    data = data_of(made(strangers, SegmentFilter(min_area=10**9)).html)
    assert data["pictures"] == []
    assert data["figures"]["medians"]["score"] is None


@pytest.fixture
def copies(tiny, scenes, tmp_path):
    """A run over copies of the scenes, which a test may change, and these copies."""
    shards = [Path(shutil.copy(shard, tmp_path / shard.name)) for shard in scenes]
    plain_run.label(tiny, shards, Output.of(str(tmp_path / "out")))
    return tmp_path / "out", shards


def test_a_source_that_is_gone_leaves_masks(copies):
    out, shards = copies
    shards[0].unlink()
    result = made(out)
    data = data_of(result.html)
    gone = [picture for picture in data["pictures"] if picture["shard"] == str(shards[0])]
    assert len(gone) == 10
    assert all(picture["jpeg"] is None for picture in gone)
    assert any(picture["segments"] for picture in gone)
    assert [shard for shard, _ in data["gone"]] == [str(shards[0])]
    assert str(shards[0]) in result.notes[0]


def test_another_image_is_never_shown_under_masks(copies):
    out, shards = copies
    shutil.copy(shards[1], shards[0])
    pictures = [p for p in data_of(made(out).html)["pictures"] if p["shard"] == str(shards[0])]
    assert len(pictures) == 10
    for picture in pictures:
        assert picture["jpeg"] is None
        assert "has changed since" in picture["notes"][0]


@pytest.mark.parametrize("most_bytes", [60_000, 9_000])
def test_a_picture_never_outgrows_its_room(strangers, tmp_path, most_bytes):
    random = np.random.default_rng(0)
    mask = rle.encode(torch.from_numpy(random.random((1, 240, 180)) < 0.5))[0]
    scalars = dict.fromkeys(("margin", "mask_score", "stability", "kept", "agreement"), float("nan"))
    row = {
        "key": "\u00e9" * 1000,
        "shard": "/" + "s" * 5000,
        "sample_index": 0,
        "width": 180,
        "height": 240,
        "mask_width": 180,
        "mask_height": 240,
        "caption": "\U0001f600" * 5000,
        "segments": [{"vocab_id": 1, "score": 0.5, "area": 5} | scalars] * 100,
        "masks": [mask] * 100,
    }
    noise = Image.fromarray(random.integers(0, 255, (240, 180, 3), np.uint8))
    vocabulary = vocabulary_of_run(Output.of(str(strangers)))
    drawer = Drawer(
        table=LabelTable(Output.of(str(strangers))),
        keep=EVERYTHING.bound(vocabulary, "general"),
        vocabulary=vocabulary,
        limits=ReadLimits(),
        truth=TruthFormat(classes=len(vocabulary)),
        scratch=tmp_path,
        most_bytes=most_bytes,
    )
    picture = drawer.picture(
        row,
        Original(sample_index=0, image=noise, truth=None, same=True, notes=()),
        Choice(place=0, span=0, row=0, confidence=None, groups=("random",)),
    )
    assert len(embedded(picture)) <= most_bytes
    assert picture["left"] + len(picture["segments"]) == 100


def test_a_title_stands_over_the_page(strangers):
    assert data_of(made(strangers).html)["title"] == ""
    assert data_of(made(strangers, title=SCRIPT).html)["title"] == SCRIPT
    assert made(strangers, title=SCRIPT).html.count(b"<script") == 2


def test_images_with_truth_have_the_iou_that_evaluate_gives(strangers, scenes, tmp_path):
    data = data_of(made(strangers).html)
    for shard in scenes:
        pictures = [picture for picture in data["pictures"] if picture["shard"] == str(shard)]
        with open_pairs(describe(str(shard)), tmp_path, ReadLimits()) as opened:
            for picture in pictures:
                (pair,) = (pair for pair in opened.pairs if pair.index == picture["index"])
                truth = decode_class_map(pair.truth.read(), 48, ReadLimits())
                row = pq.read_table(label_file(strangers, shard)).slice(pair.index, 1).to_pylist()[0]
                counts = count(truth, painted(row, truth.shape, 48), 48)
                assert picture["truth"]["iou"] == pytest.approx(mean_iou(counts), abs=1e-4)
                assert picture["truth"]["accuracy"] == pytest.approx(pixel_accuracy(counts), abs=1e-4)
                for one in (*picture["truth"]["segments"], *picture["segments"]):
                    assert one["iou"] == pytest.approx(iou(counts)[one["id"]], abs=1e-4)
                assert {one["id"] for one in picture["truth"]["segments"]} == set(np.unique(truth).tolist())
                for one in picture["truth"]["segments"]:
                    mask = rle.decode(one["rle"].encode(), truth.shape)
                    assert np.array_equal(mask, truth == one["id"])
        assert pictures
    assert all(picture["truth"] is None for picture in data["pictures"] if "strangers" in picture["shard"])


def test_classes_have_one_colour_in_labels_and_truth(strangers):
    for picture in data_of(made(strangers).html)["pictures"]:
        if picture["truth"]:
            colours = {one["id"]: one["colour"] for one in picture["segments"]}
            assert all(one["colour"] == colours.get(one["id"], one["colour"]) for one in picture["truth"]["segments"])


def test_the_share_of_unlabeled_pixels_is_that_of_the_rows(strangers):
    rows = [row for file in (strangers / "labels").iterdir() for row in pq.read_table(file).to_pylist()]
    ok = [row for row in rows if row["status"] == "ok"]
    covered = sum(segment["area"] for row in ok for segment in row["segments"])
    pixels = sum(row["mask_width"] * row["mask_height"] for row in ok)
    assert data_of(made(strangers).html)["drawn"]["unlabeled"] == pytest.approx(1 - covered / pixels, abs=1e-4)


def test_a_sealed_table_makes_the_same_report(strangers, tmp_path):
    compact(Output.of(str(strangers)), Output.of(str(tmp_path / "sealed")), scratch=tmp_path)
    sealed, plain = (data_of(made(out).html) for out in (tmp_path / "sealed", strangers))
    assert sealed["run"]["sealed"]
    assert sealed["classes"] == plain["classes"]
    assert sealed["ledger"]["read"] == plain["ledger"]["read"]

    def keys(data):
        return sorted((picture["shard"], picture["index"]) for picture in data["pictures"])

    assert keys(sealed) == keys(plain)


def test_a_run_under_way_has_a_report(tiny, scenes, tmp_path):
    plain_run.label(tiny, scenes, Output.of(str(tmp_path / "out")), only=1)
    data = data_of(made(tmp_path / "out").html)
    assert data["ledger"]["shards"] == {"done": 1, "failed": 0, "missing": 1, "stale": 0}
    assert data["ledger"]["listed"]["missing"] == [[str(scenes[1]), ""]]


def test_the_command_writes_the_page_and_says_what_it_drew(strangers, tmp_path, capsys):
    target = tmp_path / "new" / "report.html"
    assert cli.run(["report", str(strangers), "-o", str(target), "--images", "6", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{target}: ")
    assert lines[1] == "charts    25 of 25 samples, from 3 shards, seed 1"
    assert lines[2] == "images    6, chosen from 24"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--images", "401"], "--images 401"),
        (["--images", "-1"], "--images -1"),
        (["--seed", "-1"], "--seed -1"),
        (["--title", "t" * 201], "200 characters"),
        (["--truth-ids", "voc"], "truth-ids"),
        (["--image-shards", "0"], "--image-shards 0"),
        (["--classes", "zebar"], "--classes 'zebar'"),
    ],
)
def test_wrong_words_are_refused(strangers, tmp_path, capsys, arguments, told):
    assert cli.run(["report", str(strangers), "-o", str(tmp_path / "a.html"), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists()


def test_no_run_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match=r"no run\.json"):
        made(tmp_path)


@pytest.mark.slow
def test_a_run_in_a_bucket_has_a_report(tiny, scenes, capsys, tmp_path):
    with moto_server() as server, led_to(server):
        server.put_all({f"in/{shard.name}": shard.read_bytes() for shard in scenes})
        sources = [server.url(f"in/{shard.name}") for shard in scenes]
        plain_run.label(tiny, sources, Output.of(server.url("out")))
        result = made(server.url("out"))
        compact(Output.of(server.url("out")), Output.of(server.url("sealed")), scratch=tmp_path)
        sealed = made(server.url("sealed"))
        assert cli.run(["show", server.url("out"), "--limit", "3", "-o", str(tmp_path / "a.png")]) == 0
    for one in (result, sealed):
        assert one.notes == ()
        assert all(picture["jpeg"] for picture in data_of(one.html)["pictures"])
        assert one.shown == 20
    assert capsys.readouterr().out.count("ground truth beside them") == 3
