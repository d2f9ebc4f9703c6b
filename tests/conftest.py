"""What tests share: the smallest model, and scenes to label. Heavy packages are imported where a test needs them."""

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Test processes share the cores; threads that spin for one another on a busy core make everything many times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a shell starts in the background ignores SIGINT, and so would all commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

if TYPE_CHECKING:
    from maskmill.models.segmenter import Segmenter


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` are skipped where there is no GPU, however they were chosen."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture(scope="session")
def tiny() -> "Segmenter":
    """san-tiny with untrained weights on the CPU, in float32: it reads any name."""
    import torch

    from tests.untrained_tiny import untrained_tiny

    torch.set_num_threads(1)
    return untrained_tiny()


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two shards of ten scenes each; tests read them only."""
    from maskmill.pipeline.synthesis.shards import synthesize

    return synthesize(tmp_path_factory.mktemp("scenes"), 2, 10, 7)
