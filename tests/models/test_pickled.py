"""Pickles read as data: equal to what pickle itself makes of plain values, inert for all else, bounded."""

import argparse
import collections
import contextlib
import io
import os
import pickle
import sys
import tracemalloc

import pytest

from maskmill.models import pickled
from maskmill.models.pickled import Global, PickleError, StandIn

SHARED = ["once"]
PLAIN = {
    "none": None, "flags": [True, False], "numbers": [0, -1, 255, 256, 65_536, 2**40, -(2**70), 1.5, float("inf")],
    "texts": ["", "a", "ü" * 300, "\n", "\\u0041"], "bytes": [b"", b"a" * 300], "array": bytearray(b"ab"),
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "nested": {"a": {"b": [{}]}}, "shared": [SHARED, SHARED],
}  # fmt: skip


def read(data: bytes) -> object:
    return pickled.read(io.BytesIO(data), {}, lambda key: ("persistent", key))


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_what_pickle_makes_of_them(protocol):
    # Bytes, then bytearrays, are made by a call in the protocols before these.
    value = {name: one for name, one in PLAIN.items() if protocol >= {"bytes": 3, "array": 5}.get(name, 0)}
    assert read(pickle.dumps(value, protocol)) == value


def test_the_source_is_left_behind_the_pickle():
    source = io.BytesIO(pickle.dumps(1) + pickle.dumps("two") + b"rest")
    assert [pickled.read(source, {}, repr) for _ in range(2)] == [1, "two"]
    assert source.read() == b"rest"


def test_what_is_shared_stays_shared():
    found = read(pickle.dumps([SHARED, SHARED]))
    assert isinstance(found, list)
    assert found[0] is found[1]


@pytest.mark.parametrize("protocol", range(6))
def test_other_objects_are_inert(protocol):
    saved = {"args": argparse.Namespace(a=1), "names": {"a", "b"}, "type": os.system, 3: "not text", "last": 1}
    found = read(pickle.dumps(saved, protocol))
    assert isinstance(found, dict)
    assert found.keys() == {"args", "names", "type", "last"}
    assert isinstance(found["args"], StandIn)
    assert isinstance(found["names"], StandIn)
    assert found["type"] == Global("posix.system")


def test_calls_are_answered_by_the_readers_own_functions():
    found = pickled.read(
        io.BytesIO(pickle.dumps([collections.OrderedDict(), argparse.Namespace()], 2)),
        {"collections.OrderedDict": lambda arguments: {"arguments": arguments}},
        repr,
    )
    assert found == [{"arguments": ()}, StandIn("argparse.Namespace")]


TOUCH = "touch {canary}"
HOSTILE = {
    "REDUCE": b"cos\nsystem\n(V" + TOUCH.encode() + b"\ntR.",
    "REDUCE within": b"(dVa\n(lcos\nsystem\n(V" + TOUCH.encode() + b"\ntRas.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93(V" + TOUCH.encode() + b"\ntR.",
    "INST": b"(V" + TOUCH.encode() + b"\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nV" + TOUCH.encode() + b"\no.",
    "NEWOBJ": b"\x80\x02cos\nsystem\n(V" + TOUCH.encode() + b"\nt\x81.",
    "NEWOBJ_EX": b"\x80\x04cos\nsystem\n(V" + TOUCH.encode() + b"\nt}\x92.",
    "a call of what a call gave": b"cbuiltins\ngetattr\n(cos\nVsystem\ntR(V" + TOUCH.encode() + b"\ntR.",
    "eval": b"cbuiltins\neval\n(V__import__('os').system('" + TOUCH.encode() + b"')\ntR.",
    "a persistent id": b"cos\nsystem\n(V" + TOUCH.encode() + b"\ntRQ.",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_executed(tmp_path, name):
    canary = tmp_path / "ran"
    read(HOSTILE[name].replace(b"{canary}", str(canary).encode()))
    assert not canary.exists()


def test_state_is_set_on_nothing():
    # The state of an object, of a class, of a function, and of a module's attribute.
    for target in (b"cos\nsystem\n", b"cmaskmill.models.pickled\nread\n", b"ccollections\nOrderedDict\n(tR"):
        before = dict(vars(pickled.read))
        found = read(target + b"(dV__setstate__\ncos\nsystem\nsVchanged\nI1\nsb.")
        assert vars(pickled.read) == before
        assert not hasattr(found, "changed")


def test_nothing_is_imported():
    assert "antigravity" not in sys.modules
    assert read(b"cantigravity\nfly\n.") == Global("antigravity.fly")
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "data",
    [
        b"", b".", b"N", b"0.", b"(.", b"R.", b"t.", b"s.", b"u.", b"a.", b"h\x05.", b"\x85.", b"NN\x87.", b"(Nu.",
        b"\x80\x04NN\x93.", b"\xff.", b"I1" + b"0" * 10_000 + b"\n.", b"\x8e" + b"\xff" * 8 + b"x.",
        b"X\xff\xff\xff\x7fx.", b"\x8b\xff\xff\xff\x7f.", b"\x82\x01.", b"\x97.", pickle.dumps(PLAIN)[:-9],
    ],
    ids=lambda data: repr(data)[:24],
)  # fmt: skip
def test_a_damaged_pickle_is_refused(data):
    with pytest.raises(PickleError):
        read(data)


def peak_of(data: bytes) -> int:
    tracemalloc.start()
    try:
        with contextlib.suppress(PickleError):
            read(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bound_on_opcodes_is_kept(monkeypatch):
    monkeypatch.setattr(pickled, "MAX_OPCODES", 1_000)
    assert read(b"]" + b"Na" * 499 + b".") == [None] * 499
    with pytest.raises(PickleError, match="more than 1,000 steps"):
        read(b"]" + b"Na" * 500 + b".")


@pytest.mark.parametrize(
    "data",
    [
        b"N" + b"r\xff\xff\xff\x7f" * 1_000 + b".",  # memo places far away
        b"]q\x00" + b"(h\x00h\x00e0" * 1_000 + b"h\x00.",  # a list that holds itself over and over
        b"V" + b"x" * 500_000 + b"\nq\x000" + b"h\x00h\x00\x930" * 1_000 + b".",  # long texts joined
        b"(" * 20_000 + b".",
        b"]" * 20_000 + b"a" * 19_999 + b".",
        b"\x80\x02ccollections\nOrderedDict\nq\x01](N" + b"N" * 5_000 + b"eq\x02\x85q\x030"
        + b"h\x01h\x03R0" * 1_000 + b".",
    ],
    ids=["memo", "itself", "names", "marks", "deep", "copies"],
)  # fmt: skip
def test_memory_stays_with_the_length_of_the_pickle(data):
    assert peak_of(data) < 200 * len(data) + 1_000_000
