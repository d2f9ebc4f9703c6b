"""Named models: their specifications, how they load, and what goes wrong in one line."""

from pathlib import Path

import pytest
import torch

import maskmill
from maskmill.models import checkpoint, zoo
from maskmill.models.errors import UsageError
from maskmill.models.resize import ResizeRule
from maskmill.models.san.untrained import SAN_TINY_FILL
from tests.untrained_tiny import untrained_tiny


@pytest.fixture(scope="module")
def tiny_state() -> dict[str, torch.Tensor]:
    return SAN_TINY_FILL.state(zoo.shapes(zoo.MODELS["san-tiny"].config))


def test_the_bundled_weights_load_and_are_small():
    spec = zoo.MODELS["san-tiny"]
    segmenter = maskmill.load("san-tiny", device="cpu")
    state = checkpoint.load(spec.default_weights)
    assert segmenter.weights == checkpoint.weights_hash(state)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert Path(spec.default_weights).stat().st_size < 6e6
    assert spec.default_vocabulary == "scenes"
    assert segmenter.name == "san-tiny"
    assert segmenter.device == torch.device("cpu")
    assert segmenter.forms == ("general", "semantic", "queries")


def test_published_models_have_the_published_rule_and_weights():
    for name, file in (("san-vit-b16", "san_vit_b_16.pth"), ("san-vit-l14", "san_vit_large_14.pth")):
        spec = zoo.MODELS[name]
        assert spec.rule == ResizeRule(short_side=640, long_side_cap=2560, multiple=32)
        assert spec.default_weights == f"hf://Mendel192/san/{file}"
        assert spec.default_vocabulary == "coco-stuff-171"
    assert zoo.MODELS["san-tiny"].rule == ResizeRule(short_side=128, long_side_cap=512, multiple=16)


def test_every_default_vocabulary_ships_and_every_name_is_its_key():
    for name, spec in zoo.MODELS.items():
        assert spec.name == name
        assert len(maskmill.Vocabulary.load(spec.default_vocabulary)) == spec.config.num_classes


def test_untrained_weights_are_the_same_each_time_they_are_built():
    # On any machine, with any NumPy: tables made with it are compared by this.
    assert untrained_tiny().weights == "9d1767b272e91d7d7e5c41d2e26c59ab1b85a9b6968f733856809fbee89402f1"


def test_weights_from_a_file_are_the_same_model_in_either_form(tmp_path, tiny_state):
    buffers = {"criterion.empty_weight": torch.ones(49), "ov_classifier.attn_mask": torch.zeros(77, 77)}
    torch.save({"model": tiny_state | buffers}, tmp_path / "tiny.pth")
    checkpoint.save_safetensors(tiny_state, tmp_path / "tiny.safetensors")
    loaded = [
        maskmill.load("san-tiny", weights=str(tmp_path / f"tiny.{form}"), device="cpu")
        for form in ("pth", "safetensors")
    ]
    assert len({segmenter.weights for segmenter in loaded}) == 1
    assert loaded[0].weights == checkpoint.weights_hash(tiny_state)


def test_half_precision_weights_compute_in_float32(tiny_state):
    half = {name: tensor.half() for name, tensor in tiny_state.items()}
    segmenter = zoo.build(zoo.MODELS["san-tiny"].config, half)
    assert {p.dtype for p in segmenter.model.parameters()} == {torch.float32}
    assert not segmenter.model.training


def test_weights_of_another_model_are_refused_in_one_line(tmp_path, tiny_state):
    torch.save(tiny_state, tmp_path / "tiny.pth")
    with pytest.raises(UsageError, match=r"tiny\.pth.*of another shape") as raised:
        maskmill.load("san-vit-b16", weights=str(tmp_path / "tiny.pth"), device="cpu")
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "san-huge"}, "san-vit-b16, san-vit-l14, san-tiny"),
        ({"name": "san-tiny", "device": "tpu"}, "auto, cpu or cuda"),
        ({"name": "san-tiny", "device": "cpu", "dtype": "float8"}, "float32, bfloat16 or float64"),
    ],
)
def test_wrong_names_are_answered_with_the_right_ones(arguments, said):
    with pytest.raises(UsageError, match=said):
        maskmill.load(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_wrong_usage():
    with pytest.raises(UsageError, match="no CUDA device"):
        maskmill.load("san-tiny", device="cuda")
    assert zoo.pick_device("auto") == torch.device("cpu")


@pytest.mark.gpu
def test_cuda_says_what_the_cpu_says():
    vocabulary = maskmill.Vocabulary.of(["ring", "star", "sand"])
    from maskmill.models.resize import batch_of
    from tests.golden_rule import image

    found = []
    for device in ("cpu", "cuda"):
        segmenter = maskmill.load("san-tiny", device=device)
        batch = batch_of([image(128, 160, seed) for seed in range(3)], [(128, 160)] * 3, segmenter.rule)
        output = segmenter.logits(batch, segmenter.classes(vocabulary))
        found.append([output.mask_logits.cpu(), output.class_logits.cpu()])
    for cpu, cuda in zip(*found, strict=True):
        assert (cpu - cuda).abs().max() <= 1e-5 * cpu.abs().max()


def test_public_names_come_lazily_and_others_are_refused():
    assert maskmill.load is zoo.load
    assert set(maskmill.__all__) <= set(dir(maskmill))
    for name in maskmill.__all__:
        assert getattr(maskmill, name) is not None
    with pytest.raises(AttributeError):
        maskmill.nothing  # noqa: B018 - the access is the test


def test_float32_is_never_tf32_and_sums_of_bfloat16_are_float32():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32, matmul.allow_bf16_reduced_precision_reduction
    matmul.allow_tf32 = cudnn.allow_tf32 = matmul.allow_bf16_reduced_precision_reduction = True
    try:
        zoo.load("san-tiny", device="cpu")
        assert not any((matmul.allow_tf32, cudnn.allow_tf32, matmul.allow_bf16_reduced_precision_reduction))
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, matmul.allow_bf16_reduced_precision_reduction = before
