"""Whether every prompt fits into what CLIP reads: the exact count, with CLIP's tokeniser. Nothing is encoded here."""

from collections.abc import Sequence

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary.vocabulary import Vocabulary

CONTEXT_LENGTH = 77
"""Tokens that CLIP's text tower reads, the start and the end token included; more would be cut off silently."""


def check_tokens(vocabulary: Vocabulary, templates: Sequence[str], *, context_length: int = CONTEXT_LENGTH) -> None:
    """Refuse prompts that are longer than the text tower reads. Imports open_clip; call it where that is no burden.

    Args:
        vocabulary: the classes, synonyms included.
        templates: prompts with one `{}` each.
        context_length: tokens that the text tower reads, start and end included.

    Raises:
        UsageError: the longest prompt of some name doesn't fit; names the class, its count and the limit.
    """
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    # Tokens don't cross a space, so a prompt has about as many as its template and its name together; signs that touch
    # may join or split. Only names within 8 tokens of the limit need every prompt counted.
    around = max(len(tokenizer.encode(template.replace("{}", "x"))) for template in templates)
    for entry in vocabulary:
        for name in entry.names:
            if len(tokenizer.encode(name)) + around + 2 <= context_length - 8:
                continue
            longest = max(len(tokenizer.encode(template.replace("{}", name))) + 2 for template in templates)
            if longest > context_length:
                raise UsageError(
                    f"--vocab: id {entry.vocab_id} {name[:40]!r}... makes a prompt of {longest} tokens; CLIP reads "
                    f"{context_length}. Shorten the name, or choose shorter --templates."
                )
