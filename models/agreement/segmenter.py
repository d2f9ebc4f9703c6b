"""A segmenter around another: its labels, each with how far labels of other views of the image agree with it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from maskmill.models.agreement.batches import scaled_size, view_of
from maskmill.models.agreement.views import View
from maskmill.models.inference.forms import Inference
from maskmill.models.masks.overlap import ious, mirrored, stretches
from maskmill.models.resize import ImageBatch, Size
from maskmill.models.segment import Segment
from maskmill.models.segmenter import ClassFeatures, Finish, Segmenter, StagedSegmenter
from maskmill.models.vocabulary import Vocabulary


def with_agreement(segmenter: Segmenter, views: Sequence[View]) -> Segmenter:
    """The segmenter, its labels held against these views; itself where there are none."""
    return AgreementSegmenter(segmenter, views) if views else segmenter


class AgreementSegmenter(StagedSegmenter):
    """Labels as another segmenter makes them, bit for bit, with `Segment.agreement` filled in.

    Each view of an image (`models.agreement.views`) is labeled by the same segmenter, in the same form, with masks of
    the same size; a mirrored view's masks are turned back. With one view a segment's agreement is the highest IoU of
    its mask with any mask of the same class in that view, and 0 where the view has none of that class, or no labels at
    all because its numbers are not finite. With several it is the mean over the views.

    What that is in each form:
    - general: a class of stuff has one mask in the image and at most one in the view. A thing may have several; each is
      held against the one that it overlaps best, and two may choose the same.
    - queries: as things in general form. Queries have no identity across views, so that none is looked for.
    - semantic: each class has one mask in the image and at most one in the view.

    Each image goes through the model 1 + views times. In memory at once are a batch and its views, what the segmenter
    keeps of each until it is finished (a SAN: logits), and encoded masks.

    Args:
        inner: the segmenter.
        views: which views; one at least.
    """

    def __init__(self, inner: Segmenter, views: Sequence[View]) -> None:
        assert views, "agreement with no view"
        self.inner = inner
        self.views = tuple(views)
        self.name = inner.name
        self.weights = inner.weights
        self.rule = inner.rule
        self.device = inner.device
        self.forms = inner.forms
        self.templates = inner.templates

    def settle(self) -> None:
        """See `Segmenter.settle`."""
        self.inner.settle()

    def compile(self, sizes: Sequence[Size], batch_size: int) -> None:
        """See `Segmenter.compile`; scaled views of such batches have sizes of their own, which are compiled too."""
        others = [scaled_size(size, self.rule) for size in sizes] if "scale" in self.views else []
        self.inner.compile(list(dict.fromkeys([*sizes, *others])), batch_size)

    def encode_text(self, vocabulary: Vocabulary, templates: Sequence[str]) -> Tensor:
        """See `Segmenter.encode_text`."""
        return self.inner.encode_text(vocabulary, templates)

    def begin(
        self,
        batch: ImageBatch,
        classes: ClassFeatures,
        inference: Inference,
        *,
        top_k: int = 5,
        soft_masks: bool = False,
    ) -> Finish:
        """See `Segmenter.begin`: views are begun too, and masks compared while the device computes what is next."""
        # Views are made where they are read, of pixels that were sent there once.
        there = replace(batch, pixels=batch.pixels.to(self.device))
        own = self.inner.begin(there, classes, inference, top_k=top_k, soft_masks=soft_masks)
        begun = [
            (view, part.places, self.inner.begin(part.images, classes, inference, top_k=1))
            for view in self.views
            for part in view_of(there, view, self.rule)
        ]
        return partial(self._finish, own, begun)

    def _finish(self, own: Finish, begun: Sequence[tuple[View, Sequence[int], Finish]]) -> list[list[Segment] | None]:
        """The segments with their agreement, once those of the images and of their views are there."""
        found = own()
        sums = [np.zeros(len(segments or ())) for segments in found]
        for view, places, finish in begun:
            for place, others in zip(places, finish(), strict=True):
                if (segments := found[place]) and others:
                    sums[place] += overlaps(segments, others, turned=view == "flip")
        return [
            None
            if segments is None
            else [
                replace(segment, agreement=float(total / len(self.views)))
                for segment, total in zip(segments, totals, strict=True)
            ]
            for segments, totals in zip(found, sums, strict=True)
        ]


def overlaps(segments: Sequence[Segment], others: Sequence[Segment], *, turned: bool) -> NDArray[np.float64]:
    """For each segment the highest IoU with any of the others of its class, float64 [N]; 0 where there is none.

    Args:
        segments: N segments of an image, one at least.
        others: of a view of it, at the same mask size.
        turned: whether the others' masks are mirrored left-right.
    """
    size = segments[0].mask_size
    ids, others_ids = (np.array([one.vocab_id for one in each]) for each in (segments, others))
    pairs = np.argwhere((ids[:, None] == others_ids) & _touch(segments, others, size[1] if turned else None))
    best = np.zeros(len(segments))
    if len(pairs):
        mine, theirs = (stretches([one.rle for one in each], size) for each in (segments, others))
        np.maximum.at(best, pairs[:, 0], ious(mine, mirrored(theirs) if turned else theirs, pairs))
    return best


def _touch(segments: Sequence[Segment], others: Sequence[Segment], turned_in: int | None) -> NDArray[np.bool_]:
    """Whether the boxes of segments and others have a pixel in common, bool [N, M].

    Args:
        segments: N segments.
        others: M segments.
        turned_in: width of the masks where the others are mirrored; None where they aren't.
    """
    mine, theirs = (np.array([one.bbox for one in each]).reshape(-1, 4) for each in (segments, others))
    if turned_in is not None:
        theirs[:, 0] = turned_in - theirs[:, 0] - theirs[:, 2]
    begins = np.maximum(mine[:, None, :2], theirs[:, :2])
    ends = np.minimum((mine[:, :2] + mine[:, 2:])[:, None], theirs[:, :2] + theirs[:, 2:])
    touch: NDArray[np.bool_] = (begins < ends).all(2)
    return touch
