"""How far scaled decoding and PyTorch's resizing move labels: `python -m tests.decoding_moves`. It asserts nothing.

The 128 scenes of `maskmill demo`, enlarged threefold and stored as JPEGs, labeled by san-tiny; each is compared
with the labels that the default gives.
"""

import io
import tempfile

import numpy as np
import torch
from PIL import Image

from maskmill.models import zoo
from maskmill.models.inference.forms import GeneralInference
from maskmill.models.masks.rle import decode_all
from maskmill.models.resize import batch_of, mask_size
from maskmill.models.segment import Segment
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.labeling.preparing import prepare
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.images import decode_sample
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.open import open_shard
from maskmill.pipeline.reading.samples import Sample
from maskmill.pipeline.shards.shard import describe
from maskmill.pipeline.synthesis.shards import synthesize

TIMES = 3
"""What the side of a scene is multiplied by: half of that is still large enough, and so decoded."""

OTHERS = {
    "scaled decoding": DecodingConfig(scaled_decoding=True),
    "resized by torch": DecodingConfig(resize="torch"),
    "both": DecodingConfig(scaled_decoding=True, resize="torch"),
}


def scenes() -> list[Image.Image]:
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for path in synthesize(folder, 2, 64, 0):
            with open_shard(describe(str(path)), path.parent, ReadLimits()) as opened:
                found += [decode_sample(sample, ReadLimits()) for sample in opened.samples]
        return found


def photo(scene: Image.Image, times: int) -> Sample:
    file = io.BytesIO()
    size = (scene.width * times, scene.height * times)
    scene.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return Sample(
        key="a", index=0, image=file.getvalue(), image_name="a.jpg", caption=None, extensions=("jpg",), fields={}
    )


def moved(before: list[Segment], after: list[Segment], size: tuple[int, int]) -> tuple[int, int, list[float]]:
    """Segments whose class changes, those that come or go, and the IoU of the rest."""
    if not before or not after:
        return 0, len(before) + len(after), []
    first, second = (decode_all([one.rle for one in all_], size).reshape(len(all_), -1).astype(np.float32)
                     for all_ in (before, after))  # fmt: skip
    both = first @ second.T
    overlap = both / (first.sum(1)[:, None] + second.sum(1)[None] - both)
    pairs = [(i, int(overlap[i].argmax())) for i in range(len(before)) if overlap[i].max() > 0.5]
    changed = sum(before[i].vocab_id != after[j].vocab_id for i, j in pairs)
    return changed, len(before) + len(after) - 2 * len(pairs), [float(overlap[i, j]) for i, j in pairs]


def main() -> None:
    """Print the table."""
    segmenter = zoo.load("san-tiny", device="cpu")
    classes = segmenter.classes(Vocabulary.load("scenes"))
    drawn = scenes()
    print(f"{'':18}{'segments':>10}{'class':>7}{'come, go':>10}{'IoU mean':>10}{'least':>7}{'pixels apart':>14}")
    photos = [photo(scene, TIMES) for scene in drawn]

    def labels(decoding: DecodingConfig) -> list[tuple[np.ndarray, tuple[int, int], list[Segment]]]:
        found = []
        for one in photos:
            size, pixels = prepare(one, segmenter.rule, LabelConfig(decoding=decoding), torch.device("cpu"))
            masks = mask_size(size, 1024)
            (segments,) = segmenter.segment(batch_of([pixels], [masks], segmenter.rule), classes, GeneralInference())
            found.append((pixels, masks, list(segments or ())))
        return found

    plain = labels(DecodingConfig())
    for name, decoding in OTHERS.items():
        changed = gone = 0
        overlaps: list[float] = []
        apart = []
        for (pixels, masks, before), (others, _, after) in zip(plain, labels(decoding), strict=True):
            one, other, some = moved(before, after, masks)
            changed, gone, overlaps = changed + one, gone + other, overlaps + some
            apart.append(np.abs(pixels.astype(int) - others).mean())
        count = sum(len(before) for _, _, before in plain)
        print(
            f"{name:18}{count:>10}{changed:>7}{gone:>10}{np.mean(overlaps):>10.4f}"
            f"{min(overlaps):>7.3f}{np.mean(apart):>14.3f}"
        )


if __name__ == "__main__":
    main()
