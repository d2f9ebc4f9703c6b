import dataclasses

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from maskmill.models.clip.tokenizer import Tokenizer
from maskmill.models.errors import UsageError
from maskmill.models.san.config import SAN_TINY, SAN_VIT_B16
from maskmill.models.vocabulary.scenes import names
from maskmill.models.vocabulary.templates import TEMPLATE_SETS
from maskmill.pipeline.synthesis.pairs import TEXTS
from maskmill.pipeline.synthesis.scene import caption

TEXT = SAN_TINY.clip.text_cfg


def test_a_whole_text_tower_reads_clips_own_ids():
    sentences = ["a photo of a hot-air balloon!", "x"]
    found = Tokenizer(SAN_VIT_B16.clip.text_cfg, model="m")(sentences)
    assert torch.equal(found, SimpleTokenizer(context_length=77)(sentences))


def test_rows_stand_for_the_ids_they_were_kept_from():
    sentences = [template.replace("{}", name) for template in TEMPLATE_SETS["vild14"] for name in names()]
    rows, ids = Tokenizer(TEXT, model="m")(sentences), SimpleTokenizer(context_length=77)(sentences)
    kept = torch.tensor(TEXT.kept_tokens)
    assert torch.equal(torch.where(ids > 0, kept[rows], 0), ids)
    assert torch.equal(rows.argmax(-1), ids.argmax(-1))


def test_every_text_of_training_has_its_tokens():
    words = names()
    captions = [caption([words[i], words[(i + 7) % 40], words[(i + 23) % 40]], words[40 + i % 8]) for i in range(40)]
    Tokenizer(TEXT, model="m")([*captions, *(text for group in TEXTS for text in group)])


@pytest.mark.parametrize(("sentence", "token"), [("a photo of a cat.", "cat"), ("a red! star", "!")])
def test_a_word_without_a_row_is_named_in_one_line(sentence, token):
    with pytest.raises(UsageError) as raised:
        Tokenizer(TEXT, model="san-tiny")(["a red star", sentence])
    said = str(raised.value)
    assert repr(sentence) in said
    assert f"san-tiny has no token '{token}'" in said
    assert "\n" not in said


def test_kept_tokens_that_do_not_fit_the_rows_are_refused():
    for kept in (TEXT.kept_tokens[1:], TEXT.kept_tokens[::-1], (TEXT.kept_tokens[0], *TEXT.kept_tokens[:-1])):
        clip = dataclasses.replace(SAN_TINY.clip, text_cfg=dataclasses.replace(TEXT, kept_tokens=kept))
        with pytest.raises(UsageError, match="kept_tokens"):
            dataclasses.replace(SAN_TINY, clip=clip)
