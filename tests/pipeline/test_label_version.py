"""Labels don't move unnoticed: what this code makes of stored images is what its LABEL_VERSION made of them."""

import json

import numpy as np
import pytest

from maskmill.pipeline.run import LABEL_VERSION
from tests.write_labels import FORMS, STORED, labels

MOVED = (
    f"the labels of stored images moved, but LABEL_VERSION is still {LABEL_VERSION}. If the change is meant, raise "
    "pipeline.run.LABEL_VERSION, run `python -m tests.write_labels` and remove the file of the version before."
)


@pytest.mark.parametrize("form", FORMS)
def test_this_label_version_labels_as_it_always_did(tiny, form):
    assert STORED.exists(), f"no {STORED.name}: run `python -m tests.write_labels`"
    stored, found = json.loads(STORED.read_text())[form], labels(tiny, form)
    assert len(stored) == 6
    assert np.mean([len(segments) for segments in stored]) >= 3
    for image, (before, now) in enumerate(zip(stored, found, strict=True)):
        where = f"{form}, image {image}: {MOVED}"
        assert [(s["query"], s["vocab_id"]) for s in before] == [(s["query"], s["vocab_id"]) for s in now], where
        for a, b in zip(before, now, strict=True):
            # A pixel in a thousand, and a score's last digit, may differ on another CPU.
            room = max(1, 0.001 * a["area"])
            assert abs(a["area"] - b["area"]) <= room, where
            assert a["score"] == pytest.approx(b["score"], abs=1.5e-3), where
            if a["area"] == b["area"]:
                assert a["bbox"] == b["bbox"], where
