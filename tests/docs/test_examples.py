"""The scripts in docs/examples, run as a user runs them, on scenes that a tiny model labeled."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maskmill.pipeline.output import Output
from tests.plain_run import label

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SHORT = ["--epochs", "2", "--batch-size", "4", "--workers", "1", "--crop", "64", "--min-score", "0.05"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def labels(tiny, scenes, tmp_path_factory):
    """A run of 20 images; a rank of two has 10, which is 3 batches."""
    output = Output.of(str(tmp_path_factory.mktemp("labels") / "out"))
    label(tiny, scenes, output)
    return output.url


def started(script, *arguments, folder, **variables):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": "lo", **variables}
    return subprocess.Popen(
        [sys.executable, str(EXAMPLES / script), *arguments, *SHORT],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def printed(process):
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return out


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def test_a_mask2former_learns(labels, tmp_path):
    out = printed(started("mask2former.py", labels, folder=tmp_path))
    steps = re.findall(r"epoch (\d): (\d+) steps, loss \d+\.\d+, \d+ images skipped", out)
    assert steps == [("0", "5"), ("1", "5")]
    assert (tmp_path / "student" / "model.safetensors").exists()


def test_a_unet_learns_on_two_ranks(labels, tmp_path):
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2"}
    ranks = [started("unet_ddp.py", labels, folder=tmp_path, RANK=str(rank), **shared) for rank in range(2)]
    for rank, process in enumerate(ranks):
        steps = re.findall(rf"epoch (\d) rank {rank}: (\d+) steps, loss \d+\.\d+", printed(process))
        assert steps == [("0", "3"), ("1", "3")]
    assert "head.weight" in torch.load(tmp_path / "unet.pt")


def test_lightning_teaches_two_ranks_with_data_made_before_they_start(labels, tmp_path):
    process = started("lightning_segmentation.py", labels, "--devices", "2", "--accelerator", "cpu",
                      folder=tmp_path, MASTER_ADDR="127.0.0.1", MASTER_PORT=free_port())  # fmt: skip
    out = printed(process)
    steps = re.findall(r"epoch (\d) rank (\d): (\d+) steps, loss \d+\.\d+", out)
    assert sorted(steps) == [(epoch, rank, "3") for epoch in "01" for rank in "01"]
    saved = torch.load(tmp_path / "lraspp.ckpt")
    assert saved["global_step"] == saved["lr_schedulers"][0]["total_steps"] == 6
