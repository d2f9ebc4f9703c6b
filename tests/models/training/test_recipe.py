"""The schedule against numbers worked out apart, and wrong recipes."""

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.training.recipe import Augmentation, Recipe


def test_published_numbers_are_the_defaults():
    recipe = Recipe()
    numbers = (recipe.steps, recipe.batch_size, recipe.learning_rate, recipe.weight_decay, recipe.clip_norm)
    assert numbers == (60_000, 32, 1e-4, 1e-4, 0.01)
    assert [round(640 * scale) for scale in Augmentation().scales] == list(range(320, 961, 64))


def test_the_rate_falls_by_the_power_0_9_of_what_is_left():
    recipe = Recipe(steps=1000, learning_rate=2e-4)
    assert recipe.rate(0) == 2e-4
    assert recipe.rate(500) == pytest.approx(2e-4 * 0.5358867312681466)  # 0.5 ** 0.9
    assert recipe.rate(999) == pytest.approx(2e-4 * 0.0019952623149688795)  # 0.001 ** 0.9


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "--steps 0"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"learning_rate": float("nan")}, "--learning-rate nan"),
        ({"clip_norm": 0.0}, "--clip-norm 0.0"),
        ({"seed": -1}, "--seed -1"),
    ],
)
def test_wrong_numbers_are_told(wrong, said):
    with pytest.raises(UsageError, match=said):
        Recipe(**wrong)
    with pytest.raises(UsageError, match="--crop 0"):
        Augmentation(crop=0)
    with pytest.raises(UsageError, match="--scales"):
        Augmentation(scales=(0.5, 0.0))
