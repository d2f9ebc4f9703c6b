"""Writes a directory of hostile shards, and says of each how reading must end. A plain module; tests import it."""

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Expected:
    """How a shard must end."""

    shard: str | None = None
    """Reason word of the failed shard; None where it is read."""

    samples: tuple[str | None, ...] = ()
    """Of each sample in order, the reason word of its failure; None where it is decoded."""

    warnings: tuple[tuple[str, ...], ...] = ()
    """Of each sample in order, its warnings; left empty where none has any."""

    unkeyed: int = 0
    """Names without a key."""

    directories: int = 0
    """Directories."""

    kept: int | None = None
    """Samples that --keep-truncated gives; None where it changes nothing."""


# --- images ----------------------------------------------------------------------------------------------------------


def pixels(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """uint8 [height, width, 3]: a smooth ramp with noise, nowhere mid-grey for long."""
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] * 200 // (height + width)
    return (ramp + noise).astype(np.uint8)


def encode(format: str = "JPEG", image: Image.Image | None = None, **options: object) -> bytes:
    """An image file's bytes."""
    file = io.BytesIO()
    (image or Image.fromarray(pixels())).save(file, format, **options)
    return file.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk with its length and CRC."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG of raw rows (each with its filter byte), with `extra` chunks before the data."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + data + png_chunk(b"IEND", b"")


def huge_png() -> bytes:
    """A PNG of under 100 KB that declares 30,000 x 30,000 pixels."""
    return png(30_000, 30_000, 1, 0, bytes(3751) * 2_000)


def huge_jpeg() -> bytes:
    """A JPEG whose header declares 65,000 x 65,000 pixels."""
    data = encode()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 65_000, 65_000) + data[at + 4 :]


def huge_webp() -> bytes:
    """A WebP whose canvas declares 16,000 x 16,000 pixels."""
    body = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (15_999).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def text_bomb() -> bytes:
    """A PNG with a compressed text chunk of 64 MB."""
    text = png_chunk(b"zTXt", b"Comment\x00\x00" + zlib.compress(bytes(64 * 2**20)))
    return png(2, 2, 8, 2, (b"\x00" + bytes(6)) * 2, text)


def early_end(data: bytes, share: float = 0.6) -> bytes:
    """A JPEG cut off and closed with an end marker, which libjpeg decodes without a word."""
    return data[: int(len(data) * share)] + b"\xff\xd9"


# --- archives --------------------------------------------------------------------------------------------------------

Files = list[tuple[str, bytes]]


Links = list[tuple[str, bytes, str]]
"""Name, type and target of members without a body."""


