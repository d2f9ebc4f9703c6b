"""Thrift's compact protocol, decoded without a schema: what Parquet's footer and page index are written in.

Source: thrift-compact-protocol.md of Apache Thrift. What the fields mean stands in parquet.thrift of Apache Parquet.
"""

import struct
from typing import Any

Struct = dict[int, Any]
"""Fields by their ids: booleans, `Integer`, floats, bytes, lists, structs. Parquet has no maps: they are refused."""


class Integer(int):
    """An integer that is equal to any plain one, and to one from a file only if both were stored in the same type.

    A reader passes over a field whose type isn't the one that it expects.
    """

    def __eq__(self, other: object) -> bool:
        return int(self) == other if type(other) is int else type(other) is type(self) and int(self) == int(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = int.__hash__


class I8(Integer):
    """8 bits."""


class I16(Integer):
    """16 bits."""


class I32(Integer):
    """32 bits."""


class I64(Integer):
    """64 bits."""


MAX_DEPTH = 32
"""Structs and lists within one another; Parquet has ten."""

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 12
_INTEGERS = {4: I16, 5: I32, 6: I64}


def decode_struct(data: bytes, start: int = 0) -> tuple[Struct, int]:
    """The struct that begins at `start`, and where it ends.

    Raises:
        ValueError: the bytes are no struct.
    """
    decoder = _Decoder(data, start)
    try:
        return decoder.struct(0), decoder.at
    except (IndexError, struct.error) as error:
        raise ValueError("a Thrift struct that ends early") from error


class _Decoder:
    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self.at = start

    def struct(self, depth: int) -> Struct:
        if depth > MAX_DEPTH:
            raise ValueError("Thrift structs too deep")
        fields: Struct = {}
        last = 0
        while (head := self._byte()) != _STOP:
            delta, kind = head >> 4, head & 15
            last = last + delta if delta else self._zigzag()
            if last in fields:
                raise ValueError("a Thrift struct with a field twice")
            fields[last] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind == _BYTE:
            return I8(self._byte())
        if kind in _INTEGERS:
            return _INTEGERS[kind](self._zigzag())
        if kind == _DOUBLE:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind == _LIST:
            return self._list(depth + 1)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"Thrift type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count, kind = head >> 4, head & 15
        if count == 15:
            count = self._varint()
        # Each element takes a byte at least.
        if depth > MAX_DEPTH or count > len(self._data) - self.at:
            raise ValueError("a Thrift list that can't be")
        if kind in (_TRUE, _FALSE):
            return [self._bool() for _ in range(count)]
        return [self._value(kind, depth) for _ in range(count)]

    def _bool(self) -> bool:
        # Some writers say 0 for false, as the protocol's first version did.
        if (byte := self._byte()) > _FALSE:
            raise ValueError("a Thrift boolean that is neither true nor false")
        return byte == _TRUE

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _bytes(self, count: int) -> bytes:
        if count > len(self._data) - self.at:
            raise ValueError("Thrift bytes that end early")
        self.at += count
        return self._data[self.at - count : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a Thrift integer of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
