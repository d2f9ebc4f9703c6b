"""The exact count of a prompt's tokens, against CLIP's tokeniser."""

import pytest
from open_clip.tokenizer import SimpleTokenizer

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.models.vocabulary.shipped import LABEL_SETS
from maskmill.models.vocabulary.templates import TEMPLATE_SETS
from maskmill.models.vocabulary.tokens import check_tokens

TEMPLATES = TEMPLATE_SETS["vild14"]


@pytest.mark.parametrize("name", LABEL_SETS)
def test_every_shipped_set_fits_under_the_published_prompts(name):
    check_tokens(Vocabulary.load(name), TEMPLATES)


def test_the_limit_is_exactly_what_the_tokeniser_reads():
    # "This is a photo of a medium {}." has 8 tokens around the name, and start and end make 10: 67 tokens are left.
    fits, over = " ".join(["cat"] * 67), " ".join(["cat"] * 68)
    tokenizer = SimpleTokenizer()
    assert len(tokenizer.encode(TEMPLATES[9].replace("{}", fits))) + 2 == 77
    check_tokens(Vocabulary.of(["dog", fits]), TEMPLATES)
    with pytest.raises(UsageError, match=r"id 1 'cat cat .* makes a prompt of 78 tokens; CLIP reads 77"):
        check_tokens(Vocabulary.of(["dog", over]), TEMPLATES)


def test_words_that_are_many_tokens_are_counted_as_such():
    with pytest.raises(UsageError, match="makes a prompt of"):
        check_tokens(Vocabulary.of(["漢字" * 40]), ["{}"])


def test_a_text_tower_with_a_shorter_context_reads_less():
    check_tokens(Vocabulary.of(["cat"]), ["{}"], context_length=16)
    with pytest.raises(UsageError, match="CLIP reads 16"):
        check_tokens(Vocabulary.of(["cat " * 15]), ["{}"], context_length=16)
