"""A failed sample takes little room in a record, whatever its shard holds."""

import json
from dataclasses import asdict

from maskmill.pipeline.ledger.failed_sample import FailedSample


def test_a_sample_of_hostile_names_is_kept_in_part():
    kept = FailedSample.of("k" * 4000, 7, ["x" * 4000] * 4000, "missing_image: " + "y" * 280)
    assert len(json.dumps(asdict(kept))) < 1200
    assert (kept.sample_index, kept.members[0]) == (7, "x" * 60)


def test_an_example_has_its_key_and_its_error():
    kept = FailedSample.of("photos/0", 0, ["input.jpg", "txt"], "missing_image: no jpg among input.jpg, txt")
    assert kept.stated == "'photos/0': missing_image: no jpg among input.jpg, txt"
