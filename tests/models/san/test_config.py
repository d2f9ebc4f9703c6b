import json
import pickle
import subprocess
import sys

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.san.config import SAN_TINY, SAN_VIT_L14, SanConfig
from tests.models.san.tiny16 import GOLDEN

TINY16 = json.loads((GOLDEN / "tiny16.json").read_text())["config"]


def test_an_open_clip_name_means_its_sizes():
    named = SanConfig.parse(
        TINY16 | {"clip": "ViT-L-14-336-quickgelu", "split_layer": 18, "mask_decoder": {"bias_heads": 16}}
    )
    assert named.clip == SAN_VIT_L14.clip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split_layer": 4}, "split_layer"),
        ({"fusion": {"0": 0, "1": 4}}, "fusion"),
        ({"fusion": {"3": 0}}, "fusion"),
        ({"deep_supervision": [1, 2]}, "deep_supervision"),
        ({"mask_decoder": {"bias_heads": 3}}, "bias_heads"),
        ({"clip_resolution": 0.0}, "clip_resolution"),
        ({"size_divisibility": 24}, "size_divisibility"),
        ({"depth": 3}, "depth"),
        ({"side_vit": {"width": 48}}, "SideVitConfig"),
        ({"side_vit": 48}, "SideVitConfig"),
        ({"clip": "no-such-model"}, "no-such-model"),
    ],
)
def test_sizes_that_do_not_fit_are_one_line(change, said):
    with pytest.raises(UsageError) as raised:
        SanConfig.parse(TINY16 | change)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_field_is_named():
    with pytest.raises(UsageError, match="split_layer"):
        SanConfig.parse({name: value for name, value in TINY16.items() if name != "split_layer"})


def test_the_tiny_model_fits_scenes():
    assert SAN_TINY.side_vit.image_size == 128
    assert SAN_TINY.clip.vision_cfg.image_size == 128 * SAN_TINY.clip_resolution


def test_importing_names_and_sizes_imports_no_torch():
    heavy = "{'torch', 'open_clip', 'timm', 'numpy', 'pyarrow'}"
    code = f"import sys, maskmill, maskmill.models.zoo; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_configuration_travels_and_is_a_key():
    assert pickle.loads(pickle.dumps(SAN_TINY)) == SAN_TINY
    assert len({SAN_TINY, SAN_VIT_L14, SAN_TINY}) == 2
