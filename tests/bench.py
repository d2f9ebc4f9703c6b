"""What `make bench` prints: rates of the main parts on this machine, ratios within one run. It asserts nothing."""

import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco

import models
from models.masks import rle
from models.resize import batch_of
from models.segmenter import Segmenter
from pipeline.config import InferenceConfig, LabelConfig, machine_cpus
from pipeline.labeling import Labeler, label_shard
from pipeline.model_thread import ModelThread
from pipeline.output import Output
from pipeline.shard import describe
from pipeline.synthesis.shards import synthesize

RUNS = 5
SAMPLES = 200


def seconds(work: Callable[[], object]) -> float:
    """Median seconds of `RUNS` calls after one to warm up."""
    work()
    taken = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def model_rate(segmenter: Segmenter, vocabulary: str, side: int, batch_size: int) -> float:
    """Images/s of the model and its segments, images already decoded."""
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    image = segmenter.rule.apply(Image.fromarray(noise))
    batch = batch_of([image] * batch_size, [(side, side)] * batch_size, segmenter.rule)
    classes = segmenter.classes(models.Vocabulary.load(vocabulary)).to(segmenter.device)
    form = InferenceConfig().form()
    return batch_size / seconds(lambda: segmenter.segment(batch, classes, form))


def shard_rate(segmenter: Segmenter, folder: Path) -> tuple[float, float]:
    """Images/s of one shard, from the tar to its label file, and of the model alone over the same images."""
    source = synthesize(folder / "shards", 1, SAMPLES, 0)[0]
    config = LabelConfig()
    classes = segmenter.classes(models.Vocabulary.load("scenes"))
    thread = ModelThread(segmenter, classes, config.inference.form(), top_k=5, soft_masks=False)
    with ThreadPoolExecutor(machine_cpus()) as decoders:
        labeler = Labeler(
            model=thread,
            decoders=decoders,
            threads=machine_cpus(),
            batch_size=8,
            config=config,
            output=Output.of(str(folder / "out")),
            fingerprint="bench",
        )
        row = label_shard(describe(str(source)), labeler)
        whole = seconds(lambda: label_shard(describe(str(source)), labeler))
    thread.close()
    assert row.state == "done", row.error
    return SAMPLES / whole, model_rate(segmenter, "scenes", 128, 8)


def codec_ratio() -> float:
    """Time of our run lengths, areas and boxes as a share of pycocotools', on 100 blobs of 640 x 640."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.standard_normal((100, 1, 20, 20)).astype(np.float32))
    masks = torch.nn.functional.interpolate(coarse, (640, 640), mode="bilinear")[:, 0] > 0.8

    def theirs() -> object:
        encoded = coco.encode(np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8)))
        return coco.area(encoded), coco.toBbox(encoded)

    return seconds(lambda: rle.encode_and_measure(masks)) / seconds(theirs)


def main() -> None:
    """Print the table."""
    torch.set_num_threads(machine_cpus())
    print(f"torch {torch.__version__}, {machine_cpus()} threads, float32, CPU; medians of {RUNS} runs after a warm-up")
    tiny = models.load("san-tiny", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        whole, alone = shard_rate(tiny, Path(folder))
    print(f"san-tiny, 128 x 128, batch 8      model and segments  {alone:8.1f} images/s")
    print(
        f"san-tiny, one shard of {SAMPLES}        tar to label file   {whole:8.1f} images/s, {whole / alone:.2f} of it"
    )
    print(f"run lengths, areas and boxes of 100 x 640 x 640: {codec_ratio():.2f} of pycocotools' time")


if __name__ == "__main__":
    main()
