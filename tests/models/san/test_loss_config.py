"""Numbers of the losses."""

import subprocess
import sys

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.san.loss_config import LossConfig


def test_the_defaults_are_the_published_numbers():
    config = LossConfig()
    assert (config.class_weight, config.mask_weight, config.dice_weight) == (2.0, 5.0, 5.0)
    assert config.no_object_weight == 0.1
    assert (config.points, config.candidates, config.uncertain) == (12544, 37632, 9408)


@pytest.mark.parametrize(
    ("field", "value"),
    [("points", 0), ("oversample", 0.5), ("importance", 1.1), ("no_object_weight", 0.0), ("dice_weight", -1.0)],
)
def test_a_number_that_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(UsageError, match=f"{field} {value}") as raised:
        LossConfig(**{field: value})
    assert "\n" not in str(raised.value)


def test_importing_it_needs_no_torch():
    check = "import sys, maskmill.models.san.loss_config; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
