"""What an archive holds: its files, and the links that lead to them. Reads nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from posixpath import dirname, isabs, join, normpath

from maskmill.pipeline.reading.errors import SampleReason

_SHOWN = 80
"""Characters of a name in an error."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the bytes of a member can't be had."""

    reason: SampleReason
    """The word that a sample fails with whose image it is."""

    detail: str
    """One line that says more."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the archive, or a link to one."""

    name: str
    """Its name, valid as UTF-8: bytes that are not are written as \\xNN."""

    offset: int
    """First byte of its body in the archive; of a link, of the body of the file that it leads to."""

    size: int
    """Bytes of that body."""

    plain: bool = True
    """False where the name was not UTF-8."""

    fault: Fault | None = None
    """Why there is no such body; None where there is one."""

    link: bool = False
    """Whether it is a link."""


class Names:
    """The members of an archive so far by their names, by which its links are resolved.

    A link never leads out of the archive, nor to what comes after it, so no chain of links is ever followed: each is
    resolved when it is met, from what was resolved before. Nothing is kept until the first link is met.
    """

    def __init__(self) -> None:
        self._known: dict[str, Member] | None = None

    def add(self, member: Member) -> None:
        """Let later links lead to a member."""
        if self._known is not None:
            self._known[normpath(member.name)] = member

    def linked(self, link: Member, target: str, *, symbolic: bool, earlier: Iterable[Member]) -> Member:
        """A link as the member that it leads to.

        Args:
            link: its name; it has no body of its own.
            target: what it names: for a symbolic link a path from its own folder, else the name of a member.
            symbolic: which of the two.
            earlier: all members before it.

        Returns:
            The link with the body, or the fault, of its target; with the fault `link` where no earlier member has that
            name. Of several, the last has it, as when the archive is unpacked.
        """
        if self._known is None:
            self._known = {}
            for member in earlier:
                self.add(member)
        path = normpath(join(dirname(link.name), target) if symbolic else target)
        found = None if symbolic and isabs(target) else self._known.get(path)
        if found is not None:
            return Member(link.name, found.offset, found.size, link.plain, found.fault, link=True)
        kind = "symbolic link" if symbolic else "hard link"
        fault = Fault(
            "link", f"{link.name[:_SHOWN]!r} is a {kind} to {target[:_SHOWN]!r}, no earlier file of the archive"
        )
        return Member(link.name, link.offset, 0, link.plain, fault, link=True)
