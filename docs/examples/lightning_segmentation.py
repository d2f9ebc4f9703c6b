"""torchvision's LR-ASPP learns a run's labels under Lightning, on all GPUs or on the CPU.

python lightning_segmentation.py OUT --devices 8 -o lraspp.ckpt
"""

import argparse

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.models.segmentation import lraspp_mobilenet_v3_large
from torchvision.transforms import v2

import maskmill


def to_batch(samples: list[maskmill.LabeledImage]) -> tuple[Tensor, Tensor]:
    """Images [B, 3, H, W] in [0, 1], and the class of each pixel [B, H, W]: -100 where the labels say nothing."""
    images = torch.stack([sample.image for sample in samples]) / 255
    return images, torch.stack([maskmill.semantic_map(sample) for sample in samples])


class Segmentation(pl.LightningModule):
    """A model, its loss and its schedule, with the data it learns from."""

    def __init__(self, data: maskmill.LabeledImages, batch_size: int, workers: int) -> None:
        super().__init__()
        self.data, self.batch_size, self.workers = data, batch_size, workers
        self.model = lraspp_mobilenet_v3_large(num_classes=len(data.vocabulary), weights=None, weights_backbone=None)

    def train_dataloader(self) -> DataLoader[maskmill.LabeledImage]:
        """Each rank's own part of the labels: which rank it is, is read when an epoch begins."""
        self.data.set_epoch(self.current_epoch)  # Lightning starts the workers of its first epoch before its hook
        return DataLoader(
            self.data,
            batch_size=self.batch_size,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            collate_fn=to_batch,
        )

    def on_train_epoch_start(self) -> None:
        """Another order in each epoch."""
        self.data.set_epoch(self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean cross-entropy of the pixels that have a class; 0 where none has, which a mean would make NaN."""
        images, classes = batch
        logits = self.model(images)["out"]
        loss = functional.cross_entropy(logits, classes, reduction="sum") / (classes >= 0).sum().clamp(min=1)
        self.log("loss", loss, prog_bar=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Say what each rank did."""
        steps, loss = self.trainer.num_training_batches, self.trainer.callback_metrics["loss"]
        print(f"epoch {self.current_epoch} rank {self.global_rank}: {steps} steps, loss {loss:.3f}")

    def configure_optimizers(self) -> dict[str, object]:
        """AdamW; the learning rate ends where training ends, because the loader's length is the rank's own."""
        optimiser = torch.optim.AdamW(self.parameters(), lr=1e-3)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def main() -> None:
    """Train, and save a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="OUT", help="--output of `maskmill label`")
    parser.add_argument("-o", "--output", default="lraspp.ckpt")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8, help="of each device")
    parser.add_argument("--workers", type=int, default=4, help="of each device")
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--min-score", type=float, default=0.8)
    args = parser.parse_args()

    data = maskmill.LabeledImages(
        args.run,
        keep=maskmill.SegmentFilter(min_score=args.min_score),
        shuffle=1000,
        steps="pad",  # as many steps on every rank
        batch_size=args.batch_size,
        transform=v2.Compose([v2.RandomCrop(args.crop, pad_if_needed=True), v2.RandomHorizontalFlip()]),
    )
    trainer = pl.Trainer(
        accelerator=args.accelerator,
        devices=args.devices,
        strategy="ddp" if args.devices > 1 else "auto",
        max_epochs=args.epochs,
        logger=False,
        enable_checkpointing=False,
    )
    trainer.fit(Segmentation(data, args.batch_size, args.workers))
    trainer.save_checkpoint(args.output)


if __name__ == "__main__":
    main()
