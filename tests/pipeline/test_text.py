"""A run's text features: computed once, stored whole, loaded only where they belong. The text tower is san-tiny's."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.text import (
    TextIdentity,
    compute_text_features,
    ensure_text_features,
    load_text_features,
    store_text_features,
    text_features_path,
)
from tests.untrained_tiny import untrained_tiny

TEMPLATES = ("a photo of a {}.", "{}")
VOCABULARY = Vocabulary.of(["cat", "dog", "hot-air balloon"])
IDENTITY = TextIdentity(
    vocabulary=VOCABULARY.hash, classes=3, templates="t" * 64, model="san-tiny", weights="w" * 64, dtype="float32"
)


def features(classes=3, width=8, seed=0):
    raw = torch.randn(classes, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(raw, dim=-1)


@pytest.fixture(scope="module")
def segmenter():
    return untrained_tiny()


def refused(identity, out):
    with pytest.raises(UsageError) as error:
        load_text_features(identity, str(out))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_hash_names_all_that_shapes_the_features():
    stated = (
        f'{{"classes":3,"dtype":"float32","model":"san-tiny","templates":"{"t" * 64}",'
        f'"vocabulary":"{VOCABULARY.hash}","weights":"{"w" * 64}"}}'
    )
    assert IDENTITY.hash == hashlib.sha256(stated.encode()).hexdigest()
    others = [
        {"vocabulary": "v"}, {"classes": 4}, {"templates": "u"}, {"model": "m"}, {"weights": "x"}, {"dtype": "bfloat16"}
    ]  # fmt: skip
    fields = {name: getattr(IDENTITY, name) for name in TextIdentity.__dataclass_fields__}
    assert len({IDENTITY.hash, *(TextIdentity(**fields | other).hash for other in others)}) == 7


def test_the_file_stands_where_the_contract_says():
    assert text_features_path("s3://bucket/run/", "abc") == "s3://bucket/run/text/abc.safetensors"


@pytest.mark.parametrize("store", ["{tmp}/out", "memory://text-test/out"])
def test_features_come_back_bit_for_bit(tmp_path, store):
    out = store.format(tmp=tmp_path)
    path = store_text_features(features(), IDENTITY, out)
    assert path == f"{out}/text/{IDENTITY.hash}.safetensors"
    assert torch.equal(load_text_features(IDENTITY, out), features())


def test_any_safetensors_reader_opens_the_file_and_sees_whose_it_is(tmp_path):
    path = store_text_features(features(), IDENTITY, str(tmp_path))
    assert torch.equal(load_file(path)["features"], features())
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["maskmill"])["vocabulary"] == VOCABULARY.hash
    assert [entry.name for entry in Path(path).parent.iterdir()] == [f"{IDENTITY.hash}.safetensors"]


def test_a_missing_file_says_how_to_make_it(tmp_path):
    assert "no text features there" in refused(IDENTITY, tmp_path)


def test_a_file_of_another_vocabulary_is_refused(tmp_path):
    other = TextIdentity(
        vocabulary="0" * 64, classes=3, templates="t" * 64, model="san-tiny", weights="w" * 64, dtype="float32"
    )
    path = Path(store_text_features(features(), other, str(tmp_path)))
    path.rename(path.with_name(f"{IDENTITY.hash}.safetensors"))
    assert "another run's (differs in vocabulary)" in refused(IDENTITY, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (features(classes=4), "expected float32 [3, D]"),
        (features().double(), "expected float32 [3, D]"),
        (features()[0], "expected float32 [3, D]"),
        (features() * 0, "point nowhere"),
        (features() * float("nan"), "point nowhere"),
    ],
)
def test_a_tensor_that_cannot_be_these_features_is_refused(tmp_path, wrong, expected):
    store_text_features(wrong, IDENTITY, str(tmp_path))
    assert expected in refused(IDENTITY, tmp_path)


def damage_cut(raw):
    return raw[:-1]


def damage_empty(raw):
    return b""


def damage_header(raw):
    return (1 << 60).to_bytes(8, "little") + raw[8:]


def damage_json(raw):
    return raw[:8] + b"x" + raw[9:]


def damage_pickle(raw):
    return b"\x80\x04cos\nsystem\n(S'true'\ntR."


@pytest.mark.parametrize("damage", [damage_cut, damage_empty, damage_header, damage_json, damage_pickle])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = Path(store_text_features(features(), IDENTITY, str(tmp_path)))
    path.write_bytes(damage(path.read_bytes()))
    assert "damaged" in refused(IDENTITY, tmp_path)


def test_a_safetensors_file_of_somebody_else_is_refused(tmp_path):
    path = Path(text_features_path(str(tmp_path), IDENTITY.hash))
    path.parent.mkdir()
    save_file({"features": features()}, path)
    assert "damaged" in refused(IDENTITY, tmp_path)


def test_the_tiny_models_features_are_stored_once_and_reused(tmp_path, segmenter):
    identity = ensure_text_features(segmenter, VOCABULARY, TEMPLATES, str(tmp_path), dtype="float32")
    assert identity == TextIdentity.of(VOCABULARY, TEMPLATES, segmenter, dtype="float32")
    stored = load_text_features(identity, str(tmp_path))
    assert torch.equal(stored, compute_text_features(segmenter, VOCABULARY, TEMPLATES))
    # A sound file is taken as it is: one with other numbers under the same identity survives.
    store_text_features(features(3, stored.shape[1]), identity, str(tmp_path))
    assert ensure_text_features(segmenter, VOCABULARY, TEMPLATES, str(tmp_path), dtype="float32") == identity
    assert torch.equal(load_text_features(identity, str(tmp_path)), features(3, stored.shape[1]))


def test_a_damaged_file_is_computed_again(tmp_path, segmenter):
    identity = ensure_text_features(segmenter, VOCABULARY, TEMPLATES, str(tmp_path), dtype="float32")
    sound = load_text_features(identity, str(tmp_path))
    Path(text_features_path(str(tmp_path), identity.hash)).write_bytes(b"cut")
    ensure_text_features(segmenter, VOCABULARY, TEMPLATES, str(tmp_path), dtype="float32")
    assert torch.equal(load_text_features(identity, str(tmp_path)), sound)


def test_a_prompt_too_long_for_clip_is_refused_before_anything_is_computed(tmp_path, segmenter):
    with pytest.raises(UsageError, match="CLIP reads 77"):
        ensure_text_features(segmenter, Vocabulary.of(["cat " * 71]), TEMPLATES, str(tmp_path), dtype="float32")
    assert list(tmp_path.iterdir()) == []
