"""Vocabulary files as users and strangers write them: three forms, and every way to get one wrong."""

import json

import fsspec
import pytest

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def refused(url):
    with pytest.raises(UsageError) as error:
        Vocabulary.load(url)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("--vocab '")
    return text


def test_a_text_file_is_one_name_a_line_with_comments_and_kinds(write):
    vocabulary = Vocabulary.load(write("pets.txt", "# pets\ncat\tthing\n building, edifice \ngrass\tstuff\n\n\n"))
    assert [(e.vocab_id, e.name, e.kind) for e in vocabulary] == [
        (0, "cat", "thing"),
        (1, "building, edifice", None),
        (2, "grass", "stuff"),
    ]
    assert {entry.source for entry in vocabulary} == {"pets.txt"}


@pytest.mark.parametrize("name", ["names.txt", "names.tsv", "names", "NAMES.TXT"])
def test_text_is_known_by_its_suffix_or_none(write, name):
    assert Vocabulary.load(write(name, "cat\ndog")).names == ("cat", "dog")


def test_windows_line_ends_and_a_byte_order_mark_do_not_reach_the_names(write):
    assert Vocabulary.load(write("names.txt", b"\xef\xbb\xbfcat\r\ndog\r\n")).names == ("cat", "dog")


def test_yaml_and_json_state_names_synonyms_and_kinds_alike(write):
    items = ["sky", {"name": "cat", "synonyms": ["kitty", "tom cat"], "kind": "thing"}, {"name": "mud", "kind": None}]
    yaml_text = "- sky\n- name: cat\n  synonyms: [kitty, tom cat]\n  kind: thing\n- {name: mud, kind: null}\n"
    from_yaml = Vocabulary.load(write("a.yaml", yaml_text))
    from_json = Vocabulary.load(write("a.json", json.dumps(items)))
    assert from_yaml.hash == from_json.hash
    assert from_yaml[1].names == ("cat", "kitty", "tom cat")
    assert [entry.kind for entry in from_yaml] == [None, "thing", None]


def test_any_fsspec_url_is_read():
    fsspec.filesystem("memory").pipe_file("/vocabulary/pets.yml", b"- cat\n- dog\n")
    assert Vocabulary.load("memory://vocabulary/pets.yml").names == ("cat", "dog")


def test_a_chained_url_is_known_by_the_files_own_name():
    fsspec.filesystem("memory").pipe_file("/vocabulary/chained.json", b'["cat"]')
    assert Vocabulary.load("simplecache::memory://vocabulary/chained.json")[0].source == "chained.json"


