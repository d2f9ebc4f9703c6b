"""Text features of a run: computed once, stored in OUT/text/, loaded by every replica. Encoding is the model's part."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary.templates import templates_hash
from maskmill.models.vocabulary.vocabulary import Vocabulary
from maskmill.pipeline.stores.publish import publish_bytes, read_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from maskmill.models.segmenter import Segmenter

FEATURES = "features"
"""Name of the one tensor in the file: float32 [N, D], row i belongs to vocabulary id i."""

METADATA_KEY = "maskmill"
"""Key of the identity's JSON in the safetensors header."""

MAX_HEADER_BYTES = 64 * 1024
"""A header that claims to be longer is refused; ours has a few hundred bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextIdentity:
    """All that shapes the text features of a run, and nothing that doesn't."""

    vocabulary: str
    """`Vocabulary.hash`."""

    classes: int
    """Number of classes, N."""

    templates: str
    """`templates_hash` of the prompt templates."""

    model: str
    """Name of the segmenter: weights alone don't say which activation they were trained with."""

    weights: str
    """`Segmenter.weights`, sha256 of the weights."""

    dtype: str
    """Precision that the text tower computes in, such as float32; the stored features are float32 always."""

    @staticmethod
    def of(vocabulary: Vocabulary, templates: Sequence[str], segmenter: "Segmenter", *, dtype: str) -> "TextIdentity":
        """The identity of these classes and templates under this segmenter."""
        return TextIdentity(
            vocabulary=vocabulary.hash,
            classes=len(vocabulary),
            templates=templates_hash(templates),
            model=segmenter.name,
            weights=segmenter.weights,
            dtype=dtype,
        )

    @property
    def hash(self) -> str:
        """sha256 (hex) over the fields: the HASH of OUT/text/HASH.safetensors."""
        return hashlib.sha256(self.stated().encode()).hexdigest()

    def stated(self) -> str:
        """The fields as canonical JSON, as the file's header carries them."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def text_features_path(out: str, text_hash: str) -> str:
    """Where the text features of identity `text_hash` stand in the run at `out` (a path or fsspec URL)."""
    return f"{out.rstrip('/')}/text/{text_hash}.safetensors"


def compute_text_features(segmenter: "Segmenter", vocabulary: Vocabulary, templates: Sequence[str]) -> "Tensor":
    """The text features of a vocabulary, float32 [N, D] on the CPU.

    Raises:
        UsageError: names or templates that the model can't be asked about, such as a prompt longer than it reads.
    """
    features = segmenter.encode_text(vocabulary, templates)
    assert features.device.type == "cpu", "encode_text gives its features on the CPU"
    problem = _problem(features, len(vocabulary))
    assert problem is None, f"encode_text: {problem}"
    return features


def store_text_features(features: "Tensor", identity: TextIdentity, out: str) -> str:
    """Publish the features at their place in `out`, all at once, and return that place."""
    from safetensors.torch import save

    path = text_features_path(out, identity.hash)
    publish_bytes(save({FEATURES: features.contiguous()}, metadata={METADATA_KEY: identity.stated()}), path)
    return path


def load_text_features(identity: TextIdentity, out: str) -> "Tensor":
    """The stored features of a run: float32 [N, D] on the CPU.

    Raises:
        UsageError: there are none, they belong to another vocabulary, templates, model or precision, or are damaged.
    """
    path = text_features_path(out, identity.hash)
    features = _stored(identity, path)
    if features is None:
        raise UsageError(f"{path}: no text features there. Run `maskmill label` into this output to compute them.")
    return features


def ensure_text_features(
    segmenter: "Segmenter", vocabulary: Vocabulary, templates: Sequence[str], out: str, *, dtype: str
) -> TextIdentity:
    """Compute and store a run's text features, unless a sound file has them already: one task a run calls this.

    Returns:
        Their identity, with which every replica loads them.

    Raises:
        UsageError: names or templates that the model can't be asked about.
    """
    identity = TextIdentity.of(vocabulary, templates, segmenter, dtype=dtype)
    try:
        sound = _stored(identity, text_features_path(out, identity.hash)) is not None
    except UsageError:
        sound = False
    if not sound:
        store_text_features(compute_text_features(segmenter, vocabulary, templates), identity, out)
    return identity


def _stored(identity: TextIdentity, path: str) -> "Tensor | None":
    """The features at `path`, None if there is no file; UsageError if it isn't what `identity` says."""
    raw = read_bytes(path)
    if raw is None:
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        length = int.from_bytes(raw[:8], "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError("header too long")
        stated = json.loads(raw[8 : 8 + length])["__metadata__"][METADATA_KEY]
        if stated == identity.stated():
            features = load(raw)[FEATURES]
            problem = _problem(features, identity.classes)
        else:
            problem = f"another run's ({_difference(stated, identity)})"
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        problem = f"damaged ({type(error).__name__})"
    if problem is not None:
        raise UsageError(
            f"{path}: not this run's text features: {problem}. Remove it; the next `label` computes it again."
        )
    return features


def _difference(stated: str, identity: TextIdentity) -> str:
    theirs, ours = json.loads(stated), asdict(identity)
    return "differs in " + ", ".join(sorted(field for field in ours if theirs.get(field) != ours[field]))


def _problem(features: "Tensor", classes: int) -> str | None:
    """What is wrong with the features of `classes` classes, None if nothing is."""
    import torch

    if features.dtype != torch.float32 or features.dim() != 2 or features.shape[0] != classes:
        return f"{features.dtype} {list(features.shape)}, expected float32 [{classes}, D]"
    lengths = features.norm(dim=1)
    if not bool((lengths.isfinite() & (lengths > 0)).all()):
        return "rows that point nowhere"
    return None
