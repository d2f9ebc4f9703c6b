"""Batches are known by their number: epochs are permutations, shares make the whole, threads change nothing."""

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from maskmill.models.errors import UsageError
from maskmill.models.training.ranks import Ranks
from maskmill.models.training.recipe import Augmentation, Recipe
from maskmill.models.vocabulary.scenes import names
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.training.data import TrainingData
from maskmill.pipeline.truth.pairs import open_pairs, sources_of
from tests.plain_run import write_tar

ALL = np.arange(48, dtype=np.int32)


def pairs_of(paths, tmp_path):
    found = []
    for source in sources_of([str(path) for path in paths]):
        with open_pairs(source, tmp_path, ReadLimits()) as opened:
            found += opened.pairs
    return tuple(found)


@pytest.fixture
def data(scenes, tmp_path) -> TrainingData:
    return TrainingData(
        pairs=pairs_of(scenes, tmp_path),
        ids=ALL,
        augmentation=Augmentation(crop=64),
        recipe=Recipe(batch_size=6, seed=4),
    )


def test_every_epoch_shows_each_image_once_in_another_order(data):
    epochs = [[data.place(number) for number in range(20 * epoch, 20 * epoch + 20)] for epoch in range(3)]
    orders = [[position for _, position in places] for places in epochs]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    assert [{epoch for epoch, _ in places} for places in epochs] == [{0}, {1}, {2}]


def test_an_image_is_cropped_anew_in_each_epoch_and_the_same_for_one_seed(data, scenes, tmp_path):
    where = {data.place(number)[1]: number for number in range(20)}
    later = {data.place(number)[1]: number for number in range(20, 40)}
    first, second = data.sample(where[3]), data.sample(later[3])
    assert first[2] != second[2]
    assert not np.array_equal(first[0], second[0])
    assert np.array_equal(first[0], data.sample(where[3])[0])


def test_workers_shares_make_the_whole_batch_whatever_their_threads(data):
    with data.batches(Ranks(), first=0, threads=3) as whole:
        expected = [next(whole) for _ in range(4)]
    for rank in (0, 1):
        with data.batches(Ranks(rank=rank, size=2), first=0, threads=1) as shares:
            for batch in expected:
                share = next(shares)
                assert share.seeds == batch.seeds[3 * rank : 3 * rank + 3]
                assert torch.equal(share.pixels, batch.pixels[3 * rank : 3 * rank + 3])
                assert torch.equal(share.class_maps, batch.class_maps[3 * rank : 3 * rank + 3])
    with data.batches(Ranks(), first=2, threads=2) as resumed:
        assert next(resumed).seeds == expected[2].seeds


def test_classes_left_out_are_not_labeled_and_the_others_close_the_ranks(data, scenes, tmp_path):
    gone = [names().index("sky"), 0]
    ids = np.full(48, -1, np.int32)
    kept = [i for i in range(48) if i not in gone]
    ids[kept] = np.arange(46)
    fewer = TrainingData(pairs=data.pairs, ids=ids, augmentation=data.augmentation, recipe=data.recipe)
    some = 0
    for number in range(20):
        whole, cut = data.sample(number)[1], fewer.sample(number)[1]
        some += int(np.isin(whole, gone).sum())
        expected = np.where(np.isin(whole, gone) | (whole < 0), -1, ids[np.maximum(whole, 0)])
        assert np.array_equal(cut, expected)
    assert some > 0


def test_an_image_that_cannot_be_decoded_gives_its_place_to_the_next(tmp_path):
    image, truth = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 77, np.uint8)).save(image, "PNG")
    Image.fromarray(np.full((64, 64), 5, np.uint8)).save(truth, "PNG")
    members = {"a.png": image.getvalue(), "a.seg.png": truth.getvalue(), "b.png": b"\x89PNG broken"}
    pairs = pairs_of([write_tar(tmp_path / "x.tar", {**members, "b.seg.png": truth.getvalue()})], tmp_path)
    plain = Augmentation(crop=64, scales=(1.0,), colour=False)
    data = TrainingData(pairs=pairs, ids=ALL, augmentation=plain, recipe=Recipe(batch_size=2))
    assert all((data.sample(number)[0] == 77).all() for number in range(4))
    only = TrainingData(pairs=pairs[1:], ids=ALL, augmentation=plain, recipe=Recipe(batch_size=2))
    with pytest.raises(UsageError, match="images in a row can't be decoded"):
        only.sample(0)


def test_ground_truth_of_another_vocabulary_is_told(data):
    small = TrainingData(pairs=data.pairs, ids=ALL[:10], augmentation=data.augmentation, recipe=data.recipe)
    with (
        small.batches(Ranks(), first=0, threads=1) as batches,
        pytest.raises(UsageError, match="the vocabulary has 10"),
    ):
        list(itertools.islice(batches, 4))