def test_a_label_sets_name_wins_over_a_file_of_that_name(write, tmp_path, monkeypatch):
    write("voc-20", "cat\n")
    monkeypatch.chdir(tmp_path)
    assert len(Vocabulary.load("voc-20")) == 20
    assert len(Vocabulary.load("./voc-20")) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no names"),
        ("\n\n", "no names"),
        ("# only a comment\n", "no names"),
        ("cat\n\ndog\n", "line 2: an empty name"),
        ("\u200b\n", "line 1: an empty name"),
        ("cat\n# pets\n  CAT\n", "line 3: name 'CAT' is also in line 1 ('cat')"),
        ("caf\u00e9\ncafe\u0301\n", "line 2: name"),
        ("hot dog\nhot  dog\n", "line 2: name"),
        ("cat\tanimal\n", "line 1: 'animal' after a tab"),
        ("cat\tthing\tstuff\n", "line 1: 'thing\\tstuff' after a tab"),
        ("c\x1bat\n", "line 1: name 'c\\x1bat' holds a control character"),
        ("x" * 513, "line 1: name 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'... has 513 characters"),
        ("a " * 76, "has 76 words; CLIP reads at most 75 tokens"),
        ("cat <END_of_text> dog\n", "a mark that CLIP's tokeniser keeps for itself"),
        ("brick, sky, sand\n", "line 1: 'brick, sky, sand' would be a single class. Write one name a line"),
        ("# names\nbrick; sky\n", "line 2: 'brick; sky' would be a single class"),
        ("sky\n'wet road'\n", """line 2: "'wet road'" in quotes"""),
        ("sky\n\u201cwet road\u201d\n", "line 2: '\u201cwet road\u201d' in quotes"),
        ("`sky`\n", "line 1: '`sky`' in quotes"),
        ("1. sky\n2. sand\n", "line 1: '1. sky' begins with a number"),
        ('"sky",\n"sand"\n', "line 1: '\"sky\",' in quotes"),
        ("sky,\nsand\n", "line 1: 'sky,' ends with a separator"),
        ("- sky\n- sand\n", "line 1: '- sky' begins with a list mark"),
        ('["sky", "sand"]\n', 'line 1: \'["sky", "sand"]\' has brackets'),
    ],
)
def test_a_wrong_text_file_is_refused_by_line(write, text, expected):
    assert expected in refused(write("names.txt", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "nothing at the top; expected a list of names"),
        ("cat: 1", "a mapping at the top"),
        ("- cat\n- true\n", "entry 2: true or false; expected a name or a mapping. Quote it"),
        ("- 1e3\n", "entry 1: a number"),
        ("- ~\n", "entry 1: nothing"),
        ("- !!bool maybe\n", "line 1: not plain YAML (a tag, !!bool)"),
        ("- cat\n- !!int ''\n", "line 2: not plain YAML (a tag, !!int)"),
        ("!!timestamp x", "line 1: not plain YAML (a tag, !!timestamp)"),
        ("- !!binary ''\n", "line 1: not plain YAML (a tag, !!binary)"),
        ("&a {x: *a}", "line 1: not plain YAML (an alias)"),
        ("- 1984\n", "entry 1: a number"),
        ("- [cat]\n", "entry 1: a list"),
        ("- ''\n", "entry 1: an empty name"),
        ("- name: ' '\n", "entry 1: an empty name"),
        ("- synonyms: [cat]\n", "entry 1: no name"),
        ("- name: 3\n", "entry 1: name is a number"),
        ("- {name: cat, colour: red}\n", "entry 1: field 'colour'; expected name, synonyms and kind only"),
        ("- {name: cat, synonyms: kitty}\n", "entry 1 'cat': synonyms; expected a list of names"),
        ("- {name: cat, synonyms: [1]}\n", "entry 1 'cat': synonyms; expected a list of names"),
        ("- {name: cat, synonyms: ['']}\n", "entry 1: an empty synonym"),
        ("- {name: cat, synonyms: [Cat]}\n", "entry 1: 'cat' repeats one of its own names"),
        ("- {name: cat, synonyms: [kitty]}\n- kitty\n", "entry 2: name 'kitty' is also in entry 1 ('cat')"),
        (
            "- {name: cat, synonyms: [pet]}\n- {name: dog, synonyms: [PET]}\n",
            "entry 2: synonym 'PET' is also in entry 1",
        ),
        ("- {name: cat, kind: animal}\n", "entry 1: kind 'animal'; expected thing or stuff"),
        ("- {name: cat, kind: 1}\n", "entry 1 'cat': kind is a number"),
        ("- name: cat\n  name: dog\n", "line 1: not plain YAML (a field stands twice"),
        ("- cat\n--- \n- dog\n", "not plain YAML"),
        ("- [unclosed", "not plain YAML"),
        ("- 'nul \x00'", "not plain YAML"),
    ],
)
def test_a_wrong_yaml_file_is_refused_by_entry(write, text, expected):
    assert expected in refused(write("names.yaml", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1: not JSON"),
        ('["cat",\n"dog"', "line 2: not JSON"),
        ('{"name": "cat"}', "a mapping at the top"),
        ("[null]", "entry 1: nothing"),
        ('["\\ud800"]', "entry 1: name '\\ud800' holds a control character"),
        ('[{"name": "cat", "name": "dog"}]', "a field stands twice"),
        ("[" * 100_000, "not plain JSON"),
        ("[" + "9" * 10_000 + "]", "not plain JSON"),
    ],
)
def test_a_wrong_json_file_is_refused_by_entry(write, text, expected):
    assert expected in refused(write("names.json", text))


def test_words_that_yaml_had_taken_for_other_types_are_names(write):
    words = ["no", "on", "y", "1:16", "2024-13-13", "1_000"]
    assert Vocabulary.load(write("names.yaml", "".join(f"- {word}\n" for word in words))).names == tuple(words)


def test_names_with_commas_stay_names_where_each_has_a_line(write):
    lines = "building, edifice\nwall, rock 'n' roll\n5' pole\n"
    assert Vocabulary.load(write("names.txt", lines)).names[0] == "building, edifice"
    assert Vocabulary.load(write("one.yaml", "- building, edifice\n")).names == ("building, edifice",)


def test_very_many_yaml_names_are_refused_by_their_number(write):
    assert "300,000 names; expected at most" in refused(write("names.yaml", "- ab\n" * 300_000))


def test_a_yaml_tag_runs_nothing(write, tmp_path):
    proof = tmp_path / "ran"
    text = f"- !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{proof}']]\n"
    assert "line 1: not plain YAML" in refused(write("names.yaml", text))
    assert not proof.exists()


@pytest.mark.parametrize("use", ["[{}]", "{{'<<': [{}]}}", "{{<<: [{}]}}"])
def test_a_yaml_bomb_stays_small(write, use):
    bomb = "- &a0 {name: cat}\n"
    for level in range(1, 40):
        bomb += f"- &a{level} " + use.format(", ".join([f"*a{level - 1}"] * 9)) + "\n"
    # Expanded, it would never end.
    assert "not plain YAML (an alias)" in refused(write("names.yaml", bomb))


def test_deep_yaml_is_refused(write):
    assert "not plain YAML" in refused(write("names.yaml", "[" * 50_000))


def test_more_names_than_the_bound_are_refused(write):
    assert "32,769 names; expected at most 32,768" in refused(write("n.txt", "\n".join(f"n{i}" for i in range(32_769))))


def test_more_synonyms_than_the_bound_are_refused(write):
    synonyms = [f"s{i}" for i in range(65)]
    assert "entry 1: 65 synonyms" in refused(write("n.json", json.dumps([{"name": "cat", "synonyms": synonyms}])))


def test_an_unknown_suffix_is_refused(write):
    assert "expected a name that ends with .txt, .tsv, .yaml, .yml, .json" in refused(write("names.csv", "cat,dog"))
