"""Names in templates: order and owners."""

from maskmill.models.vocabulary import Entry, Vocabulary
from maskmill.models.vocabulary.prompts import prompts


def test_a_names_sentences_stand_side_by_side_and_names_know_their_class():
    vocabulary = Vocabulary((Entry(vocab_id=0, name="cat", synonyms=("kitty",)), Entry(vocab_id=1, name="sky-other")))
    sentences, owners = prompts(vocabulary, ["a {}.", "{}"])
    assert sentences == ["a cat.", "cat", "a kitty.", "kitty", "a sky-other.", "sky-other"]
    assert owners == [0, 0, 1]


def test_names_go_in_raw_even_with_braces_and_commas():
    sentences, _ = prompts(Vocabulary.of(["building, edifice", "{0.__class__} {}"]), ["a {}."])
    assert sentences == ["a building, edifice.", "a {0.__class__} {}."]
