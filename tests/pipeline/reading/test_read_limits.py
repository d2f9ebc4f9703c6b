import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.reading.limits import ReadLimits


def test_defaults_are_the_published_ones() -> None:
    assert ReadLimits().max_member_bytes == 256 * 2**20
    assert ReadLimits().max_pixels == 89_478_485


@pytest.mark.parametrize("name", ["max_member_bytes", "max_members", "max_pixels", "max_caption_bytes"])
@pytest.mark.parametrize("value", [0, -1, 2**60, 1.5, True])
def test_a_limit_out_of_range_is_wrong_usage(name: str, value: int) -> None:
    with pytest.raises(UsageError, match=name.replace("_", "-")):
        ReadLimits(**{name: value})
