"""The folder as Hugging Face `datasets` loads it."""

import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools import mask as coco

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from tests.export_rules import rows_of

datasets = pytest.importorskip("datasets")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """`datasets.load_dataset`, without a network."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)

    def call(folder, **options):
        return datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"), **options)

    return call


@pytest.mark.parametrize("form", ["general", "queries", "semantic"])
def test_rows_are_the_tables(export, load, request, form):
    output = request.getfixturevalue(form)
    folder, tally = export(output, "hf")
    found = load(folder, split="train")
    rows = rows_of(output)
    assert len(found) == len(rows) == tally.images
    names = found.features["segments"].feature["category"].names
    assert tuple(names) == Vocabulary.load("scenes").names
    for mine, row in zip(found, rows, strict=True):
        assert [mine[name] for name in ("key", "shard", "sample_index", "width", "height", "caption")] == [
            row[name] for name in ("key", "shard", "sample_index", "width", "height", "caption")
        ]
        assert mine["sha256"] == row["sha256"].hex()
        for segment, theirs in zip(mine["segments"], row["segments"], strict=True):
            assert segment["category"] == theirs["vocab_id"]
            assert [segment[name] for name in ("score", "margin", "mask_score", "stability", "kept")] == [
                theirs[name] for name in ("score", "margin", "mask_score", "stability", "kept")
            ]
            mask = coco.decode({"size": [mine["height"], mine["width"]], "counts": segment["rle"]})
            ys, xs = np.nonzero(mask)
            assert segment["area"] == len(xs)
            assert segment["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


def test_images_travel_with_their_rows(export, load, general):
    folder, _ = export(general, "hf", images=True)
    found = load(folder, split="train")
    assert isinstance(found.features["image"], datasets.Image)
    for row in found:
        assert row["image"].size == (row["width"], row["height"])
    stored = [row for path in sorted(folder.glob("data/*")) for row in pq.read_table(path).to_pylist()]
    assert {Image.open(io.BytesIO(row["image"]["bytes"])).format for row in stored} == {"JPEG", "PNG", "WEBP"}
    assert all(row["image"]["path"].endswith((".jpg", ".png", ".webp")) for row in stored)


def test_it_streams_and_the_files_alone_declare_the_features_too(export, load, general):
    folder, tally = export(general, "hf")
    assert sum(1 for _ in load(folder, split="train", streaming=True)) == tally.images
    declared = load(folder, split="train").features
    (folder / "README.md").unlink()
    assert load(folder / "data", split="train").features == declared


def test_there_is_a_file_for_each_shard_even_one_without_rows(export, load, general):
    folder, _ = export(general, "hf")
    names = sorted(path.name for path in (folder / "data").iterdir())
    assert names == [f"train-{number:05d}-of-00004.parquet" for number in range(4)]
    assert 0 in [pq.read_metadata(folder / "data" / name).num_rows for name in names]


def test_an_export_of_nothing_is_refused_and_leaves_nothing(export, general, tmp_path):
    with pytest.raises(UsageError, match=r"no image is left to export .*--skip-empty"):
        export(general, "hf", min_area=10**9, skip_empty=True)
    assert not list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob("export*.json"))
    folder, _ = export(general, "hf", min_area=10**9)
    assert (folder / "export.json").exists(), "as the error advises"
