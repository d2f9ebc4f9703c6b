"""The identity of a run: all that changes its labels and nothing that doesn't, its fingerprint, and run.json."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from maskmill.models.agreement.views import stated
from maskmill.models.errors import UsageError
from maskmill.models.zoo import MODELS
from maskmill.pipeline.config import LabelConfig
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.versions import versions

if TYPE_CHECKING:
    from maskmill.models.resize import ResizeRule  # imports torch, which telling how a run stands needs not

LABEL_VERSION = 1
"""Raised by every change of the code that moves labels; tests/data/labels_v1.json holds what this version writes."""


_LATER = frozenset({"agreement"})
"""Fields of an identity that came after the first runs."""


class AnotherRunError(UsageError):
    """OUT has come to hold another run than the one that this process labels for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """All that shapes the labels of a run. Replicas, threads, batch size and scratch do not."""

    model: str
    """Name of the segmenter."""

    weights: str
    """sha256 over the weights' sorted names, shapes, dtypes and bytes."""

    vocabulary: str
    """Hash of the ordered vocabulary."""

    templates: str
    """Hash of the ordered prompt templates."""

    text_features: str
    """Hash that names the text features: vocabulary, templates, weights and dtype."""

    inference: str
    """Inference form."""

    score_threshold: float | None
    """The form's score threshold; None where it has none."""

    overlap_threshold: float | None
    """The form's overlap threshold; None where it has none."""

    top_k: int
    """Classes and logits stored for each segment."""

    soft_masks: bool
    """Whether mask logits are stored."""

    mask_side: int
    """Longest side of the stored masks."""

    resize: "ResizeRule"
    """How images become the model's input."""

    limits: dict[str, int | bool | str | None]
    """What of a shard is refused unread, and which members are a sample's image and caption where these are named."""

    decoder: str
    """What decodes images, and how it scales them."""

    windows: str | None
    """Sliding windows; None: the whole image at once."""

    dtype: str
    """Precision of the model."""

    label_version: int
    """`LABEL_VERSION` of the code."""

    agreement: list[str] | None = None
    """Views that segments are held against; None: none."""

    @property
    def recorded(self) -> dict[str, Any]:
        """All fields as run.json has them.

        One that came later (`_LATER`) is named only where it isn't None, which must mean what was done before there was
        such a field: so runs that began earlier can be resumed.
        """
        return {name: value for name, value in asdict(self).items() if name not in _LATER or value is not None}

    @property
    def fingerprint(self) -> str:
        """sha256 over all fields that are recorded."""
        return hashlib.sha256(json.dumps(self.recorded, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def differences(self, recorded: dict[str, Any]) -> list[str]:
        """`field: recorded value, value now` for every field that differs from a run.json's identity."""
        mine = json.loads(json.dumps(self.recorded))
        return [
            f"{name}: {_short(recorded.get(name))} there, {_short(mine.get(name))} now"
            for name in sorted(mine.keys() | recorded.keys())
            if mine.get(name) != recorded.get(name)
        ]

    def refuse(self, recorded: dict[str, Any], output: Output) -> None:
        """Hold this identity against the one that OUT's run.json records.

        Raises:
            UsageError: they differ; the text names the fields.
        """
        if differing := self.differences(recorded):
            raise UsageError(
                f"--output {redact(output.url)}: holds another run ({'; '.join(differing)}). "
                "Give the same settings to resume it, or another --output."
            )


def identity(
    config: LabelConfig, *, rule: "ResizeRule", weights: str, vocabulary: str, templates: str, text_features: str
) -> Identity:
    """The identity of what `config` describes, given the hashes of what it names."""
    form = config.inference.form(config.form)
    return Identity(
        model=config.model.model,
        weights=weights,
        vocabulary=vocabulary,
        templates=templates,
        text_features=text_features,
        inference=config.form,
        score_threshold=getattr(form, "score_threshold", None),
        overlap_threshold=getattr(form, "overlap_threshold", None),
        top_k=config.inference.top_k,
        soft_masks=config.inference.soft_masks,
        mask_side=config.inference.mask_side,
        resize=rule,
        limits=_limits(config.limits),
        decoder=config.decoding.word,
        windows=MODELS[config.model.model].sliding(config.inference.windows),
        dtype=config.model.dtype,
        label_version=LABEL_VERSION,
        agreement=stated(config.inference.views) or None,
    )


_FIRST_LIMITS = frozenset({"max_member_bytes", "max_members", "max_pixels", "max_caption_bytes", "keep_truncated"})
"""Limits that every run names."""


def _limits(limits: ReadLimits) -> dict[str, int | bool | str | None]:
    """What of the limits is part of the identity.

    A field that `ReadLimits` gains later is named only where it differs from its default, which must do what was done
    before there was such a limit: so runs that began earlier can be resumed.
    """
    plain = asdict(type(limits)())
    return {name: value for name, value in asdict(limits).items() if name in _FIRST_LIMITS or value != plain[name]}


def record(output: Output, run: Identity, config: LabelConfig) -> None:
    """Write run.json, or check the one that is there.

    Of several programs that do so at once one writes it and the others check it, wherever a store can refuse to replace
    an object, and on file systems. Elsewhere the last one writes it: what stands there is checked after writing, and
    `confirm` checks it again before labels are published.

    Raises:
        UsageError: OUT holds a sealed table, or a run with another fingerprint; the text names the fields that differ.
    """
    if read(output) is None:
        output.create_json(output.run, _recorded(run, config))
    recorded = require(output)
    refuse_sealed(recorded, output)
    run.refuse(recorded["identity"], output)


def confirm(output: Output, fingerprint: str) -> None:
    """Check that OUT still holds this run; one small read. An OUT without run.json holds no other run.

    Raises:
        AnotherRunError: another one's run.json stands there.
        OutputError: it can't be read.
    """
    recorded = read(output)
    if recorded is not None and recorded["fingerprint"] != fingerprint:
        raise AnotherRunError(
            f"--output {redact(output.url)}: another `label` with other settings began there at the same time "
            f"(run {recorded['fingerprint'][:16]}, this is {fingerprint[:16]}). Label into another --output."
        )


def _recorded(run: Identity, config: LabelConfig) -> dict[str, Any]:
    """What run.json says of a run that begins now."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    settings = json.loads(json.dumps(asdict(config), default=str))
    redacted = []
    for group, option in (("model", "weights"), ("vocabulary", "vocab"), ("vocabulary", "templates")):
        if (named := settings[group][option]) is not None:
            settings[group][option] = redact(named)
            redacted += [f"{group}.{option}"] if settings[group][option] != named else []
    return {
        "fingerprint": run.fingerprint,
        "identity": run.recorded,
        "config": settings,
        "redacted": redacted,
        "versions": versions(),
        "created": started,
    }


def read(output: Output) -> dict[str, Any] | None:
    """run.json as it stands; None where OUT holds no run.

    Raises:
        UsageError: it is damaged.
    """
    output.refuse_file()
    recorded = output.read_json(output.run)
    if recorded is not None and not (
        isinstance(recorded.get("identity"), dict) and isinstance(recorded.get("fingerprint"), str)
    ):
        raise UsageError(f"{redact(output.run)}: damaged, it has no identity. Restore it from a copy.")
    return recorded


def limits(recorded: Mapping[str, Any]) -> ReadLimits:
    """How the run with this run.json read its shards: what reads them beside its labels must find the same samples."""
    known = {field.name for field in fields(ReadLimits)}
    stated = recorded.get("identity", {}).get("limits", {})
    return ReadLimits(**{name: value for name, value in stated.items() if name in known})


def is_sealed(recorded: dict[str, Any]) -> bool:
    """Whether a run.json is that of a sealed table: the copy that `compact` makes, complete and never added to."""
    return recorded.get("sealed") is True


def refuse_sealed(recorded: dict[str, Any], output: Output) -> None:
    """Refuse to write into a sealed table.

    Raises:
        UsageError: the run.json is that of one.
    """
    if is_sealed(recorded):
        raise UsageError(
            f"{redact(output.url)}: a sealed table, nothing is added to it. Label into the --output that it was made "
            "from, or into another, and `maskmill compact` that."
        )


def has_agreement(identity: Mapping[str, Any]) -> bool:
    """Whether the segments of the run with this recorded identity have an agreement."""
    return bool(identity.get("agreement"))


def require(output: Output) -> dict[str, Any]:
    """run.json of an output that must be one.

    Raises:
        UsageError: OUT holds no run.
    """
    recorded = read(output)
    if recorded is None:
        raise UsageError(f"{redact(output.url)}: no run.json there. Expected the --output of a `maskmill label`.")
    return recorded


def _short(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 40 else f"{text[:12]}..{text[-6:]}"
