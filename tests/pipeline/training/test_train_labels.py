"""`train --labels`: whole trainings on a label table, in one process; on S3, resumed and by two workers where slow."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from maskmill.jobs.cli import run
from maskmill.models import checkpoint
from maskmill.models.training.augmentation import UNKNOWN
from maskmill.models.training.recipe import Augmentation, Recipe
from maskmill.pipeline import run as runs
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.dataset.reader import done_shards
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.table.filters import SegmentFilter
from maskmill.pipeline.table.label_table import LabelTable
from maskmill.pipeline.table.vocabulary_table import vocabulary_of_run
from maskmill.pipeline.training.data import TrainingData, to_batch
from maskmill.pipeline.truth.labels import open_labels
from tests.plain_run import label

ROOT = Path(__file__).parents[3]
SHORT = ["--model", "san-tiny", "--batch-size", "4", "--learning-rate", "1e-3", "--clip-norm", "1.0"]
SHORT += ["--templates", "single", "--device", "cpu", "--log-every", "1", "--cpus-per-worker", "1"]
KEEP = ["--min-score", "0.25", "--min-area", "20"]
"""Drops a part of what the untrained model finds."""


@pytest.fixture(scope="module")
def labeled(tiny, scenes, tmp_path_factory) -> Output:
    output = Output.of(str(tmp_path_factory.mktemp("labels") / "out"))
    label(tiny, scenes, output)
    return output


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_training_on_labels_resumes_and_knows_its_labels(labeled, scenes, clip, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["train", "--labels", labeled.url, "--shards", str(scenes[0]), "-o", str(out), "--init", str(clip), *SHORT]
    words += ["--steps", "2", "--leave-out", "sky"]
    assert run([*words, *KEEP, "--validation", str(scenes[1])]) == 0
    *updates, validation = log_of(out)
    assert [entry["step"] for entry in updates] == [1, 2]
    assert "all" in validation["mean_iou"]
    stated = json.loads((out / "train.json").read_text())
    assert stated["images"] == 10
    assert stated["labels"]["run"] == runs.require(labeled)["fingerprint"]
    assert stated["labels"]["keep"]["min_score"] == 0.25
    assert stated["labels"]["keep"]["leave_out"] == ["sky"]
    before = (out / "log.jsonl").read_bytes()
    assert run([*words, *KEEP]) == 0
    assert (out / "log.jsonl").read_bytes() == before
    assert run([*words, "--min-score", "0.3"]) == 2
    assert "holds another training; they differ in fingerprint, images_sha256, labels" in capsys.readouterr().err


def test_a_sealed_table_teaches_what_the_open_one_does(labeled, clip, tmp_path):
    sealed = Output.of(str(tmp_path / "sealed"))
    compact(labeled, sealed, scratch=tmp_path)
    logs = []
    for name, output in (("open", labeled), ("sealed", sealed)):
        out = tmp_path / name
        assert run(["train", "--labels", output.url, "-o", str(out), "--init", str(clip), *SHORT, "--steps", "1"]) == 0
        logs.append(log_of(out))
    assert logs[0] == logs[1]


def test_crops_carry_what_the_filter_dropped_as_unknown(labeled, tmp_path):
    keep = SegmentFilter(min_area=30).bound(vocabulary_of_run(labeled), "general")
    shard = done_shards(labeled, None)[0][0]
    with open_labels(shard, LabelTable(labeled), keep, tmp_path, ReadLimits()) as pairs:
        data = TrainingData(
            pairs=pairs, ids=np.arange(48, dtype=np.int32), augmentation=Augmentation(crop=64), recipe=Recipe()
        )
        crops = [data.sample(number) for number in range(10)]
        some = [crop for crop in crops if (crop[1] == UNKNOWN).any()]
        assert some
        batch = to_batch(some)
        assert batch.unknown
        for target, (_, class_map, _) in zip(batch.targets(), some, strict=True):
            assert np.array_equal(target.ignore.numpy(), class_map == UNKNOWN)
            assert sorted(target.class_ids.tolist()) == sorted(set(class_map[class_map >= 0].tolist()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["SCENE", "--min-score", "0.5"], "--min-score: chooses among labels"),
        (["--labels", "/nowhere/out"], "/nowhere/out: no vocabulary.parquet there"),
        (["--labels", "OUT", "--vocab", "voc-20"], "--vocab 'voc-20': not the vocabulary of --labels"),
        (["--labels", "OUT", "--min-area", "99999"], "no segment passes the filter"),
        (["--labels", "OUT", "--classes", "red tsar"], "--classes 'red tsar': not in this run's vocabulary"),
        (["--labels", "OUT", "--leave-out", "red tsar"], "'red tsar'"),
        (["--labels", "OUT", "--shards", "OTHER"], "none of these shards is labeled there"),
        (["--labels", "OUT", "--min-score", "2"], "--min-score 2.0: expected a number between 0 and 1"),
    ],
)
def test_labels_that_do_not_fit_are_one_line_and_exit_code_2(labeled, scenes, clip, tmp_path, capsys, words, said):
    from maskmill.pipeline.synthesis.shards import synthesize

    (other,) = synthesize(tmp_path / "other", 1, 1, 3)
    named = {"OUT": labeled.url, "SCENE": str(scenes[0]), "OTHER": str(other)}
    words = [named.get(word, word) for word in words]
    assert run(["train", *words, "-o", str(tmp_path / "t"), "--init", str(clip), *SHORT, "--steps", "1"]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_and_resumed_on_labels_a_training_ends_with_the_bits_of_an_undisturbed_one(labeled, clip, tmp_path):
    def words(out: str) -> list[str]:
        steps = ["--steps", "10", "--checkpoint-every", "3", "--deterministic"]
        places = ["--labels", labeled.url, *KEEP, "-o", str(tmp_path / out), "--init", str(clip)]
        return [sys.executable, "-m", "maskmill.jobs.train", *places, *SHORT, *steps]

    subprocess.run(words("whole"), cwd=ROOT, check=True, capture_output=True, timeout=240)
    killed = subprocess.Popen(words("cut"), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    log, deadline = tmp_path / "cut" / "log.jsonl", time.monotonic() + 240
    while time.monotonic() < deadline and not (log.exists() and log.read_bytes().count(b"\n") >= 5):
        assert killed.poll() is None
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    subprocess.run(words("cut"), cwd=ROOT, check=True, capture_output=True, timeout=240)
    assert (tmp_path / "cut" / "log.jsonl").read_bytes() == (tmp_path / "whole" / "log.jsonl").read_bytes()
    whole, cut = (checkpoint.load(str(tmp_path / name / "model.safetensors")) for name in ("whole", "cut"))
    assert checkpoint.weights_hash(whole) == checkpoint.weights_hash(cut)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_workers_on_labels_in_a_bucket_follow_one_on_labels_on_disk(tiny, scenes, clip, tmp_path):
    from tests.s3_server import led_to, moto_server

    with moto_server() as server, led_to(server):
        server.put_all({f"scenes/{path.name}": path.read_bytes() for path in scenes})
        output = Output.of(server.url("labels"))
        label(tiny, [server.url(f"scenes/{path.name}") for path in scenes], output)
        words = ["train", "--labels", output.url, *KEEP, "--init", str(clip), *SHORT, "--steps", "6"]
        assert run([*words, "-o", str(tmp_path / "one")]) == 0
        assert run([*words, "-o", str(tmp_path / "two"), "--workers", "2"]) == 0
    one, two = log_of(tmp_path / "one"), log_of(tmp_path / "two")
    assert len(one) == len(two) == 6
    for alone, shared in zip(one, two, strict=True):
        assert shared["total"] == pytest.approx(alone["total"], rel=1e-4)
    states = [json.loads((tmp_path / name / "train.json").read_text()) for name in ("one", "two")]
    assert states[0] == states[1]
