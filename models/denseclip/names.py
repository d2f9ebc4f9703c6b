"""Whether a DenseCLIP can be asked about a vocabulary: as many names as it was trained with, all short, and bare."""

from collections.abc import Sequence

from maskmill.models.denseclip.config import DenseClipConfig
from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.templates import TEMPLATE_SETS


def check_names(vocabulary: Vocabulary, config: DenseClipConfig, *, model: str) -> None:
    """Refuse other vocabularies. Imports open_clip; call it where that is no burden.

    Args:
        vocabulary: the classes; synonyms are not read.
        config: the model's sizes.
        model: what it is called in errors.

    Raises:
        UsageError: another number of names, or a name of more tokens than the model reads.
    """
    from open_clip.tokenizer import SimpleTokenizer

    if len(vocabulary) != config.num_classes:
        raise UsageError(
            f"--vocab: {len(vocabulary)} names; {model} has a closed vocabulary, and its weights are for the "
            f"{config.num_classes} names of their training. Leave --vocab out, or name the one they were trained with."
        )
    tokenizer = SimpleTokenizer()
    for entry in vocabulary:
        count = len(tokenizer.encode(entry.name)) + 2
        if count > config.name_tokens:
            raise UsageError(
                f"--vocab: id {entry.vocab_id} {entry.name[:40]!r} has {count} tokens with start and end; "
                f"{model} reads {config.name_tokens}. Shorten the name."
            )


def check_templates(templates: Sequence[str], config: DenseClipConfig, *, model: str) -> None:
    """Refuse templates other than the bare name.

    Args:
        templates: prompts with one `{}` each.
        config: the model's sizes.
        model: what it is called in errors.

    Raises:
        UsageError: other templates.
    """
    if tuple(templates) != TEMPLATE_SETS[config.templates]:
        raise UsageError(
            f"--templates: {model} reads bare names after contexts that it has learned. Leave --templates out."
        )
