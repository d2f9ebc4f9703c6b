"""Whether weights and names fit a model, without making it: what is told before anything slow begins."""

from collections.abc import Sequence

from maskmill.models import checkpoint
from maskmill.models.families import family_of
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.zoo import spec_of


def check(name: str, *, weights: str | None, vocabulary: Vocabulary | None, templates: Sequence[str]) -> None:
    """Refuse what `load` and `Segmenter.encode_text` would refuse, as far as names, shapes and prompts tell.

    No weights are read, and none are fetched: of those in a store or on the hub only what an earlier download left here
    is looked at. A model's own weights and names fit.

    Args:
        name: one of `MODELS`.
        weights: as for `load`; None for the model's own.
        vocabulary: what the model will be asked about; None for its own label set in its own templates.
        templates: prompts with one `{}` each.

    Raises:
        UsageError: weights that don't fit, names or templates that the model can't be asked about.
        EnvironmentFailure: the weights' store doesn't answer.
    """
    spec = spec_of(name)
    config, state = spec.config, None
    source = spec.source(weights)
    if weights is not None and (state := checkpoint.headers(source)) is not None:
        config = config.fitted_to(state)
        family_of(config).fitted(state, source=source)
    if config.closed and state is None:
        return
    if vocabulary is None and config.closed:
        vocabulary = Vocabulary.load(spec.default_vocabulary)
    if vocabulary is not None:
        family_of(config).check_text(vocabulary, templates, model=name)


def weights_hash(name: str, weights: str | None = None) -> str:
    """The hash that a model with these weights would have (`Segmenter.weights`), without making it.

    Raises:
        UsageError: an unknown name, weights that can't be read.
        EnvironmentFailure: the weights' store or hub doesn't answer.
    """
    spec = spec_of(name)
    state = checkpoint.load(spec.source(weights))
    # All others are the model's, or the weights don't fit.
    return checkpoint.weights_hash({key: value for key, value in state.items() if key not in spec.config.ignored})
