"""Label tables to export: one in each inference form, with failed samples and with masks smaller than the images."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from maskmill.pipeline.config import InferenceConfig
from maskmill.pipeline.export.destination import Destination
from maskmill.pipeline.export.export import Export
from maskmill.pipeline.export.export import export as run_export
from maskmill.pipeline.export.tally import Tally
from maskmill.pipeline.output import Output
from maskmill.pipeline.synthesis.shards import synthesize
from maskmill.pipeline.table.filters import SegmentFilter
from tests.plain_run import MANY_SEGMENTS, PLAIN, label, write_tar


def picture(size: tuple[int, int] = (60, 40), kind: str = "PNG") -> bytes:
    """An image file of noise."""
    file = io.BytesIO()
    Image.effect_noise(size, 40).convert("RGB").save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two shards of scenes, one of odd keys and failed samples, one in which nothing could be labeled."""
    folder = tmp_path_factory.mktemp("sources")
    shards = [synthesize(folder / f"s{count}", 1, count, count)[0] for count in (7, 3)]
    odd = {
        "z.txt": b"no image",
        "a.png": picture(),
        "../../up.jpg": picture(kind="JPEG"),
        "/etc/passwd.png": picture((40, 60)),
        "b.png": b"broken",
        "so/a.png": picture(),
        "sö a;.webp": picture(kind="WEBP"),
        "..": b"",
        "a.jpg": picture(kind="JPEG"),
    }
    shards.append(write_tar(folder / "odd.tar", odd))
    shards.append(write_tar(folder / "nothing.tar", {"a.png": b"broken"}))
    return shards


def _labeled(tiny: Any, sources: list[Path], folder: Path, inference: InferenceConfig) -> Output:
    output = Output.of(str(folder / "out"))
    job = replace(PLAIN.job, max_failed_samples=1.0)
    label(tiny, sources, output, replace(PLAIN, inference=inference, job=job))
    return output


@pytest.fixture(scope="session")
def general(tiny, sources, tmp_path_factory) -> Output:
    return _labeled(tiny, sources, tmp_path_factory.mktemp("general"), replace(MANY_SEGMENTS, mask_side=100))


@pytest.fixture(scope="session")
def queries(tiny, sources, tmp_path_factory) -> Output:
    asked = InferenceConfig(inference="queries", score_threshold=0.05)
    return _labeled(tiny, sources, tmp_path_factory.mktemp("queries"), asked)


@pytest.fixture(scope="session")
def semantic(tiny, sources, tmp_path_factory) -> Output:
    return _labeled(tiny, sources, tmp_path_factory.mktemp("semantic"), InferenceConfig(inference="semantic"))


Exported = Callable[..., tuple[Path, Tally]]


@pytest.fixture
def export(tmp_path: Path) -> Exported:
    """Exports a table into a fresh folder: that folder, and the counts."""

    def call(output: Output, form: str, *, to: str = "dest", workers: int = 1, **asked: Any) -> tuple[Path, Tally]:
        keep = SegmentFilter(**{name: asked.pop(name) for name in list(asked) if name not in ("images", "skip_empty")})
        tally = run_export(
            Export(
                output=output,
                destination=Destination.of(str(tmp_path / to)),
                format=form,  # type: ignore[arg-type]  # a name of the test's parameters
                keep=keep,
                images=asked.get("images", False),
                skip_empty=asked.get("skip_empty", False),
            ),
            scratch=tmp_path,
            workers=workers,
        )
        return tmp_path / to, tally

    return call
