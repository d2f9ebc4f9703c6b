"""Prompt template sets and files."""

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary.templates import DEFAULT_TEMPLATES, TEMPLATE_SETS, load_templates, templates_hash


def test_the_default_is_the_published_14_prompts():
    # The hash was computed over the list that the golden numbers were made with.
    templates = TEMPLATE_SETS[DEFAULT_TEMPLATES]
    assert len(templates) == 14
    assert templates_hash(templates) == "a81385a730f6cf6ec6eecb367bfa385c0436a126f6f926cbf3780a004f2b82ab"


def test_the_hash_moves_with_order_and_text():
    assert len({templates_hash(t) for t in (["a {}", "b {}"], ["b {}", "a {}"], ["a {}"], ["a {}", "b {} "])}) == 4


def test_every_set_has_one_place_for_the_name_in_each_template():
    assert all(template.count("{}") == 1 for templates in TEMPLATE_SETS.values() for template in templates)


def test_a_file_is_one_template_a_line(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("# mine\na drawing of a {}.\n\n{} on paper\n")
    assert load_templates(str(path)) == ("a drawing of a {}.", "{} on paper")
    assert load_templates("single") == ("a photo of a {}.",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo\n", "line 1 'a photo': expected exactly one {}"),
        ("{}\n{} and {}\n", "line 2"),
        ("{0.__class__} {}\n", "line 1"),
        ("{}\n{}\n", "line 2 '{}': repeats an earlier line"),
        ("{}" + "x" * 300, "302 characters; expected at most 256"),
        ("a\x07 {}\n", "control character"),
        ("# nothing\n", "0 templates"),
        ("\n".join(f"{i} {{}}" for i in range(257)), "257 templates"),
    ],
)
def test_a_wrong_file_is_refused_by_line(tmp_path, text, expected):
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        load_templates(str(path))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_set_says_which_there_are():
    with pytest.raises(UsageError, match="no such template set or file; sets are vild14, single"):
        load_templates("vild")
