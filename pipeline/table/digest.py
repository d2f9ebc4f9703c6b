"""A digest over rows in their order, in whatever batches, row groups or files they come. It says nothing of bytes."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class RowsDigest:
    """Takes rows piece by piece; two sequences of rows have one digest if and only if every value is bit-equal.

    Values, lengths and nulls of a column are streams of bytes of their own, so that where a piece ends leaves no trace.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._streams: dict[str, hashlib._Hash] = {}

    def add(self, rows: pa.RecordBatch | pa.Table) -> None:
        """Take the next rows."""
        self.rows += rows.num_rows
        for batch in rows.to_batches() if isinstance(rows, pa.Table) else [rows]:
            for field, column in zip(batch.schema, batch.columns, strict=True):
                self._take(field.name, column)

    def hexdigest(self) -> str:
        """sha256 over the rows so far, in hexadecimal."""
        whole = hashlib.sha256(str(self.rows).encode())
        for name, stream in sorted(self._streams.items()):
            whole.update(f"\n{name} {stream.hexdigest()}".encode())
        return whole.hexdigest()

    def _take(self, name: str, array: pa.Array) -> None:
        self._feed(f"{name} valid {array.type}", array.is_valid().cast(pa.uint8()))
        # What lies beneath a null is nobody's business, and no writer keeps it.
        array = array.drop_null()
        kind = array.type
        if pa.types.is_struct(kind):
            for field, child in zip(kind, array.flatten(), strict=True):
                self._take(f"{name}.{field.name}", child)
        elif pa.types.is_list(kind):
            self._feed(f"{name} length", pc.list_value_length(array))
            self._take(f"{name}[]", array.flatten())
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            self._feed(f"{name} length", pc.binary_length(array))
            _, offsets, data = array.buffers()
            if len(array):
                bounds = np.frombuffer(offsets, np.int32)
                start, end = int(bounds[array.offset]), int(bounds[array.offset + len(array)])
                if end > start:
                    self._stream(name).update(memoryview(data)[start:end])
        else:
            self._feed(name, array)

    def _feed(self, name: str, values: pa.Array) -> None:
        self._stream(name).update(values.to_numpy(zero_copy_only=False).tobytes())

    def _stream(self, name: str) -> "hashlib._Hash":
        return self._streams.setdefault(name, hashlib.sha256())
