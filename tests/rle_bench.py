"""Our run lengths beside pycocotools', in one run: `python -m tests.rle_bench`. It asserts nothing."""

import numpy as np
import torch
from pycocotools import mask as coco
from torch.utils.benchmark import Timer

from maskmill.models.masks import rle


def main() -> None:
    """Print the ratio, on 100 blobs of 640 x 640."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.standard_normal((100, 1, 20, 20)).astype(np.float32))
    masks = torch.nn.functional.interpolate(coarse, (640, 640), mode="bilinear")[:, 0] > 0.8

    def theirs() -> object:
        encoded = coco.encode(np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8)))
        return coco.area(encoded), coco.toBbox(encoded)

    threads = torch.get_num_threads()
    ours, others = (
        Timer("work()", globals={"work": work}, num_threads=threads).blocked_autorange(min_run_time=3).median
        for work in (lambda: rle.encode_and_measure(masks), theirs)
    )
    print(
        f"run lengths, areas and boxes of {len(masks)} masks of 640 x 640, {threads} threads: {ours / others:.2f} of "
        f"pycocotools' time ({ours * 1000:.1f} ms against {others * 1000:.1f})"
    )


if __name__ == "__main__":
    main()
