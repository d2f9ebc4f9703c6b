"""Shards whose images are named otherwise: what a run says of them, and the option that all readers then follow."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline import run
from maskmill.pipeline.dataset import LabeledImages
from maskmill.pipeline.evaluation.table import evaluate_table
from maskmill.pipeline.export.destination import Destination
from maskmill.pipeline.export.export import Export, export
from maskmill.pipeline.ledger.summary import lines
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.report.config import ReportConfig
from maskmill.pipeline.report.report import report
from maskmill.pipeline.retry import Given, configuration
from maskmill.pipeline.showing.lookup import find
from maskmill.pipeline.synthesis.shards import synthesize
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.truth.pairs import sources_of
from tests.plain_run import PLAIN, label

NAMED = replace(PLAIN, limits=ReadLimits(image_member="input.jpg", caption_member="prompt.txt"))


@pytest.fixture(scope="module")
def shard(tmp_path_factory) -> Path:
    """Scenes whose images are KEY.input.jpg and whose captions are KEY.prompt.txt, beside other texts."""
    folder = tmp_path_factory.mktemp("named")
    (plain,) = synthesize(folder / "scenes", 1, 3, 4)
    with tarfile.open(plain) as source, tarfile.open(folder / "named.tar", "w") as target:
        for member in source:
            file = source.extractfile(member)
            assert file is not None
            body = file.read()
            name = member.name.replace(".jpg", ".input.jpg").replace(".txt", ".prompt.txt")
            for own, data in ((name, body), *[(member.name, b"not this")] * (name.endswith("prompt.txt"))):
                info = tarfile.TarInfo(own)
                info.size = len(data)
                target.addfile(info, io.BytesIO(data))
    return folder / "named.tar"


@pytest.fixture(scope="module")
def output(tiny, shard, tmp_path_factory) -> Output:
    output = Output.of(str(tmp_path_factory.mktemp("run") / "out"))
    assert label(tiny, [shard], output, NAMED).labeled == 3
    return output


def test_without_the_option_the_shard_fails_with_an_example_that_names_it(tiny, shard, tmp_path):
    now = label(tiny, [shard], Output.of(str(tmp_path)))
    (failed,) = [line for line in lines(now) if line.startswith("failed")]
    assert "3 of 3 samples (missing_image 3), as '000000000': missing_image: no jpg, jpeg, png or webp among" in failed
    assert "if input.jpg is the image, --image-member input.jpg takes it" in failed


def test_all_that_reads_the_shard_beside_its_labels_takes_the_members_of_the_run(output, shard, tmp_path):
    images = list(LabeledImages(output.url, scratch=tmp_path))
    assert [image.caption is not None and image.caption != "not this" for image in images] == [True] * 3
    assert find(output, images[1].key).image is not None
    assert report(output.url, SegmentFilter(), ReportConfig(images=3)).notes == ()
    made = export(
        Export(
            output=output,
            destination=Destination.of(str(tmp_path / "coco")),
            format="coco",
            keep=SegmentFilter(),
            images=True,
            skip_empty=False,
        ),
        scratch=tmp_path,
        workers=1,
    )
    assert made.images == 3
    limits = run.limits(run.require(output))
    assert limits == NAMED.limits
    classes = len(vocabulary_of_run(output))
    assert evaluate_table(sources_of([str(shard)]), output, classes, limits=limits, scratch=tmp_path).images == 3


def test_the_option_is_part_of_the_identity_and_a_retry_has_it(output):
    recorded = run.require(output)
    assert recorded["identity"]["limits"]["image_member"] == "input.jpg"
    now = configuration(output, given=Given(), replica=NAMED.replica, job=NAMED.job)
    assert now.limits == NAMED.limits


@pytest.mark.parametrize("name", ["", ".input.jpg", "a/b.jpg", "Input.JPG", "in put.jpg", "x" * 101, 7])
def test_what_is_no_extension_is_refused(name):
    for option in ("image_member", "caption_member"):
        with pytest.raises(UsageError, match=f"--{option.replace('_', '-')} .*such as input.jpg"):
            ReadLimits(**{option: name})


def test_one_member_is_not_both():
    with pytest.raises(UsageError, match="is the --image-member"):
        ReadLimits(image_member="a.png", caption_member="a.png")
