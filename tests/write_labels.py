"""Writes what the code of this LABEL_VERSION makes of a few stored images: `python -m tests.write_labels`.

Run it after raising `pipeline.run.LABEL_VERSION`; tests/pipeline/test_label_version.py holds every later change of the
code against the file. The images (tests/data/labels.tar) stay: they aren't made anew, so that nothing but the code that
labels can move the labels.
"""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskmill.pipeline.config import Form, InferenceConfig, LabelConfig
from maskmill.pipeline.run import LABEL_VERSION
from tests.plain_run import label_one

if TYPE_CHECKING:
    from maskmill.models.segmenter import Segmenter

DATA = Path(__file__).parent / "data"

IMAGES = DATA / "labels.tar"
"""Six synthesized scenes of several sizes, three JPEG and three PNG."""

STORED = DATA / f"labels_v{LABEL_VERSION}.json"
"""Form -> for each image its segments."""

FORMS: tuple[Form, ...] = ("general", "semantic", "queries")


def labels(segmenter: "Segmenter", form: Form) -> list[list[dict[str, Any]]]:
    """Of each stored image its segments, as far as they are stored: the same on every machine but for rounding."""
    inference = InferenceConfig(inference=form, score_threshold=0.1, overlap_threshold=0.0, mask_side=160)
    with tempfile.TemporaryDirectory() as folder:
        _, table = label_one(segmenter, IMAGES, Path(folder), LabelConfig(inference=inference))
    return [
        [
            {
                "query": segment["query"],
                "vocab_id": segment["vocab_id"],
                "score": round(segment["score"], 3),
                "area": segment["area"],
                "bbox": segment["bbox"],
            }
            for segment in segments
        ]
        for segments in table["segments"].to_pylist()
    ]


def main() -> None:
    """Write the file of this label version."""
    from tests.untrained_tiny import untrained_tiny

    segmenter = untrained_tiny()
    lines = []
    for form in FORMS:
        images = ",\n  ".join(json.dumps(segments) for segments in labels(segmenter, form))
        lines.append(f'"{form}": [\n  {images}\n ]')
    STORED.write_text("{\n " + ",\n ".join(lines) + "\n}\n")
    print(f"wrote {STORED}")


if __name__ == "__main__":
    main()
