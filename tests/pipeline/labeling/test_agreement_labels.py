"""A run with --agreement: its one field is filled in, the rest of the table stays, and readers can ask for it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from maskmill.jobs import cli
from maskmill.models import zoo
from maskmill.models.errors import UsageError
from maskmill.pipeline import run
from maskmill.pipeline.config import InferenceConfig, JobConfig, LabelConfig, ModelConfig, ReplicaConfig
from maskmill.pipeline.dataset import LabeledImages
from maskmill.pipeline.labeling.agreement_price import price_lines
from maskmill.pipeline.output import Output
from maskmill.pipeline.query import ask
from maskmill.pipeline.report.config import ReportConfig
from maskmill.pipeline.report.report import report
from maskmill.pipeline.retry import Given, configuration
from maskmill.pipeline.showing.show import show
from maskmill.pipeline.stats import lines, stats, to_json
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.verify import verify
from tests.plain_run import label

FLOOR = 0.9
"""A bound that some segments pass and some don't."""


def config(agreement: str | None) -> LabelConfig:
    return LabelConfig(model=ModelConfig(model="san-tiny"), inference=InferenceConfig(agreement=agreement))


@pytest.fixture(scope="module")
def out(tmp_path_factory, scenes) -> Path:
    """A run with both views. Tests only read it."""
    folder = tmp_path_factory.mktemp("agreement") / "out"
    label(zoo.load("san-tiny", device="cpu"), scenes, Output.of(str(folder)), config("flip,scale"))
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory, scenes) -> Path:
    """The same without. Tests only read it."""
    folder = tmp_path_factory.mktemp("plain") / "out"
    label(zoo.load("san-tiny", device="cpu"), scenes, Output.of(str(folder)), config(None))
    return folder


def rows_of(out: Path) -> list[dict]:
    return [row for path in sorted((out / "labels").iterdir()) for row in pq.ParquetFile(path).read().to_pylist()]


@pytest.fixture(scope="module")
def agreements(out) -> np.ndarray:
    """Of all segments, as pyarrow reads them."""
    return np.array([segment["agreement"] for row in rows_of(out) for segment in row["segments"]], np.float32)


def test_every_segment_has_it_and_nothing_else_changes(out, plain, agreements):
    rows = rows_of(out)
    assert len(agreements) > 20
    assert ((agreements >= 0) & (agreements <= 1)).all()
    assert 0 < (agreements >= FLOOR).sum() < len(agreements)
    for row in rows:
        for segment in row["segments"]:
            segment["agreement"] = None
    assert rows == rows_of(plain)
    assert verify(Output.of(str(out)), deep=True).problems == ()


def test_it_is_a_run_of_its_own(out, plain):
    one, other = (run.require(Output.of(str(folder))) for folder in (out, plain))
    assert one["identity"]["agreement"] == ["flip", "scale 0.75"]
    assert "agreement" not in other["identity"]
    assert one["fingerprint"] != other["fingerprint"]


def test_other_views_into_the_same_output_are_refused(out, scenes, tmp_path):
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    for other in (None, "flip"):
        with pytest.raises(UsageError, match="agreement: "):
            label(zoo.load("san-tiny", device="cpu"), scenes, Output.of(str(copy)), config(other))


def test_a_retry_asks_for_it_again(out):
    now = configuration(Output.of(str(out)), given=Given(), replica=ReplicaConfig(), job=JobConfig())
    assert now.inference.agreement == "flip,scale"


def test_queries_and_the_training_reader_are_bounded_by_it(out, agreements):
    keep = SegmentFilter(min_agreement=FLOOR)
    passing = int((agreements >= np.float32(FLOOR)).sum())
    with ask(str(out), "SELECT count(*), min(agreement) FROM segments", keep) as answer:
        ((count, least),) = answer.rows
    assert count == passing
    assert least >= FLOOR
    with ask(str(out), "SELECT sum(segments) FROM classes", keep) as answer:
        assert next(iter(answer.rows))[0] == passing
    assert sum(len(image.class_ids) for image in LabeledImages(str(out), keep=keep)) == passing


def test_stats_tell_its_mean(out, agreements):
    found = stats(Output.of(str(out)))
    told = to_json(found)["agreement"]
    assert told["segments"] == len(agreements)
    assert told["mean"] == pytest.approx(agreements.mean(dtype=np.float64), abs=1e-6)
    assert f"agreement mean {told['mean']:.3f} (all segments)" in list(lines(found))


def test_show_and_report_tell_it(out, tmp_path):
    row = rows_of(out)[0]
    found = show(str(out), row["key"], tmp_path / "a.png", shard=row["shard"])
    assert [one.agreement for one in found.segments] == [one["agreement"] for one in row["segments"]]
    page = report(str(out), SegmentFilter(min_agreement=FLOOR), ReportConfig(images=6)).html.decode()
    data = json.loads(page.split('id="data"', 1)[1].split(">", 1)[1].split("</script>", 1)[0])
    shown = [segment for picture in data["pictures"] for segment in picture["segments"]]
    assert shown
    assert all(segment["agreement"] >= FLOOR for segment in shown)


def test_an_export_carries_it_and_is_bounded_by_it(out, tmp_path, agreements):
    code = cli.run(
        ["export", str(out), "--format", "coco", "-o", str(tmp_path / "coco"), "--workers", "1",
         "--min-agreement", str(FLOOR)]
    )  # fmt: skip
    assert code == 0
    written = json.loads((tmp_path / "coco" / "instances.json").read_text())["annotations"]
    assert sorted(np.float32(one["agreement"]) for one in written) == sorted(
        agreements[agreements >= np.float32(FLOOR)]
    )


def test_the_price_stands_in_a_dry_run(scenes, tmp_path, capsys):
    command = ["label", str(scenes[0]), "-o", str(tmp_path / "out"), "--model", "san-tiny", "--dry-run"]
    assert cli.run([*command, "--agreement", "flip,scale"]) == 0
    assert set(price_lines(("flip", "scale"))) < set(capsys.readouterr().out.splitlines())
    assert cli.run(command) == 0
    assert "agreement" not in capsys.readouterr().out
    assert cli.run([*command, "--agreement", "mirror"]) == 2
    assert "--agreement 'mirror': expected flip, scale or flip,scale." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("views", "said"),
    [
        (("flip",), ("2 passes an image: as it is, mirrored", "about 2.0 times the work")),
        (("scale",), ("2 passes an image: as it is, at 0.75 of its size", "about 1.6 times the work")),
        (("flip", "scale"), ("3 passes an image: as it is, mirrored, at 0.75 of its size", "about 2.6 times the work")),
    ],
)
def test_the_price_tells_passes_and_work_and_fits_a_terminal(views, said):
    passes, work = price_lines(views)
    assert passes == f"agreement {said[0]}"
    assert work.strip().startswith(said[1])
    assert max(len(passes), len(work)) <= 80
