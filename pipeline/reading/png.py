"""Finds PNGs whose data stops early although Pillow decodes them in silence. Counts bytes; pixels are Pillow's."""

import zlib
from collections.abc import Iterator

from PIL import Image

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, step of columns, step of rows of each pass (PNG specification, 8.2)."""


def ends_early(image: Image.Image, data: bytes) -> str | None:
    """Why a PNG that was decoded lacks rows all the same; None if it is whole.

    Where the compressed stream ends before the last row, Pillow leaves the rest zero. The stream is measured only where
    that may be: the last row is zero, or the image is interlaced and the last row may have come before others.

    Args:
        image: the decoded image, in the mode that Pillow gave it.
        data: its bytes.
    """
    header = data[16:29]
    interlaced = header[12] == 1
    last_row = image.crop((0, image.height - 1, image.width, image.height))
    if not interlaced and any(last_row.tobytes()):
        return None
    expected = _raw_bytes(header)
    inflate, got = zlib.decompressobj(), 0
    for chunk in _data_chunks(data):
        body = chunk
        while body and got < expected and not inflate.eof:
            got += len(inflate.decompress(body, 2**20))
            body = inflate.unconsumed_tail
    got += len(inflate.flush()) if got < expected else 0
    return None if got >= expected else f"the image's data holds {got:,} bytes of {expected:,}"


def _data_chunks(data: bytes) -> Iterator[bytes]:
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length


def _raw_bytes(header: bytes) -> int:
    """Bytes of all rows before compression, each with its filter byte."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _CHANNELS[header[9]]
    passes = _ADAM7 if header[12] == 1 else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            total += rows * (1 + -(-columns * bits // 8))
    return total
