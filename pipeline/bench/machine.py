"""What a bench ran on: the machine and the versions of what computes. It measures nothing."""

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from maskmill.pipeline.config import machine_cpus
from maskmill.pipeline.versions import versions

_PACKAGES = ("torchvision", "ray", "numpy")
"""Versions told beside those that shape labels."""


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, cores, memory, load and GPU of this machine; no name of it."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": machine_cpus(),
        "memory_bytes": _memory(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "gpu": None,
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = properties.name
        found["gpu_memory_bytes"] = properties.total_memory
        found["tf32"] = torch.backends.cuda.matmul.allow_tf32
    return found


def software(device: torch.device) -> dict[str, str]:
    """Versions of Python and of the packages that compute."""
    found = {"python": platform.python_version(), **versions()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    if device.type == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]  # torch has no annotation there
    return found


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
