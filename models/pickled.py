"""What a pickle describes, as plain data: nothing that it names is imported, called or executed.

The standard library's `pickletools` splits the bytes into opcodes; a stack machine puts lists, tuples and dicts
together and leaves an inert stand-in where a pickle would make any other object. What a few names stand for instead is
said by whoever reads (`calls`): `torch_file.py` for tensors.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_BYTES = 64 * 2**20
"""Longest pickle that is read. That of a checkpoint holds names and shapes; the numbers lie outside it."""

MAX_OPCODES = 1_000_000
"""Most opcodes of a pickle; each makes at most one small object, so that memory stays within a few hundred MB. A tensor
takes about 30."""

_LONGEST_NAME = 1_000
"""Most characters of a module and an attribute."""

Calls = Mapping[str, Callable[[tuple[Any, ...]], object]]
"""Dotted name -> what stands for a call of it with these arguments. These functions are ours; they may raise
`PickleError`."""


class PickleError(ValueError):
    """The bytes are no pickle, are cut short, or pass a bound."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the pickle would have imported."""

    name: str
    """Dotted: module and attribute."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """Where an object of a foreign kind would have been."""

    name: str
    """Dotted name of what the pickle would have called."""


def read(source: io.BytesIO, calls: Calls, persistent: Callable[[object], object]) -> object:
    """The value of the pickle that begins where `source` stands; `source` is left behind its end.

    Dicts keep the items whose keys are strings; sets, and attributes of objects, are left out.

    Args:
        source: at most `MAX_BYTES` are read.
        calls: what is put in the place of calls.
        persistent: what a persistent id stands for.

    Raises:
        PickleError: see there.
    """
    machine = _Machine(calls=calls, persistent=persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(source)):
            if count >= MAX_OPCODES:
                raise PickleError(f"more than {MAX_OPCODES:,} steps")
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, UnicodeError) as error:
        raise PickleError(f"not a whole pickle ({type(error).__name__})") from error
    raise PickleError("not a whole pickle")


_TEXT_OR_NUMBER = frozenset({
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
})  # fmt: skip
"""Opcodes whose argument is the value."""

_CONSTANTS: Mapping[str, object] = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "EMPTY_SET": StandIn("set"),
}  # fmt: skip


@dataclass(kw_only=True, slots=True)
class _Machine:
    """The state of a pickle that is being read."""

    calls: Calls
    persistent: Callable[[object], object]
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def step(self, name: str, argument: Any) -> None:
        """Do one opcode.

        Raises:
            PickleError: one that no file needs, such as those of copyreg's extension codes.
            IndexError, KeyError, TypeError: the stack doesn't hold what it takes.
        """
        if name in _TEXT_OR_NUMBER:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif (action := _ACTIONS.get(name)) is not None:
            action(self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise PickleError(f"opcode {name}")

    def since_mark(self) -> list[Any]:
        """Take what was pushed since the last mark."""
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def call(self, callee: object, arguments: tuple[Any, ...]) -> None:
        """Push what stands for a call."""
        if not isinstance(callee, Global):
            self.stack.append(StandIn("object"))
        elif (known := self.calls.get(callee.name)) is not None:
            self.stack.append(known(arguments))
        else:
            self.stack.append(StandIn(callee.name))


def _mark(machine: _Machine, _: Any) -> None:
    machine.marks.append(len(machine.stack))


def _pop(machine: _Machine, _: Any) -> None:
    # A pickle drops a mark that nothing lies on with the same opcode.
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _drop(machine: _Machine, _: Any) -> None:
    machine.stack.pop()


def _drop_to_mark(machine: _Machine, _: Any) -> None:
    machine.since_mark()


def _frozen_set(machine: _Machine, _: Any) -> None:
    machine.since_mark()
    machine.stack.append(StandIn("frozenset"))


def _remember(machine: _Machine, place: Any) -> None:
    machine.memo[len(machine.memo) if place is None else place] = machine.stack[-1]


def _recall(machine: _Machine, place: Any) -> None:
    machine.stack.append(machine.memo[place])


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def make(machine: _Machine, _: Any) -> None:
        items = tuple(machine.stack[-count:])
        if len(items) < count:
            raise IndexError
        machine.stack[-count:] = [items]

    return make


def _append(machine: _Machine, items: list[Any]) -> None:
    if isinstance(target := machine.stack[-1], list):
        target.extend(items)


def _set_items(machine: _Machine, items: list[Any]) -> None:
    if isinstance(target := machine.stack[-1], dict):
        target.update(_items(items))


def _items(flat: list[Any]) -> dict[str, Any]:
    # Other keys could be made to collide, or not to hash at all.
    return {key: value for key, value in zip(flat[::2], flat[1::2], strict=True) if isinstance(key, str)}


def _name_on_stack(machine: _Machine, _: Any) -> None:
    attribute, module = machine.stack.pop(), machine.stack.pop()
    if len(module) + len(attribute) > _LONGEST_NAME:  # joined, it is new memory each time
        raise PickleError("a name that is too long")
    machine.stack.append(Global(f"{module:s}.{attribute:s}"))


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, callee = machine.stack.pop(), machine.stack.pop()
    machine.call(callee, arguments if isinstance(arguments, tuple) else ())


def _new_with_names(machine: _Machine, _: Any) -> None:
    del machine.stack[-2:]
    machine.call(machine.stack.pop(), ())


def _object(machine: _Machine, _: Any) -> None:
    callee, *arguments = machine.since_mark()
    machine.call(callee, tuple(arguments))


_ACTIONS: Mapping[str, Callable[[_Machine, Any], None]] = {
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _drop_to_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _remember),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _recall),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "DICT": lambda machine, _: machine.stack.append(_items(machine.since_mark())),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    **{f"TUPLE{count}": _tuple_of(count) for count in (1, 2, 3)},
    "FROZENSET": _frozen_set,
    "APPEND": lambda machine, _: _append(machine, [machine.stack.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.since_mark()),
    "ADDITEMS": _drop_to_mark,
    "SETITEM": lambda machine, _: _set_items(machine, [machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.since_mark()),
    "GLOBAL": lambda machine, name: machine.stack.append(Global(name.replace(" ", ".", 1))),
    "STACK_GLOBAL": _name_on_stack,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_with_names,
    "INST": lambda machine, name: machine.call(Global(name.replace(" ", ".", 1)), tuple(machine.since_mark())),
    "OBJ": _object,
    "BUILD": _drop,  # the attributes of an object
    "PERSID": lambda machine, key: machine.stack.append(machine.persistent(key)),
    "BINPERSID": lambda machine, _: machine.stack.append(machine.persistent(machine.stack.pop())),
}