def tar(files: Files, links: Links = [], *, format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: B006 (never changed)
    """A whole tar of these files, and of these members after them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return out.getvalue()


def samples(count: int, prefix: str = "s") -> Files:
    """Files of whole samples: an image and a caption each."""
    image = encode()
    return [(f"{prefix}{i}.{end}", data) for i in range(count) for end, data in (("jpg", image), ("txt", b"a ramp"))]


def body_end(files: Files) -> int:
    """Where the last member's blocks end in `tar(files)`; names must be short."""
    return sum(512 + -(-len(data) // 512) * 512 for _, data in files)


def header(name: str, size: int, kind: bytes = b"0") -> bytes:
    """One header block that may declare anything."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def old_sparse() -> bytes:
    """A few KB that GNU tar and tarfile unpack to 3.2 GB."""
    block = bytearray(header("s0.jpg", 512, tarfile.GNUTYPE_SPARSE))
    block[386:410] = b"00000000000\x0000000001000\x00"
    block[483:495] = b"27700000000\x00"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\x00 " % sum(block)
    return bytes(block) + bytes(512) + bytes(1024)


def pax_sparse() -> bytes:
    """The same as a PAX 1.0 sparse member."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("s0.jpg")
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "s0.jpg",
            "GNU.sparse.realsize": str(3_200_000_000),
        }
        info.size = 512
        archive.addfile(info, io.BytesIO(b"1\n0\n512\n".ljust(512, b"\x00")))
    return out.getvalue()


def links() -> bytes:
    """A sample beside links out of the archive, devices and a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, target in [
            ("l0.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("l1.jpg", tarfile.LNKTYPE, "../../etc/passwd"),
            ("l2.jpg", tarfile.CHRTYPE, ""),
            ("l3.jpg", tarfile.FIFOTYPE, ""),
            ("folder.jpg", tarfile.DIRTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        for name, data in samples(1):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def inner_links() -> bytes:
    """Links to an image of the archive: by name, from a folder, by way of others; then to what comes later, and in a
    circle."""
    return tar(
        [("photos/0.jpg", encode()), ("photos/0.txt", b"a ramp")],
        [
            ("photos/1.jpg", tarfile.LNKTYPE, "photos/0.jpg"),
            ("photos/1.txt", tarfile.LNKTYPE, "photos/0.txt"),
            ("photos/2.jpg", tarfile.SYMTYPE, "0.jpg"),
            ("other/3.jpg", tarfile.SYMTYPE, "../photos/2.jpg"),
            ("other/4.jpg", tarfile.LNKTYPE, "./other//3.jpg"),
            ("other/5.jpg", tarfile.SYMTYPE, "0.jpg"),
            ("other/6.jpg", tarfile.SYMTYPE, "7.jpg"),
            ("other/7.jpg", tarfile.SYMTYPE, "6.jpg"),
            ("other/8.jpg", tarfile.SYMTYPE, "8.jpg"),
            ("README", tarfile.SYMTYPE, "photos/0.txt"),
        ],
    )


def mac() -> bytes:
    """A folder that was packed on a Mac, where each file has a companion of its attributes."""
    attributes, image = b"\x00\x05\x16\x07" + bytes(100), encode()
    files = []
    for number in range(4):
        for end, data in (("jpg", image), ("txt", b"a ramp")):
            files += [(f"photos/._{number}.{end}", attributes), (f"photos/{number}.{end}", data)]
    return tar([("._photos", attributes), ("photos/.DS_Store", attributes), *files, ("__MACOSX/x.jpg", attributes)])


def split() -> bytes:
    """A folder that was packed as it lay: all images, then all captions."""
    files = samples(4)
    return tar([*files[::2], *files[1::2]])


def corrupt_header() -> bytes:
    """A shard whose third header fails its checksum."""
    files = samples(3)
    data = bytearray(tar(files))
    data[body_end(files[:2]) + 5] ^= 0xFF
    return bytes(data)


def image_cases() -> dict[str, tuple[bytes, str]]:
    """Bad images: name -> bytes, reason."""
    whole = encode(quality=90)
    noisy_png = encode("PNG")
    webp = encode("WEBP")
    middle = len(noisy_png) // 2
    return {
        "empty": (b"", "empty"),
        "text": (b"<html>404 not found</html>", "unknown_format"),
        "gif": (encode("GIF"), "unknown_format"),
        "cut_jpeg": (whole[: len(whole) // 2], "truncated"),
        "closed_jpeg": (early_end(whole), "truncated"),
        "closed_grey_jpeg": (early_end(encode(image=Image.fromarray(pixels()).convert("L"))), "truncated"),
        "closed_progressive_jpeg": (early_end(encode(progressive=True, quality=90), 0.5), "truncated"),
        "header_only_jpeg": (whole[:20], "truncated"),
        "many_scans_jpeg": (whole[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x00" * 300 + b"\xff\xd9", "decode"),
        "cut_png": (noisy_png[:middle], "truncated"),
        "corrupt_png": (noisy_png[:middle] + bytes(64) + noisy_png[middle + 64 :], "decode"),
        "short_png": (png(64, 64, 8, 2, (b"\x00" + bytes(192)) * 32), "truncated"),
        "text_bomb_png": (text_bomb(), "decode"),
        "cut_webp": (webp[: len(webp) // 2], "truncated"),
        "huge_png": (huge_png(), "too_large"),
        "huge_jpeg": (huge_jpeg(), "too_large"),
        "huge_webp": (huge_webp(), "too_large"),
    }


def _image_shard() -> tuple[bytes, Expected]:
    cases = image_cases()
    files = [(f"{name}.{'png' if 'png' in name else 'jpg'}", data) for name, (data, _) in cases.items()]
    files += [("alone.txt", b"no image"), ("good.jpg", encode())]
    return tar(files), Expected(samples=(*(reason for _, reason in cases.values()), "missing_image", None))


def cases() -> dict[str, Callable[[], tuple[bytes | None, Expected]]]:
    """Name of each case -> what makes its bytes (None: there is no file) and says how it must end."""
    image = encode()
    three, cut = samples(3), body_end(samples(3)[:5])
    deep = b"[" * 100_000
    # fmt: off
    return {
        "good": lambda: (tar(samples(2)), Expected(samples=(None, None))),
        "no_members": lambda: (tar([]), Expected()),
        "images": _image_shard,
        "captions": lambda: (
            tar(
                [
                    ("a.jpg", image),
                    ("a.txt", b"\xff\xfe broken"),
                    ("b.jpg", image),
                    ("b.json", b"{broken"),
                    ("c.jpg", image),
                    ("c.json", deep),
                    ("d.jpg", image),
                    ("d.json", b'{"caption": 7}'),
                    ("e.jpg", image),
                    ("e.json", b'{"caption": "half \\ud83d pair"}'),
                    ("f.jpg", image),
                    ("f.json", json.dumps({"caption": "from json"}).encode()),
                    ("g.jpg", image),
                    ("g.txt", b"x" * (2**20 + 1)),
                    ("h.jpg", image),
                    ("h.pyd", b"cos\nsystem\n(S'touch /tmp/pwned'\ntR."),
                ]
            ),
            Expected(
                samples=(None,) * 8,
                warnings=(("caption_text",), *[("caption_json",)] * 4, (), ("caption_text",), ()),
            ),
        ),
        "keys": lambda: (
            tar(
                [
                    ("a.jpg", image),
                    ("a.JPG", image),
                    ("b.jpg", image),
                    ("c.jpg", image),
                    ("b.txt", b"late"),
                    ("d.jpg", image),
                    ("e.jpg", image),
                    ("d.jpg", image),
                    ("f.png", encode("PNG")),
                    ("f.jpeg", image),
                    ("f.seg.png", encode("PNG")),
                    ("g.seg.png", encode("PNG")),
                    ("README", b"no extension"),
                    (".hidden", b""),
                    ("h.__bad__", b"1"),
                    ("i.__key__", b"x"),
                    ("__meta__/info.json", b"{}"),
                    ("i.jpg", image),
                ]
            ),
            Expected(
                samples=(*(None,) * 7, "missing_image", None),
                warnings=(
                    ("duplicate_member",),
                    ("split_sample",),
                    (),
                    ("duplicate_key",),
                    (),
                    ("duplicate_key",),
                    ("several_images",),
                    (),
                    (),
                ),
                unkeyed=5,
            ),
        ),
        "names": lambda: (
            tar([("\udcff\udcfe.jpg", image), ("../../up.jpg", image), ("/abs.jpg", image), ("a b\nc.jpg", image)]),
            Expected(samples=(None,) * 4, warnings=(("key_text",), (), (), ())),
        ),
        "links": lambda: (
            links(),
            Expected(samples=("link", "link", "special_file", "special_file", None), directories=1),
        ),
        "inner_links": lambda: (inner_links(), Expected(samples=(*(None,) * 5, *("link",) * 4), unkeyed=1)),
        "mac": lambda: (mac(), Expected(samples=(None,) * 4, unkeyed=11)),
        "split": lambda: (split(), Expected(samples=(None,) * 4, warnings=(("split_sample",),) * 4)),
        "empty": lambda: (b"", Expected(shard="empty")),
        "missing": lambda: (None, Expected(shard="missing")),
        "text": lambda: (b"<Error><Code>AccessDenied</Code></Error>" * 40, Expected(shard="not_tar")),
        "short": lambda: (b"tar", Expected(shard="not_tar")),
        "zeros": lambda: (bytes(3 * 2**20), Expected(shard="not_tar")),
        "gzip": lambda: (b"\x1f\x8b" + bytes(600), Expected(shard="compressed")),
        "cut_in_body": lambda: (tar(three)[: cut - 600], Expected(shard="truncated", kept=2)),
        "cut_at_member": lambda: (tar(three)[:cut], Expected(shard="truncated", kept=2)),
        "cut_in_header": lambda: (tar(three)[: cut + 100], Expected(shard="truncated", kept=2)),
        "cut_before_end": lambda: (tar(three)[: body_end(three)], Expected(shard="truncated", kept=2)),
        "cut_inside_end": lambda: (tar(three)[: body_end(three) + 512], Expected(shard="truncated", kept=3)),
        "corrupt_header": lambda: (corrupt_header(), Expected(shard="bad_header")),
        "negative_size": lambda: (header("s0.jpg", -1) + bytes(1024), Expected(shard="bad_header")),
        "long_pax": lambda: (header("p", 2**30, b"x") + bytes(1024), Expected(shard="bad_header")),
        "long_name": lambda: (tar([("n" * 5000 + ".jpg", image)]), Expected(shard="bad_header")),
        "two_tars": lambda: (tar(samples(1)) + tar(samples(1, "t")), Expected(shard="trailing_data")),
        "trailing": lambda: (tar(samples(1)) + b"#!/bin/sh\n", Expected(shard="trailing_data")),
        "old_sparse": lambda: (old_sparse(), Expected(samples=("sparse",))),
        "pax_sparse": lambda: (pax_sparse(), Expected(samples=("sparse",))),
        "large_member": lambda: (header("s0.jpg", 300 * 2**20) + bytes(1024), Expected(shard="member_too_large")),
        "endless_member": lambda: (header("s0.jpg", 2**70) + bytes(1024), Expected(shard="member_too_large")),
    }


# fmt: on


def write_hostile(folder: Path) -> dict[str, Expected]:
    """Write each case as `folder/NAME.tar` (none for `missing`).

    Returns:
        Name of each shard's file -> how it must end, in order of the names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expected = {}
    for name, make in sorted(cases().items()):
        data, how = make()
        if data is not None:
            (folder / f"{name}.tar").write_bytes(data)
        expected[f"{name}.tar"] = how
    return expected
