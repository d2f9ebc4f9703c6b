import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from maskmill.pipeline.reading.errors import SampleError
from maskmill.pipeline.reading.images import decode
from maskmill.pipeline.reading.limits import ReadLimits
from tests import hostile


def interlaced(width: int, height: int, share: float = 1.0) -> bytes:
    """An RGB PNG of seven passes, of whose data a share is there."""
    image = hostile.pixels(height, width)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b"".join(
        b"\x00" + row.tobytes()
        for left, top, across, down in passes
        for row in image[top::down, left::across]
        if row.size
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    data = zlib.compress(rows[: int(len(rows) * share)])
    chunks = [(b"IHDR", header), (b"IDAT", data[:9]), (b"IDAT", data[9:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(hostile.png_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (37, 53)])
def test_an_interlaced_png_passes_whole_and_fails_with_less(size: tuple[int, int]) -> None:
    width, height = size
    assert np.array_equal(np.asarray(decode(interlaced(width, height), ReadLimits())), hostile.pixels(height, width))
    with pytest.raises(SampleError, match="truncated"):
        decode(interlaced(width, height, 0.7), ReadLimits())


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16", "LA"])
def test_a_black_image_is_whole(mode: str) -> None:
    image = Image.new(mode, (37, 53), 0)
    assert decode(hostile.encode("PNG", image), ReadLimits()).size == (37, 53)


@pytest.mark.parametrize(("depth", "colour", "row"), [(1, 0, 5), (2, 3, 10), (8, 2, 111), (16, 6, 296), (16, 0, 74)])
def test_a_png_of_too_few_rows_is_truncated(depth: int, colour: int, row: int) -> None:
    palette = [hostile.png_chunk(b"PLTE", bytes(range(12)))] if colour == 3 else []
    whole = hostile.png(37, 9, depth, colour, (b"\x00" + b"\x55" * row) * 9, *palette)
    assert decode(whole, ReadLimits()).size == (37, 9)
    with pytest.raises(SampleError, match="truncated"):
        decode(hostile.png(37, 9, depth, colour, (b"\x00" + b"\x55" * row) * 8, *palette), ReadLimits())
