"""Vocabularies as values: ids, hashes, what two names are compared by."""

import hashlib
import pickle
import subprocess
import sys

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Entry, Vocabulary
from maskmill.models.vocabulary.vocabulary import clean


def test_ids_are_positions_and_entries_are_reached_by_them():
    vocabulary = Vocabulary.of(["cat", "hot dog"])
    assert [entry.vocab_id for entry in vocabulary] == [0, 1]
    assert vocabulary[1] == Entry(vocab_id=1, name="hot dog", source="names")
    assert (len(vocabulary), vocabulary.names) == (2, ("cat", "hot dog"))


def test_an_entry_out_of_place_is_an_invariant_broken():
    with pytest.raises(AssertionError):
        Vocabulary((Entry(vocab_id=1, name="cat"),))


def test_the_hash_is_sha256_of_ids_names_synonyms_and_kinds():
    entries = (
        Entry(vocab_id=0, name="café", synonyms=("coffee house",), kind="thing", source="a"),
        Entry(vocab_id=1, name="sky"),
    )
    stated = '[[0,"café",["coffee house"],"thing"],[1,"sky",[],null]]'
    assert Vocabulary(entries).hash == hashlib.sha256(stated.encode()).hexdigest()


def test_the_hash_moves_with_all_but_the_source():
    base = Entry(vocab_id=0, name="cat", synonyms=("kitty",), kind="thing", source="a")
    same = Entry(vocab_id=0, name="cat", synonyms=("kitty",), kind="thing", source="b")
    others = [
        Entry(vocab_id=0, name="Cat", synonyms=("kitty",), kind="thing"),
        Entry(vocab_id=0, name="cat", synonyms=(), kind="thing"),
        Entry(vocab_id=0, name="cat", synonyms=("kitty",), kind="stuff"),
        Entry(vocab_id=0, name="cat", synonyms=("kitty",)),
    ]
    assert Vocabulary((base,)).hash == Vocabulary((same,)).hash
    assert len({Vocabulary((entry,)).hash for entry in [base, *others]}) == 5


def test_order_moves_the_hash():
    assert Vocabulary.of(["cat", "dog"]).hash != Vocabulary.of(["dog", "cat"]).hash


def test_a_vocabulary_travels_between_processes():
    vocabulary = Vocabulary.load("voc-20")
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy == vocabulary
    assert copy.hash == vocabulary.hash


def test_plain_names_are_checked_as_a_files_are():
    with pytest.raises(UsageError, match="name 2: name 'CAT' is also in name 1"):
        Vocabulary.of(["cat", "CAT"])


@pytest.mark.parametrize("names", ["cat", "brick, sky, sand", b"cat", None, 3, ["cat", 3], ["cat", None], [["cat"]]])
def test_what_is_no_list_of_texts_is_refused(names):
    with pytest.raises(UsageError, match=r"names.*: expected a list of texts, such as \['cat', 'wet road'\]"):
        Vocabulary.of(names)


@pytest.mark.parametrize("named", [None, 3, ["cat"], b"voc-20"])
def test_what_is_no_path_is_refused(named):
    with pytest.raises(UsageError, match=r"name_or_url=.*: expected a path or a URL"):
        Vocabulary.load(named)


def test_a_path_is_read(tmp_path):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    assert Vocabulary.load(tmp_path / "names.txt").names == ("cat", "dog")


@pytest.mark.parametrize("names", [{"cat", "dog"}, frozenset({"cat"}), {"cat": 5, "dog": 3}])
def test_names_without_an_order_of_their_own_are_refused(names):
    with pytest.raises(UsageError, match="expected a list of texts"):
        Vocabulary.of(names)


@pytest.mark.parametrize("entries", [(), ["cat"], "cat", None])
def test_a_vocabulary_of_other_things_says_how_to_make_one(entries):
    with pytest.raises(UsageError, match=r"Make a vocabulary with Vocabulary.of or .load"):
        Vocabulary(entries)


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("  Hot \u00a0 DOG ", "hot dog"),
        ("ﬁsh", "fish"),
        ("\uff37ide", "wide"),
        ("STRASSE", "strasse"),
        ("straße", "strasse"),
        ("cafe\u0301", "café"),
        ("zero\u200bwidth", "zerowidth"),
        ("\u200b\ufeff", ""),
        ("sky-other", "sky-other"),
    ],
)
def test_cleaning_drops_what_a_reader_does_not_see(name, cleaned):
    assert clean(name) == cleaned


def test_importing_and_loading_a_label_set_imports_nothing_heavy():
    code = (
        "import sys; from maskmill.models.vocabulary import Vocabulary; Vocabulary.load('ade-847');"
        "import maskmill.models.vocabulary.templates, maskmill.models.vocabulary.scenes;"
        "print(sorted({'torch', 'open_clip', 'pyarrow', 'fsspec', 'ray', 'numpy'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
