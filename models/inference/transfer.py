"""Small arrays between the host and the device where a batch is computed, packed so that each way is one copy.

A copy to the host makes it wait until the device has done all that was asked of it, so that copies are to be few.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

KINDS: Mapping[torch.dtype, type[np.generic]] = {
    torch.float64: np.float64,
    torch.int64: np.int64,
    torch.uint8: np.uint8,
    torch.int8: np.int8,
    torch.bool: np.bool_,
}
"""What may be fetched, by NumPy's names."""


def fetch(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Tensors as arrays on the host, by one copy and one wait, through pinned memory where there is some.

    Args:
        tensors: of one device and the types of `KINDS`, wider ones first, so that each lies where its type may.

    Returns:
        One array for each, of its shape and type.
    """
    packed = torch.cat([one.contiguous().view(-1).view(torch.uint8) for one in tensors])
    if packed.device.type == "cuda":
        host = torch.empty(packed.shape, dtype=torch.uint8, pin_memory=True)
        host.copy_(packed, non_blocking=True)
        torch.cuda.current_stream(packed.device).synchronize()
    else:
        host = packed.to("cpu")
    held, found, start = host.numpy(), [], 0
    for one in tensors:
        assert start % one.element_size() == 0, "wider types come first"
        stop = start + one.numel() * one.element_size()
        found.append(held[start:stop].view(KINDS[one.dtype]).reshape(one.shape))
        start = stop
    return found


def place(arrays: Sequence[NDArray[np.int64]], device: torch.device) -> list[Tensor]:
    """Arrays of int64 on a device, by one copy that the host doesn't wait for."""
    packed = torch.from_numpy(np.concatenate([array.reshape(-1) for array in arrays]))
    if device.type == "cuda":
        packed = packed.pin_memory()
    placed = torch.split(packed.to(device, non_blocking=True), [array.size for array in arrays])
    return [one.view(array.shape) for one, array in zip(placed, arrays, strict=True)]
