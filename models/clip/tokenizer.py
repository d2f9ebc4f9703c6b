"""From prompts to rows of a text tower's token embedding, also where it keeps only some of CLIP's tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maskmill.models.clip.config import ClipTextConfig
from maskmill.models.errors import UsageError


class Tokenizer:
    """CLIP's byte-pair encoding for one text tower.

    Args:
        config: the tower's sizes; `kept_tokens` says which ids have a row.
        model: what the model is called in errors.
    """

    def __init__(self, config: ClipTextConfig, *, model: str) -> None:
        from open_clip.tokenizer import SimpleTokenizer

        self._encoding = SimpleTokenizer(context_length=config.context_length)
        self._model = model
        self._rows: Tensor | None = None
        if config.kept_tokens is not None:
            self._rows = torch.full((self._encoding.vocab_size,), -1)
            self._rows[list(config.kept_tokens)] = torch.arange(len(config.kept_tokens))

    def __call__(self, sentences: Sequence[str]) -> Tensor:
        """Rows of the token embedding, int64 [P, context_length]; zeros after each prompt's end token.

        Raises:
            UsageError: a prompt has a token without a row.
        """
        tokens: Tensor = self._encoding(list(sentences))
        if self._rows is None:
            return tokens
        rows = self._rows[tokens]
        # Zeros fill the rest of a line; a zero before its end would be an exclamation mark.
        ends = tokens.argmax(dim=-1)
        rows[torch.arange(tokens.shape[1]) > ends[:, None]] = 0
        unknown = (rows < 0).nonzero()
        if len(unknown):
            sentence, place = unknown[0].tolist()
            piece = self._encoding.decode([int(tokens[sentence, place])]).strip()
            raise UsageError(
                f"prompt {sentences[sentence][:80]!r}: {self._model} has no token {piece!r}; it knows only "
                "the words of its training. Ask about those (--vocab scenes), or use another --model."
            )
        return rows
