"""A user's transform on an image and all that lies on it, with one draw of random numbers. What it does is theirs."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from maskmill.models.errors import UsageError
from maskmill.pipeline.dataset.sample import LabeledImage
from maskmill.pipeline.stores.urls import redact

Transform: TypeAlias = Callable[..., Any]
"""Takes an image and a dict of masks, gives both back: what torchvision.transforms.v2 has."""


def transformed(sample: LabeledImage, transform: Transform, seed: tuple[int, ...]) -> LabeledImage:
    """A sample after `transform(image, target)`.

    `image` is a tv_tensors.Image [3, H, W]; `target` a dict of tv_tensors.Mask: `masks` bool [K, H, W], `ignore` and
    `inside` bool [H, W], and `soft_masks` float32 [K, H, W], stretched to the image, where the run stored them. Pixels
    that the transform adds lie outside (v2 fills masks with 0): they are ignored. Masks that it left no pixel of are
    dropped.

    Args:
        sample: what the table has.
        transform: keeps the number of masks and gives all of them the image's new size. Torch's random numbers on the
            CPU follow from `seed` and the sample meanwhile.
        seed: of the epoch.

    Raises:
        UsageError: the transform doesn't give that back.
    """
    from torchvision import tv_tensors

    target: dict[str, Any] = {
        "masks": tv_tensors.Mask(sample.masks),
        "ignore": tv_tensors.Mask(sample.ignore),
        "inside": tv_tensors.Mask(torch.ones_like(sample.ignore)),
    }
    if sample.soft_masks is not None:
        target["soft_masks"] = tv_tensors.Mask(_stretched(sample.soft_masks, sample.masks))
    stated = repr((seed, sample.shard, sample.sample_index)).encode()
    with torch.random.fork_rng(devices=()):
        # Not torch.manual_seed, which would seed accelerators too.
        torch.default_generator.manual_seed(int.from_bytes(hashlib.sha256(stated).digest()[:8], "little") >> 1)
        try:
            given = transform(tv_tensors.Image(sample.image), target)
        except Exception as error:
            error.add_note(f"in the transform of sample {sample.sample_index} of {redact(sample.shard)}")
            raise
    image, target = _checked(given, len(sample.masks), target)
    masks = target["masks"]
    left = masks.flatten(1).any(1)
    return replace(
        sample,
        image=image,
        masks=masks[left],
        class_ids=sample.class_ids[left],
        scores=sample.scores[left],
        ignore=(target["ignore"] | ~target["inside"]) & ~masks.any(0),
        soft_masks=None if sample.soft_masks is None else target["soft_masks"][left],
    )


def _stretched(soft_masks: Tensor, masks: Tensor) -> Tensor:
    if not len(masks):
        return masks.float()
    return functional.interpolate(soft_masks[None], size=masks.shape[1:], mode="bilinear")[0]


def _checked(given: Any, count: int, before: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], dict)):
        raise UsageError(
            f"transform gave {type(given).__name__}: expected (image, target), as it got. "
            "torchvision.transforms.v2 gives that."
        )
    image, target = given
    names = [name for name in before if not isinstance(target.get(name), Tensor)]
    if names or not isinstance(image, Tensor) or image.ndim != 3:
        raise UsageError(f"transform gave no {names[0] if names else 'image [3, H, W]'}: expected all that it got.")
    size = tuple(image.shape[1:])
    expected = {"masks": (count, *size), "soft_masks": (count, *size), "ignore": size, "inside": size}
    for name in before:
        if tuple(target[name].shape) != expected[name]:
            raise UsageError(
                f"transform gave {name} {tuple(target[name].shape)} for an image {tuple(image.shape)}: expected "
                f"{expected[name]}. Transform all of the target alike; torchvision.transforms.v2 does."
            )
    plain = {name: target[name].as_subclass(Tensor) for name in before}
    return image.as_subclass(Tensor), {
        name: tensor if name == "soft_masks" else tensor.bool() for name, tensor in plain.items()
    }
