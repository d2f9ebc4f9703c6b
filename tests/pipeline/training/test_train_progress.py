"""What a person is told of a training: lines that are new, each once; half a line is no line yet."""

import json
from pathlib import Path

from maskmill.pipeline.steps import Steps
from maskmill.pipeline.training.progress import Following


def write(path: Path, *steps: int) -> None:
    path.write_text("".join(json.dumps({"step": s, "total": s / 2, "learning_rate": 1e-4}) + "\n" for s in steps))


def test_new_lines_are_told_and_old_ones_are_not(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    write(log, 1, 2)
    with Following(log, 4000, Steps()):
        write(log, 1, 2, 3)
        with log.open("a") as file:
            file.write(json.dumps({"step": 3, "mean_iou": {"all": 0.1234, "novel": 0.05}}) + "\n" + '{"step": 4, "to')
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "step 3 of 4,000  loss 1.5000  rate 0.0001",
        "step 3 of 4,000  validation mIoU: all 12.34, novel 5.00",
    ]


def test_a_training_without_a_log_yet_says_nothing(tmp_path, capsys):
    with Following(tmp_path / "log.jsonl", 10, Steps()):
        pass
    assert capsys.readouterr().err == ""
