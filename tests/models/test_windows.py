"""Where sliding windows lie."""

import pytest

from maskmill.models.windows import WindowConfig, windows_of


@pytest.mark.parametrize(
    ("size", "config", "tops", "lefts", "window"),
    [
        ((512, 512), WindowConfig(side=512, stride=341), (0,), (0,), (512, 512)),
        ((512, 683), WindowConfig(side=512, stride=341), (0,), (0, 171), (512, 512)),
        ((640, 853), WindowConfig(side=640, stride=426), (0,), (0, 213), (640, 640)),
        ((512, 2048), WindowConfig(side=512, stride=341), (0,), (0, 341, 682, 1023, 1364, 1536), (512, 512)),
        ((48, 100), WindowConfig(side=64, stride=42), (0,), (0, 36), (48, 64)),
        ((90, 150), None, (0,), (0,), (90, 150)),
        ((1, 1), WindowConfig(side=64, stride=42), (0,), (0,), (1, 1)),
        ((65, 106), WindowConfig(side=64, stride=42), (0, 1), (0, 42), (64, 64)),
        ((65, 107), WindowConfig(side=64, stride=42), (0, 1), (0, 42, 43), (64, 64)),
    ],
)
def test_the_last_window_ends_with_the_image(size, config, tops, lefts, window):
    found = windows_of(size, config)
    assert (found.tops, found.lefts, found.size) == (tops, lefts, window)


@pytest.mark.parametrize("length", range(1, 300, 7))
def test_windows_cover_an_image_and_none_is_needless(length):
    config = WindowConfig(side=64, stride=42)
    found = windows_of((length, length), config)
    covered = {pixel for top in found.tops for pixel in range(top, top + found.size[0])}
    assert covered == set(range(length))
    assert len(found.tops) == config.count(length)
    assert all(before + 64 < length for before in found.tops[:-1])
