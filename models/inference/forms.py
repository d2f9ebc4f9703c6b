"""The inference forms of a mask classifier and their thresholds. Configuration only: the arithmetic stands beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maskmill.models import arguments
from maskmill.models.architecture import Form
from maskmill.models.errors import UsageError


def _share(name: str, value: float) -> None:
    arguments.number(name, value)
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"{name} {value!r}: expected a share between 0 and 1. Try the default.")


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralInference:
    """Non-overlapping segments: each pixel goes to the query with the highest score x mask probability."""

    score_threshold: float = 0.5
    """Keep a query when its top class has at least this probability. Lower finds more, and more of it is wrong."""

    overlap_threshold: float = 0.8
    """Keep a segment when it holds at least this share of its query's own mask. Higher drops what others cover."""

    def __post_init__(self) -> None:
        _share("--score-threshold", self.score_threshold)
        _share("--overlap-threshold", self.overlap_threshold)


@dataclass(frozen=True, kw_only=True, slots=True)
class SemanticInference:
    """One segment a class: each pixel takes the class with the highest sum of class x mask probability."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueriesInference:
    """Overlapping segments: every query whose top class beats background and the threshold, with its whole mask."""

    score_threshold: float = 0.5
    """Keep a query when its top class has at least this probability. Lower finds more, and more of it is wrong."""

    def __post_init__(self) -> None:
        _share("--score-threshold", self.score_threshold)


Inference = GeneralInference | SemanticInference | QueriesInference
"""Any of the three forms (MaskFormer, NeurIPS 2021, section 3.4)."""

INFERENCES: Mapping[Form, type[Inference]] = {
    "general": GeneralInference,
    "semantic": SemanticInference,
    "queries": QueriesInference,
}
"""The forms by name."""


def default_inference(form: Form) -> Inference:
    """A form with its default thresholds."""
    return INFERENCES[form]()


def offered(inference: Inference, forms: Sequence[Form], model: str) -> None:
    """Refuse a form that a model doesn't offer.

    Raises:
        UsageError: it doesn't.
    """
    if not isinstance(inference, tuple(INFERENCES[form] for form in forms)):
        asked = next(name for name, form in INFERENCES.items() if isinstance(inference, form))
        raise UsageError(
            f"--inference {asked}: {model} offers {', '.join(forms)} alone. Leave it out, or name another --model."
        )
