"""DEST: an empty place at first, and how files get there. What they hold is each format's."""

import json
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskmill.models.errors import UsageError
from maskmill.pipeline.output import Output
from maskmill.pipeline.stores.errors import OutputError, store_errors
from maskmill.pipeline.stores.leftovers import remove_leftovers
from maskmill.pipeline.stores.publish import (
    create_bytes,
    is_local,
    names,
    publish,
    publish_bytes,
    read_bytes,
    remove,
    remove_tree,
)
from maskmill.pipeline.stores.urls import canonical, filesystem, redact

RECORD = "export.json"
"""What stands in every export, written last: one without it is unfinished."""

UNFINISHED = "export-unfinished.json"
"""What stands in an export from its first file to its last: whose files the others are."""

SENDERS = 16
"""Small files on their way to a store at once."""


def encoded(value: dict[str, Any]) -> bytes:
    """A JSON object as it stands in a file of its own."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"


def _without_shards(mark: bytes | None) -> dict[str, Any] | None:
    """What an unfinished export says of its run and options; None where it can't be read."""
    try:
        found = json.loads(mark or b"")
    except (ValueError, RecursionError):
        return None
    return {name: value for name, value in found.items() if name != "shards"} if isinstance(found, dict) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A folder, or a prefix in a store."""

    url: str
    """As `Output.of` makes it: absolute where it is local, no trailing slash."""

    @classmethod
    def of(cls, url: str) -> "Destination":
        """DEST as a user names it."""
        return cls(url=Output.of(url).url)

    def refuse_unless_free(self, output: Output) -> None:
        """Nothing of anybody's is written over, and nothing is written into a label table.

        Raises:
            UsageError: DEST holds anything but an unfinished export, is a file, or lies in OUT.
        """
        here, there = (str(Path(url).resolve()) if is_local(url) else canonical(url) for url in (output.url, self.url))
        if f"{there}/".startswith(f"{here}/"):
            raise UsageError(f"--output {redact(self.url)}: lies in the label table. Name a place beside it.")
        if is_local(self.url) and Path(self.url).exists() and not Path(self.url).is_dir():
            raise UsageError(f"--output {redact(self.url)}: a file. Name a folder that is empty or isn't there.")
        found = names(self.url)
        if RECORD in found:
            self.remove_mark()
            raise UsageError(f"--output {redact(self.url)}: holds an export already. Name another place, or remove it.")
        if found and UNFINISHED not in found:
            raise UsageError(
                f"--output {redact(self.url)}: not empty, and no finished export. Name another place, or remove it."
            )

    def begin(self, identity: dict[str, Any], shards: str, made: Collection[str]) -> bytes:
        """Begin an export in an empty DEST, or begin the one anew that was interrupted there.

        The same export makes the same files, so that writing them again finishes what was begun. Of other shards of the
        same run it makes others, with other numbers: what was begun is removed first.

        Args:
            identity: the run and the options, all that shapes the files beside the shards: JSON values.
            shards: a digest of the shards.
            made: names of what the export makes directly below DEST.

        Returns:
            The mark that says whose files these are, for `finish`.

        Raises:
            UsageError: DEST holds an unfinished export of another identity, or what no export made.
            OutputError: it can't be read or written.
        """
        for folder in ("", *made):
            remove_leftovers(self.place(folder).rstrip("/"))
        if foreign := sorted(set(names(self.url)) - {UNFINISHED, *made}):
            raise UsageError(
                f"--output {redact(self.url)}: an unfinished export, and {foreign[0]!r}, which no export makes. "
                "Name another place, or remove it."
            )
        mark = encoded({**identity, "shards": shards})
        create_bytes(mark, self.place(UNFINISHED))
        there = read_bytes(self.place(UNFINISHED))
        if there == mark:
            return mark
        if _without_shards(there) != _without_shards(mark):
            raise UsageError(
                f"--output {redact(self.url)}: an unfinished export of another table, or with other options "
                f"({UNFINISHED} has them). Give the same ones to finish it, or remove it."
            )
        for name in made:
            remove_tree(self.place(name))
        # After them: were it there before and this process killed, files of the earlier shards would stay.
        publish_bytes(mark, self.place(UNFINISHED))
        return mark

    def finish(self, record: dict[str, Any], mark: bytes) -> None:
        """Leave `RECORD`, once all else is there.

        Args:
            record: what it holds.
            mark: what `begin` returned.

        Raises:
            UsageError: another export has begun there anew meanwhile.
            OutputError: it can't be written.
        """
        # None where the very same export, at work beside this one, has finished.
        if read_bytes(self.place(UNFINISHED)) not in (None, mark):
            raise UsageError(
                f"--output {redact(self.url)}: another export, of more shards or fewer, has begun there anew. Let that "
                "one end, or name another place."
            )
        publish_bytes(encoded(record), self.place(RECORD))
        self.remove_mark()

    def remove_mark(self) -> None:
        """Take away what says that an export is unfinished: it is finished, or nothing of it is left."""
        # A store may let one write and not delete. `RECORD` says all the same that the export is finished.
        with suppress(OutputError):
            remove(self.place(UNFINISHED))

    def publish(self, local: Path, name: str) -> None:
        """Put a local file there, all at once.

        Raises:
            OutputError: it can't be written.
        """
        publish(local, self.place(name))

    @contextmanager
    def sending(self) -> Iterator["Sender"]:
        """Puts many small files there; all of them have arrived when the `with` ends.

        Raises:
            OutputError: one can't be written; when it is put, or a later one, or at the end.
        """
        with ThreadPoolExecutor(SENDERS) as threads:
            sender = Sender(destination=self, threads=None if is_local(self.url) else threads)
            yield sender
            sender.drain(0)

    def place(self, name: str) -> str:
        """The URL of a file below DEST."""
        return f"{self.url}/{name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sender:
    """Files on their way."""

    destination: Destination
    threads: ThreadPoolExecutor | None
    """None: written at once, by the caller."""

    _pending: deque[Future[None]] = field(default_factory=deque)
    _folders: set[Path] = field(default_factory=set)

    def put(self, name: str, data: bytes) -> None:
        """Write a file. On a file system it isn't synced, one by one: without `RECORD` nobody takes it for whole."""
        url = self.destination.place(name)
        if self.threads is not None:
            self._pending.append(self.threads.submit(publish_bytes, data, url))
            self.drain(2 * SENDERS)
            return
        path = Path(filesystem(url)[1])
        with store_errors(url, "written"):
            if path.parent not in self._folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._folders.add(path.parent)
            path.write_bytes(data)

    def drain(self, left: int) -> None:
        """Wait until so many are on their way."""
        while len(self._pending) > left:
            self._pending.popleft().result()
