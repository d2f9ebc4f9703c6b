"""Where the time of a batch goes, operator by operator, as PyTorch's profiler tells it. Rates are taken without it."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from maskmill.pipeline.bench.timing import Work

ROWS = 40
"""Operators that are told, the dearest first."""


def write_profile(work: Work, device: torch.device, path: Path) -> None:
    """Write a table of the operators of some work, which is run once before.

    Args:
        work: labels a batch.
        device: where it computes; on a GPU kernels are told too.
        path: of the text file.
    """
    on_gpu = device.type == "cuda"
    work()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as seen:
        work()
        if on_gpu:
            torch.cuda.synchronize(device)
    dearest = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    path.write_text(seen.key_averages().table(sort_by=dearest, row_limit=ROWS) + "\n", encoding="utf-8")
