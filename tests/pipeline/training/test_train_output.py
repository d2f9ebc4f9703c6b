"""The files of a training: logs cut back to checkpoints, identities that must agree, checkpoints that run no code."""

import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from maskmill.models.errors import UsageError
from maskmill.pipeline.training.output import TrainLog, TrainOutput
from tests.killed import killed_as_it_wrote

PROGRAMS = 6


def test_a_log_is_cut_back_to_what_the_checkpoint_knows(tmp_path):
    path = tmp_path / "log.jsonl"
    log = TrainLog(path, 0)
    for step in range(1, 6):
        log.add({"step": step, "total": step / 10})
    log.close()
    path.write_bytes(path.read_bytes() + b'{"step": 6, "to')  # killed as it wrote
    log = TrainLog(path, 3)
    log.add({"step": 4, "total": 9.0})
    log.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "total": 0.1},
        {"step": 2, "total": 0.2},
        {"step": 3, "total": 0.3},
        {"step": 4, "total": 9.0},
    ]


def test_another_training_in_the_folder_is_refused_by_name(tmp_path):
    output = TrainOutput.of(str(tmp_path / "out"))
    output.record({"steps": 10, "model": "san-tiny"})
    output.record({"steps": 10, "model": "san-tiny"})
    with pytest.raises(UsageError, match="holds another training; they differ in steps"):
        output.record({"steps": 11, "model": "san-tiny"})
    (tmp_path / "out" / "train.json").write_text("[1")
    with pytest.raises(UsageError, match=r"train\.json: damaged"):
        output.record({"steps": 10})


def test_of_many_trainings_at_once_one_has_the_folder(tmp_path):
    for attempt in range(5):
        output, start = TrainOutput.of(str(tmp_path / str(attempt))), threading.Barrier(PROGRAMS)

        def began(steps, output=output, start=start):
            start.wait()
            try:
                output.record({"steps": steps})
            except UsageError:
                return False
            return True

        with ThreadPoolExecutor(PROGRAMS) as threads:
            ours = [steps for steps, had in enumerate(threads.map(began, range(PROGRAMS))) if had]
        assert [output.identity()["steps"]] == ours


def test_the_folder_is_made_by_the_first_file_and_cleaned_of_what_killed_trainings_left(tmp_path):
    output = TrainOutput.of(str(tmp_path / "new" / "out"))
    output.record({"steps": 10}, write=False)
    assert list(tmp_path.iterdir()) == []
    output.record({"steps": 10})
    killed_as_it_wrote(output.checkpoint)
    output.record({"steps": 10}, write=False)
    assert len(list(output.folder.iterdir())) == 2, "only the worker that writes removes"
    output.record({"steps": 10})
    output.save_model(torch.nn.Linear(2, 2))
    assert sorted(path.name for path in output.folder.iterdir()) == ["model.safetensors", "train.json"]


def test_a_checkpoint_comes_back_and_no_part_of_one_is_ever_in_its_place(tmp_path):
    output = TrainOutput.of(str(tmp_path))
    assert output.load() is None
    state = {"step": 3, "model": {"a": torch.arange(3.0)}, "optimiser": {"state": {}}, "identity": "x"}
    output.save(state)
    found = output.load()
    assert found is not None
    assert torch.equal(found["model"]["a"], torch.arange(3.0))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


class _Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('ran')",))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut", pickle.dumps({"step": _Bomb()})])
def test_damaged_or_hostile_checkpoints_are_told_and_run_nothing(tmp_path, data):
    output = TrainOutput.of(str(tmp_path))
    output.checkpoint.write_bytes(data)
    with pytest.raises(UsageError, match=r"checkpoint\.pt: damaged"):
        output.load()
    torch.save({"step": 1, "model": {}, "optimiser": _Bomb()}, output.checkpoint)
    with pytest.raises(UsageError, match=r"checkpoint\.pt: damaged"):
        output.load()


def test_a_store_is_no_place_for_a_training(tmp_path):
    with pytest.raises(UsageError, match="expected a folder on a local or shared file system"):
        TrainOutput.of("s3://bucket/training")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file, expected a folder"):
        TrainOutput.of(str(tmp_path / "file" / "below"))
