"""A model's evaluation against argmax of the plain formula; the dense CLIP baseline against MaskCLIP's, spelled out."""

import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from maskmill.models import zoo
from maskmill.models.errors import UsageError
from maskmill.models.san.config import SAN_TINY
from maskmill.models.san.dense_clip import dense_clip_logits
from maskmill.models.san.untrained import FillRule
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.evaluation.confusion import count
from maskmill.pipeline.evaluation.model import evaluate_model
from maskmill.pipeline.synthesis.scene import scene
from maskmill.pipeline.synthesis.shards import JPEG_QUALITY
from maskmill.pipeline.truth.pairs import sources_of
from tests.golden import semantic_scores
from tests.plain_run import write_tar


@pytest.fixture(scope="module")
def classes(tiny):
    return tiny.classes(Vocabulary.load("scenes"), ["a {}"])


def test_a_models_counts_are_those_of_the_highest_semantic_scores(scenes, tmp_path):
    # A mild model: san-tiny's untrained weights are so sure of background that names vanish in float32.
    rule = FillRule(salt="mild/", overrides={"ov_classifier.logit_scale": 2.0})
    tiny = zoo.build(SAN_TINY, rule.state(zoo.shapes(SAN_TINY)), rule=zoo.MODELS["san-tiny"].rule)
    classes = tiny.classes(Vocabulary.load("scenes"), ["a {}"])
    (found,) = evaluate_model(sources_of([str(scenes[0])]), tiny, classes, scratch=tmp_path, batch_size=4)
    expected = np.zeros((48, 49), np.int64)
    with torch.no_grad():
        weights = tiny.model.ov_classifier.class_weights(classes.features)
        for index in range(10):
            drawn = scene(7, index)
            file = io.BytesIO()
            Image.fromarray(drawn.image).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
            pixels = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)[None]
            (output,) = tiny.model(tiny.normalised(pixels, [(128, 128)]), weights)
            scores = semantic_scores(
                output.mask_logits[0].double(),
                output.class_logits[0].double(),
                padded=(128, 128),
                size=(128, 128),
                out=(128, 128),
            )
            expected += count(drawn.class_map, scores.argmax(0).numpy(), 48)
    assert found.images == 10
    assert found.counts.sum() == 10 * 128 * 128
    # Pixels whose two best classes are equal but for rounding may differ.
    assert np.abs(found.counts - expected).sum() <= 20


def test_dense_clip_is_the_last_blocks_value_of_each_patch_against_the_names(tiny, classes):
    model = tiny.model.double()
    try:
        images = torch.randn(2, 3, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        features = classes.features.double()
        with torch.no_grad():
            found = dense_clip_logits(model, images, features)
            clip = model.clip_visual_extractor(model.clip_visual_extractor.clip_input(images))
            tokens = clip.tokens[model.config.split_layer]
            *inner, last = model.clip_rec_head.resblocks
            for block in inner:
                tokens = block(tokens)  # open_clip's own forward
            width = tokens.shape[-1]
            value = functional.linear(
                last.ln_1(tokens), last.attn.in_proj_weight[-width:], last.attn.in_proj_bias[-width:]
            )
            tokens = tokens + functional.linear(value, last.attn.out_proj.weight, last.attn.out_proj.bias)
            tokens = tokens + last.mlp(last.ln_2(tokens))
            patches = functional.normalize(
                model.clip_rec_head.ln_post(tokens[:, 1:]) @ model.clip_rec_head.proj, dim=-1
            )
            plain = model.ov_classifier.logit_scale.exp() * patches @ features.T
        assert found.shape == (2, 48, 8, 8)
        torch.testing.assert_close(found.flatten(2).transpose(1, 2), plain, rtol=0, atol=1e-9)
    finally:
        model.float()


def test_dense_clip_is_evaluated_on_the_same_pixels(tiny, classes, scenes, tmp_path):
    found = evaluate_model(sources_of([str(scenes[0])]), tiny, classes, dense_clip=True, scratch=tmp_path)
    assert [one.name for one in found] == ["san-tiny", "dense CLIP"]
    assert found[0].counts.sum(axis=1).tolist() == found[1].counts.sum(axis=1).tolist()


def test_a_folder_scores_as_the_shard_with_the_same_files(tiny, classes, scenes, tmp_path):
    for name in ("images", "annotations"):
        (tmp_path / name).mkdir()
    with tarfile.open(scenes[0]) as archive:
        for member in archive:
            key, _, extension = member.name.partition(".")
            if extension in ("jpg", "seg.png"):
                folder, ending = ("images", "jpg") if extension == "jpg" else ("annotations", "png")
                (tmp_path / folder / f"{key}.{ending}").write_bytes(archive.extractfile(member).read())
    (shard,) = evaluate_model(sources_of([str(scenes[0])]), tiny, classes, scratch=tmp_path)
    (folder,) = evaluate_model(sources_of([str(tmp_path)]), tiny, classes, scratch=tmp_path)
    assert folder.images == 10
    np.testing.assert_array_equal(folder.counts, shard.counts)


def test_an_image_that_cannot_be_decoded_counts_as_left_unlabeled(tiny, classes, tmp_path):
    truth = io.BytesIO()
    Image.fromarray(np.full((4, 6), 3, np.uint8)).save(truth, "PNG")
    shard = write_tar(tmp_path / "a.tar", {"x.jpg": b"\xff\xd8\xff broken", "x.seg.png": truth.getvalue()})
    (found,) = evaluate_model(sources_of([str(shard)]), tiny, classes, scratch=tmp_path)
    assert (found.images, found.failed) == (1, 1)
    assert found.counts[3, 48] == 24
    assert found.counts.sum() == 24


def test_truth_of_another_size_or_another_vocabulary_is_told(tiny, classes, tmp_path):
    image, small, foreign = (io.BytesIO() for _ in range(3))
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(image, "PNG")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(small, "PNG")
    Image.fromarray(np.full((4, 6), 99, np.uint8)).save(foreign, "PNG")
    for truth, said in ((small, "'x': ground truth of 4 x 4 pixels, image of 6 x 4"), (foreign, "class id 99")):
        shard = write_tar(tmp_path / "a.tar", {"x.png": image.getvalue(), "x.seg.png": truth.getvalue()})
        with pytest.raises(UsageError, match=said):
            evaluate_model(sources_of([str(shard)]), tiny, classes, scratch=tmp_path)
    bare = write_tar(tmp_path / "b.tar", {"x.png": image.getvalue()})
    with pytest.raises(UsageError, match="no sample has an image and ground truth"):
        evaluate_model(sources_of([str(bare)]), tiny, classes, scratch=tmp_path)
