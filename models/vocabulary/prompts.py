"""Class names put into templates: what a text tower reads, and whose it is. Encoding is the model's part."""

from collections.abc import Sequence

from maskmill.models.vocabulary.vocabulary import Vocabulary


def prompts(vocabulary: Vocabulary, templates: Sequence[str]) -> tuple[list[str], list[int]]:
    """Every name of every class in every template.

    A segmenter's `encode_text` encodes the sentences in any batches it likes, keeps their order, and hands the features
    with the owners to `averaging.average`.

    Args:
        vocabulary: N classes with M names in all, synonyms included.
        templates: T prompts, each with one `{}`; the name goes in raw.

    Returns:
        M x T sentences, a name's T sentences side by side in the order of the templates; and M owners: the vocabulary
        id of each name, ascending.
    """
    owners = [entry.vocab_id for entry in vocabulary for _ in entry.names]
    names = [name for entry in vocabulary for name in entry.names]
    # Not str.format: a brace in a name stays a brace, and a template can't reach into anything.
    return [template.replace("{}", name) for name in names for template in templates], owners
