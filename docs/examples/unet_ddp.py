"""A small U-Net learns a run's labels with DistributedDataParallel, on GPUs where there are any.

torchrun --nproc-per-node 8 unet_ddp.py OUT -o unet.pt
"""

import argparse
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torchvision.transforms import v2

import maskmill


class UNet(nn.Module):
    """Four sizes down and up again, with what was there before beside it."""

    def __init__(self, classes: int, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()

        def block(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after), nn.ReLU())

        self.down = nn.ModuleList(block(before, after) for before, after in pairwise((3, *widths)))
        self.up = nn.ModuleList(block(low + high, low) for low, high in pairwise(widths))
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits [B, N, H, W] of images float [B, 3, H, W]."""
        features = [self.down[0](images)]
        for block in self.down[1:]:
            features.append(block(functional.max_pool2d(features[-1], 2)))
        x = features.pop()
        for block in reversed(self.up):
            beside = features.pop()
            x = block(torch.cat([beside, functional.interpolate(x, beside.shape[-2:], mode="bilinear")], 1))
        return self.head(x)


def to_batch(samples: list[maskmill.LabeledImage]) -> tuple[Tensor, Tensor]:
    """Images [B, 3, H, W] in [0, 1], and the class of each pixel [B, H, W]: -100 where the labels say nothing."""
    images = torch.stack([sample.image for sample in samples]) / 255
    return images, torch.stack([maskmill.semantic_map(sample) for sample in samples])


def pixel_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Mean cross-entropy of the pixels that have a class; 0 where none has, which a mean would make NaN."""
    return functional.cross_entropy(logits, classes, reduction="sum") / (classes >= 0).sum().clamp(min=1)


def main() -> None:
    """Train, and save the weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="OUT", help="--output of `maskmill label`")
    parser.add_argument("-o", "--output", default="unet.pt")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8, help="of each process")
    parser.add_argument("--workers", type=int, default=4, help="of each process")
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--min-score", type=float, default=0.8)
    args = parser.parse_args()

    dist.init_process_group()  # RANK, WORLD_SIZE: torchrun's
    rank = dist.get_rank()
    device = (
        torch.device("cuda", rank % torch.cuda.device_count()) if torch.cuda.is_available() else torch.device("cpu")
    )
    data = maskmill.LabeledImages(
        args.run,
        keep=maskmill.SegmentFilter(min_score=args.min_score),
        shuffle=1000,
        steps="pad",  # as many steps on every rank
        batch_size=args.batch_size,
        transform=v2.Compose([v2.RandomCrop(args.crop, pad_if_needed=True), v2.RandomHorizontalFlip()]),
    )
    loader = DataLoader(
        data,
        batch_size=args.batch_size,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        collate_fn=to_batch,
    )
    torch.manual_seed(0)
    model = DistributedDataParallel(UNet(len(data.vocabulary)).to(device))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=args.epochs * len(loader))
    for epoch in range(args.epochs):
        data.set_epoch(epoch)
        for images, classes in loader:
            loss = pixel_loss(model(images.to(device)), classes.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch} rank {rank}: {len(loader)} steps, loss {loss.item():.3f}")
    if rank == 0:
        torch.save(model.module.state_dict(), args.output)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
