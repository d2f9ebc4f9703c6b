import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.reading.decoding import DecodingConfig


def test_decoders_with_pillows_pixels_are_one_to_labels_and_the_rest_are_told_apart() -> None:
    assert DecodingConfig().word == DecodingConfig(decoder="pillow").word == "pillow"
    words = {
        DecodingConfig().word,
        DecodingConfig(decoder="nvjpeg").word,
        DecodingConfig(scaled_decoding=True).word,
        DecodingConfig(resize="torch").word,
        DecodingConfig(scaled_decoding=True, resize="torch").word,
    }
    assert len(words) == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [({"scaled_decoding": True}, "--scaled-decoding"), ({"resize": "torch"}, "--resize torch")],
)
def test_what_a_gpu_decodes_it_neither_scales_nor_leaves_to_others_to_resize(options: dict, told: str) -> None:
    with pytest.raises(UsageError, match=f"{told} with --decoder nvjpeg"):
        DecodingConfig(decoder="nvjpeg", **options)


def test_nvjpeg_without_a_gpu_is_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"--decoder nvjpeg: .* CPUs") as raised:
        DecodingConfig(decoder="nvjpeg").refuse_without_gpu("cpu")
    assert "\n" not in str(raised.value)
    DecodingConfig(decoder="nvjpeg").refuse_without_gpu("cuda")
    DecodingConfig().refuse_without_gpu("cpu")
