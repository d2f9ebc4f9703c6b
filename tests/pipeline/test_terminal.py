"""What is printed: every character of it shows, and none of it acts."""

import io
import json
import unicodedata

import pytest

from maskmill.pipeline.terminal import acts, escaped, escaped_json, print_lines

HOSTILE = "a\x1b]0;title\x07\x1b[2J\r\n\x9b31m\u202egpj.\u2066\u200b\x7f\U000e0041\udcff[red]{b}"


def test_each_character_that_acts_is_written_as_python_writes_it():
    assert escaped(HOSTILE) == (
        r"a\x1b]0;title\x07\x1b[2J\r\n\x9b31m\u202egpj.\u2066\u200b\x7f\U000e0041\udcff[red]{b}"
    )
    assert escaped("plain, 斑馬, é, \xa0, \u3000, 😀") == "plain, 斑馬, é, \xa0, \u3000, 😀"


@pytest.mark.parametrize("category", ["Cc", "Cf", "Zl", "Zp"])
def test_no_character_of_a_category_is_left(category):
    text = "".join(chr(n) for n in range(0x110000) if unicodedata.category(chr(n)) == category)
    assert text
    assert not any(map(acts, escaped(text)))
    assert not any(map(acts, escaped_json(json.dumps(text, ensure_ascii=False))))
    assert json.loads(escaped_json(json.dumps(text, ensure_ascii=False))) == text


def test_a_line_end_inside_a_line_is_none():
    file = io.StringIO()
    print_lines("one\ntwo", 3, to=file)
    assert file.getvalue() == "one\\ntwo\n3\n"


def test_json_keeps_its_own_lines():
    assert escaped_json('{\n  "a": "\x9b"\n}') == '{\n  "a": "\\u009b"\n}'
