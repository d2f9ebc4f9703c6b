"""Finds JPEGs that stop early although libjpeg decodes them in silence. Reads markers; the pixels are Pillow's."""

import re
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from maskmill.pipeline.reading.errors import SampleError

MAX_SCANS = 100
"""Most scans of one image. Encoders write about ten; each costs a pass over all coefficients, however few its bytes."""

_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_SOS, _EOI = 0xDA, 0xD9
_ALONE = (0x01, *range(0xD0, 0xD9))
_FILLER = b"\x55" * 64 + b"".join(b"\xff" + bytes([marker]) + b"\x55" * 32 for marker in range(0xD0, 0xD8))
"""Entropy-coded data that means something and not zeros, and then the same after each restart marker."""


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan's header: which coefficients of which components it brings (ISO 10918-1, B.2.3)."""

    components: bytes
    first: int
    last: int
    low_bit: int


@dataclass(frozen=True, slots=True)
class Script:
    """The frame and the scans of the first image in a file."""

    frame: int
    """Second byte of the frame's marker (0xC0 for baseline); 0 without one."""

    components: bytes
    scans: tuple[Scan, ...]
    end: int | None
    """Where the end marker stands; None without one."""

    @property
    def progressive(self) -> bool:
        """Whether coefficients come in several scans."""
        return self.frame in _PROGRESSIVE


def read_script(data: bytes) -> Script | None:
    """Frame and scans of a JPEG by its markers; None where they make no sense (the decoder will say why).

    Raises:
        SampleError: decode, for more scans than any encoder writes.
    """
    frame, components, scans, at = 0, b"", list[Scan](), 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker == _EOI:
            return Script(frame, components, tuple(scans), at)
        if marker in (0x00, 0xFF) or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        at += 2 + max(2, length)
        if marker in _SOF and len(body) >= 6:
            frame, components = marker, body[6 : 6 + 3 * body[5] : 3]
        elif marker == _SOS:
            if len(body) < 4 or len(body) < 4 + 2 * body[0]:
                return None
            tail = 1 + 2 * body[0]
            scans.append(Scan(body[1:tail:2], body[tail], body[tail + 1], body[tail + 2] & 15))
            if len(scans) > MAX_SCANS:
                raise SampleError("decode", f"JPEG: more than {MAX_SCANS} scans")
            found = _NEXT_MARKER.search(data, at)
            at = found.start() if found else len(data)
    return Script(frame, components, tuple(scans), None)


def ends_early(image: Image.Image, data: bytes, script: Script) -> str | None:
    """Why a JPEG that was decoded is cut off all the same; None if it is whole.

    Pillow notices a file without its end marker. What a file with an early end marker lacks, libjpeg fills with zeros,
    which are mid-grey, and says nothing. Two signs are looked for: scans that never came, and a mid-grey last pixel
    where other data in the place of the early end gives other pixels. What stays unseen is a cut inside the very last
    block, and one inside the last refinements of a progressive image, whose pixels are there all the same.

    Args:
        image: the decoded image, whole or at a scale that Pillow's `draft` has, in the mode that Pillow gave it or RGB.
        data: its bytes.
        script: what `read_script` made of them.
    """
    if script.end is None:
        return None
    missing = _missing_scan(script)
    if missing:
        return missing
    last = image.getpixel((image.width - 1, image.height - 1))
    values = last if isinstance(last, tuple) else (last or 0,)
    if any(abs(value - 128) > 2 for value in values):
        return None
    other = Image.open(BytesIO(data[: script.end] + _FILLER + b"\xff\xd9"), formats=["JPEG"])
    if other.size != image.size:
        other.draft(None, image.size)
    if np.array_equal(np.asarray(other if other.mode == image.mode else other.convert(image.mode)), np.asarray(image)):
        return None
    return "the image's data stops before its last block"


def _missing_scan(script: Script) -> str | None:
    for component in script.components:
        scans = [scan for scan in script.scans if component in scan.components]
        if not scans:
            return "a colour component never came"
        if script.progressive and min((s.low_bit for s in scans if s.first == 0), default=1) > 0:
            return "the progressive image stops before its coarse picture is whole"
    # Only the first component (brightness) must bring its details: an encoder may have found none in the colours.
    details = {
        k for s in script.scans if script.components[:1] in s.components for k in range(max(1, s.first), s.last + 1)
    }
    if script.progressive and len(details) < 63:
        return "the progressive image stops before its details"
    return None
