"""panoptic.json and its PNGs against the format's published rules, written down in `tests.export_rules`."""

import json

import numpy as np
import pytest
from PIL import Image

from maskmill.models.masks import rle
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.export.panoptic import _canvas, _ids, _infos, _png
from maskmill.pipeline.export.sample import ExportedSample, ExportedSegment
from tests.export_rules import check_panoptic, rows_of


@pytest.mark.parametrize("form", ["general", "queries", "semantic"])
def test_it_keeps_the_formats_rules(export, request, form):
    folder, tally = export(request.getfixturevalue(form), "coco-panoptic")
    segments = check_panoptic(folder / "panoptic.json", folder / "panoptic")
    assert segments == tally.segments - tally.hidden - tally.merged
    assert segments > 20
    assert (tally.merged > 0) == (form == "queries")


def test_masks_of_the_general_form_are_its_segments(export, general):
    folder, tally = export(general, "coco-panoptic")
    data = json.loads((folder / "panoptic.json").read_text())
    assert (tally.hidden, tally.merged) == (0, 0)
    same = 0
    for annotation, row in zip(data["annotations"], rows_of(general), strict=True):
        infos = annotation["segments_info"]
        assert [info["category_id"] for info in infos] == [segment["vocab_id"] for segment in row["segments"]]
        if (row["mask_width"], row["mask_height"]) == (row["width"], row["height"]):
            assert [info["area"] for info in infos] == [segment["area"] for segment in row["segments"]]
            assert [info["bbox"] for info in infos] == [segment["bbox"] for segment in row["segments"]]
            same += len(infos)
    assert same


def segment(number: int, vocab_id: int, score: float, mask: np.ndarray) -> ExportedSegment:
    import torch

    (encoded,) = rle.encode(torch.from_numpy(mask)[None])
    return ExportedSegment(
        number=number, vocab_id=vocab_id, query=number, score=score, margin=0.1, mask_score=None, stability=None,
        kept=None, agreement=None, mask=encoded,
    )  # fmt: skip


def sample(size: tuple[int, int], mask_size: tuple[int, int], *segments: ExportedSegment) -> ExportedSample:
    return ExportedSample(
        image_id=1, name="f/0", key="k", shard="s", sample_index=0, sha256="", caption=None, size=size,
        mask_size=mask_size, segments=segments, image=None,
    )  # fmt: skip


def columns(first: int, last: int) -> np.ndarray:
    mask = np.zeros((2, 6), bool)
    mask[:, first:last] = True
    return mask


def test_the_higher_score_is_on_top_and_stuff_of_one_class_is_one_segment():
    stuff = {5}
    found = sample(
        (2, 6),
        (2, 6),
        segment(1, 0, 0.9, columns(0, 3)),
        segment(2, 0, 0.4, columns(1, 4)),  # a thing: stays apart from the first of its class
        segment(3, 5, 0.3, columns(3, 5)),
        segment(4, 5, 0.2, columns(4, 6)),
        segment(5, 1, 0.1, columns(0, 2)),  # wholly under the first
    )
    ids = _ids(found.segments, stuff)
    canvas = _canvas(found, ids)
    assert canvas.tolist() == [[1, 1, 1, 2, 3, 3]] * 2
    infos = _infos(found.segments, ids, canvas)
    assert [(info["id"], info["category_id"], info["area"], info["score"]) for info in infos] == [
        (1, 0, 6, 0.9),
        (2, 0, 2, 0.4),
        (3, 5, 4, 0.3),
    ]
    assert infos[2]["bbox"] == [4, 0, 2, 2]


def test_ids_beyond_a_byte_are_spelled_in_colours(tmp_path):
    (tmp_path / "x.png").write_bytes(_png(np.array([[0, 255, 256], [65535, 65536, 70000]], np.int32)))
    pixels = np.asarray(Image.open(tmp_path / "x.png")).astype(int)
    assert (pixels @ [1, 256, 256**2]).tolist() == [[0, 255, 256], [65535, 65536, 70000]]


def test_smaller_masks_are_stretched_to_the_image():
    found = sample((4, 12), (2, 6), segment(1, 0, 0.9, columns(2, 4)))
    canvas = _canvas(found, [1])
    assert canvas.tolist() == [[0] * 4 + [1] * 4 + [0] * 4] * 4


def test_a_thing_is_what_nobody_called_stuff(export, general):
    folder, _ = export(general, "coco-panoptic")
    categories = json.loads((folder / "panoptic.json").read_text())["categories"]
    kinds = [entry.kind for entry in Vocabulary.load("scenes")]
    assert [category["isthing"] for category in categories] == [int(kind != "stuff") for kind in kinds]
