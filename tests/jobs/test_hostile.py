"""`maskmill label` over hostile shards, with a real Ray: all end in the ledger with their reasons, and nothing runs."""

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests import hostile
from tests.jobs.conftest import MANY_SEGMENTS, Workplace


class _Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def _programs(canary: Path) -> hostile.Files:
    """Samples beside members that a webdataset decoder would run, or that name something to run."""
    payload = pickle.dumps(_Touch(canary))
    image = hostile.encode()
    return [
        ("a.jpg", image),
        *[(f"a.{end}", payload) for end in ("pyd", "pkl", "pickle", "pth", "npy", "npz")],
        ("a.txt", f"`touch {canary}` $(touch {canary})".encode()),
        (f"$(touch {canary.name}).jpg", image),
    ]


@pytest.mark.slow
def test_hostile_shards_end_in_the_ledger_with_their_reasons(workplace: Workplace) -> None:
    expected = hostile.write_hostile(workplace.cwd / "shards")
    assert workplace.run("synthesize", "good", "--shards", "1", "--samples", "4").code == 0
    canary = workplace.cwd / "canary"
    (workplace.cwd / "shards" / "programs.tar").write_bytes(hostile.tar(_programs(canary)))
    expected["programs.tar"] = hostile.Expected(samples=(None, None))
    names = [str(workplace.cwd / "shards" / name) for name in expected]
    (workplace.cwd / "list.txt").write_text("\n".join([*names, str(workplace.cwd / "good")]) + "\n")
    # Samples of a hostile shard may all fail: here they shall be rows.
    ended = workplace.run(
        "label", "@list.txt", "--output", "out", *MANY_SEGMENTS, "--cpus-per-replica", "1", "--max-failed-samples", "1"
    )
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err + ended.out
    ledger = {Path(row["url"]).name: row for row in pq.read_table(workplace.cwd / "out/ledger.parquet").to_pylist()}
    assert ledger.keys() == expected.keys() | {"scenes-000000.tar"}
    for name, how in expected.items():
        row = ledger[name]
        assert (row["error"] or "").partition(":")[0] == (how.shard or ""), (name, row["error"])
        assert row["state"] == ("failed" if how.shard else "done"), name
        failed = {entry["reason"]: entry["samples"] for entry in row["failed_by_reason"]}
        assert failed == dict(Counter(filter(None, how.samples))), name
        assert (row["read"], row["unkeyed"]) == (len(how.samples), how.unkeyed), name
        if how.shard is None:
            assert row["directories"] == how.directories, name
            warned = {entry["warning"]: entry["samples"] for entry in row["warned"]}
            assert warned == dict(Counter(word for words in how.warnings for word in words)), name
        assert row["labeled"] + row["failed"] == row["read"]
    assert not canary.exists()
    verify = workplace.run("verify", "out", "--deep", "--json")
    assert (verify.code, json.loads(verify.out)["problems"]) == (1, []), "shards failed, and no file is wrong"
