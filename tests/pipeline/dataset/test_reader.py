import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from torch.utils.data import DataLoader

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.dataset import LabeledImages, mask_set, semantic_map
from maskmill.pipeline.output import Output
from maskmill.pipeline.stores import stores
from maskmill.pipeline.synthesis.shards import synthesize
from maskmill.pipeline.table.filters import SegmentFilter
from tests.plain_run import label
from tests.s3_server import led_to, moto_server


def name(sample):
    return (sample.shard, sample.sample_index)


def labeled_rows(output):
    files = [pq.read_table(path) for path in sorted(Path(output.labels).glob("*.parquet"))]
    return {(r["shard"], r["sample_index"]): r for t in files for r in t.to_pylist() if r["status"] == "ok"}


@pytest.mark.parametrize("shuffle", [0, 4])
@pytest.mark.parametrize(("world", "workers"), [(1, 0), (1, 2), (2, 1), (3, 0), (3, 2)])
def test_every_labeled_sample_comes_once_whatever_reads(run_of, world, workers, shuffle):
    _, output = run_of
    seen = Counter()
    for rank in range(world):
        data, before = LabeledImages(output.url, rank=rank, world=world, shuffle=shuffle), seen.total()
        seen.update(name(sample) for sample in DataLoader(data, batch_size=None, num_workers=workers))
        assert len(data) == seen.total() - before
    assert seen == dict.fromkeys(labeled_rows(output), 1)
    assert len(seen) == 15


def test_a_sample_is_the_image_and_the_masks_of_its_row(run_of):
    _, output = run_of
    rows = labeled_rows(output)
    for sample in LabeledImages(output.url):
        row = rows[name(sample)]
        size = [row["mask_height"], row["mask_width"]]
        assert sample.key == row["key"]
        assert list(sample.image.shape) == [3, *size]
        assert sample.class_ids.tolist() == [segment["vocab_id"] for segment in row["segments"]]
        assert sample.scores.tolist() == pytest.approx([segment["score"] for segment in row["segments"]])
        for mine, theirs in zip(sample.masks, row["masks"], strict=True):
            assert np.array_equal(mine.numpy(), coco.decode({"size": size, "counts": theirs}).astype(bool))
        if row["mask_logits"]:
            stored = np.frombuffer(row["mask_logits"][0], np.int8).reshape(row["logit_height"], row["logit_width"])
            assert sample.soft_masks[0].numpy() == pytest.approx(stored.astype(np.float32) * 16 / 127)
        assert not sample.ignore.any()


def test_the_image_is_that_of_the_shard(run_of):
    shards, output = run_of
    with tarfile.open(shards[0]) as archive:
        for sample in LabeledImages(output.url, shards=[str(shards[0])]):
            member = next(m for m in archive.getmembers() if m.name.startswith(sample.key) and m.name.endswith("jpg"))
            pixels = np.asarray(Image.open(archive.extractfile(member)).convert("RGB"))
            assert np.array_equal(sample.image.permute(1, 2, 0).numpy(), pixels)


def test_a_filter_drops_segments_and_ignores_their_pixels(run_of):
    _, output = run_of
    everything = {name(sample): sample for sample in LabeledImages(output.url)}
    scores = sorted(score for sample in everything.values() for score in sample.scores.tolist())
    middle = scores[len(scores) // 2]
    dropped = 0
    for sample in LabeledImages(output.url, keep=SegmentFilter(min_score=middle)):
        before = everything[name(sample)]
        passing = before.scores >= np.float32(middle)
        assert torch.equal(sample.masks, before.masks[passing])
        assert torch.equal(sample.ignore, before.masks[~passing].any(0) & ~before.masks[passing].any(0))
        assert len(sample.soft_masks) == len(sample.masks)
        dropped += int((~passing).sum())
    assert dropped


def test_equal_steps_give_every_rank_as_many(run_of):
    _, output = run_of
    for steps, length in (("pad", 4), ("drop", 3)):
        counts = [sum(1 for _ in LabeledImages(output.url, rank=r, world=4, steps=steps)) for r in range(4)]
        assert counts == [length] * 4


def test_a_shard_that_changed_since_it_was_labeled_is_not_read_beside_its_labels(run_of, tmp_path, tiny):
    shard = shutil.copy(run_of[0][0], tmp_path / "a.tar")
    output = Output.of(str(tmp_path / "out"))
    label(tiny, [shard], output)
    shutil.copy(run_of[0][2], shard)
    with pytest.raises(UsageError, match=r"changed.*label it again"):
        list(LabeledImages(output.url))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_a_bucket_whose_endpoint_an_option_names(tiny, tmp_path, start):
    """Forked ones inherit a driver that the parent has used, spawned ones nothing."""
    (shard,) = synthesize(tmp_path, 1, 5, 3)
    before = stores.used()
    with moto_server() as server, led_to(server), pytest.MonkeyPatch.context() as patch:
        server.put_all({"a.tar": shard.read_bytes(), "b.tar": shard.read_bytes()})
        output = Output.of(server.url("out"))
        label(tiny, [server.url("a.tar"), server.url("b.tar")], output)
        patch.delenv("AWS_ENDPOINT_URL")
        stores.use(stores.Stores.parse([f"{server.url('')},endpoint={server.endpoint}"]))
        try:
            data = LabeledImages(output.url, scratch=tmp_path)
            loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=start)
            seen = Counter(name(sample) for sample in loader)
        finally:
            stores.use(before)
    assert seen == {(server.url(shard), index): 1 for shard in ("a.tar", "b.tar") for index in range(5)}


def test_targets_have_fixed_shapes(run_of):
    _, output = run_of
    sample = max(LabeledImages(output.url), key=lambda one: len(one.masks))
    classes = semantic_map(sample, unlabeled=255)
    best = sample.scores.argmax()
    assert (classes[sample.masks[best]] == sample.class_ids[best]).all()
    assert torch.equal(classes == 255, ~sample.labeled)
    few, many = mask_set(sample, 1), mask_set(sample, 50)
    assert torch.equal(few.masks[0], sample.masks[best])
    assert few.ignore.sum() == (sample.masks.any(0) & ~sample.masks[best]).sum()
    assert many.valid.sum() == len(sample.masks)
    assert many.masks.shape == (50, *classes.shape)
    assert (many.class_ids[~many.valid] == -1).all()


def test_the_reader_knows_the_names(run_of):
    assert LabeledImages(run_of[1].url).vocabulary == Vocabulary.load("scenes")


def test_shards_that_are_not_labeled_are_left_out_and_told(run_of, tmp_path, caplog):
    shards, output = run_of
    (other,) = synthesize(tmp_path, 1, 1, 9)
    data = LabeledImages(output.url, shards=[str(shards[1]), str(other)])
    assert len(data) == 1
    assert "1 of 2 shards are not labeled there" in caplog.text
    with pytest.raises(UsageError, match="none of these shards is labeled there"):
        LabeledImages(output.url, shards=[str(other)])


def test_a_shard_with_fewer_samples_than_the_ledger_says_is_named_as_damage(tmp_path, tiny):
    (shard,) = synthesize(tmp_path, 1, 3, 3)
    output = Output.of(str(tmp_path / "out"))
    label(tiny, [shard], output)
    (path,) = Path(output.labels).glob("*.parquet")
    table = pq.read_table(path)
    failed = table.set_column(table.schema.get_field_index("status"), table.schema.field("status"),
                              pa.array(["ok", "ok", "failed"]))  # fmt: skip
    pq.write_table(failed, path)
    with pytest.raises(UsageError, match=r"verify"):
        list(LabeledImages(output.url))
