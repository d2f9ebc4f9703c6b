"""A Mask2Former of Hugging Face's transformers learns a run's labels: from nothing, or from a checkpoint.

python mask2former.py OUT --init facebook/mask2former-swin-tiny-coco-panoptic -o student
"""

import argparse

import torch
from torch.utils.data import DataLoader
from torchvision.transforms import v2
from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

import maskmill


def tiny(names: list[str]) -> Mask2FormerForUniversalSegmentation:
    """A model small enough for a CPU, with random weights."""
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = SwinConfig(embed_dim=24, depths=[1, 1, 2, 1], num_heads=[1, 2, 2, 4], window_size=4, out_features=stages)
    sizes = {"hidden_dim": 64, "feature_size": 64, "mask_feature_size": 64, "dim_feedforward": 128}
    layers = {"encoder_layers": 1, "encoder_feedforward_dim": 128, "decoder_layers": 3, "num_attention_heads": 4}
    return Mask2FormerForUniversalSegmentation(
        Mask2FormerConfig(
            backbone_config=backbone,
            num_queries=20,
            train_num_points=1024,
            id2label=dict(enumerate(names)),
            **sizes,
            **layers,
        )
    )


def main() -> None:
    """Train, and save the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", metavar="OUT", help="--output of `maskmill label`")
    parser.add_argument("-o", "--output", default="student")
    parser.add_argument(
        "--init", help="folder or hub name of a Mask2Former; a tiny one with random weights if left out"
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--crop", type=int, default=512)
    parser.add_argument("--min-score", type=float, default=0.8)
    args = parser.parse_args()

    data = maskmill.LabeledImages(
        args.run,
        keep=maskmill.SegmentFilter(min_score=args.min_score),
        shuffle=1000,
        batch_size=args.batch_size,
        transform=v2.Compose([v2.RandomCrop(args.crop, pad_if_needed=True), v2.RandomHorizontalFlip()]),
    )
    loader = DataLoader(
        data,
        batch_size=args.batch_size,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        collate_fn=maskmill.collate,
    )
    names = [entry.name for entry in data.vocabulary]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    if args.init is None:
        model = tiny(names)
    else:
        labels = {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
        model = Mask2FormerForUniversalSegmentation.from_pretrained(args.init, ignore_mismatched_sizes=True, **labels)
    model.to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimiser, args.epochs * len(loader), power=0.9)
    for epoch in range(args.epochs):
        data.set_epoch(epoch)
        skipped = 0
        for batch in loader:
            skipped += batch["skipped"]  # images without a mask
            # transformers' own loss would take ignored pixels for background: this one leaves them out.
            output = model(pixel_values=batch["pixel_values"].to(device), output_auxiliary_logits=True)
            loss = maskmill.mask2former_loss(output, batch, model.config)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.01)
            optimiser.step()
            schedule.step()
        print(f"epoch {epoch}: {len(loader)} steps, loss {loss.item():.3f}, {skipped} images skipped")
    model.save_pretrained(args.output)


if __name__ == "__main__":
    main()
