"""Takes shards out of a run: mistyped names, shards that are no longer wanted. Their sources aren't touched."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate

from maskmill.models.errors import UsageError
from maskmill.pipeline import run
from maskmill.pipeline.ledger.status import settle
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards import manifest
from maskmill.pipeline.shards.braces import expand_braces
from maskmill.pipeline.shards.listing import GLOB, list_lines
from maskmill.pipeline.shards.shard import Shard
from maskmill.pipeline.stores.publish import remove_all
from maskmill.pipeline.stores.urls import canonical, check, quoted, redact


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """Shards to take out of a run."""

    shards: tuple[Shard, ...]
    """In the order of the manifest."""

    labeled: tuple[Shard, ...]
    """Those of them that have a label file."""


def choose(output: Output, names: Sequence[str], *, labels: bool = False) -> Chosen:
    """The shards of a run that names mean; sources aren't looked at, as a mistyped one isn't there.

    Args:
        output: a run.
        names: as `label` takes them: paths, URLs, brace ranges, `@list.txt`, and patterns that are held against the
            names in the manifest, where `*` stands for any characters.
        labels: shards that have a label file may be among them.

    Raises:
        UsageError: no run, a sealed table, a name that the run wasn't asked for, or a shard that has a label file
            without `labels`.
        OutputError: a place can't be read.
    """
    if run.is_sealed(run.require(output)):
        raise UsageError(
            f"{redact(output.url)}: a sealed table, nothing is taken out of it. Forget shards in the --output that it "
            "was made from, and `maskmill compact` that."
        )
    asked: list[str] = manifest.read(output)["url"].to_pylist()
    known = frozenset(asked)
    wanted: set[str] = set()
    for name in _names(names, known):
        check(name)
        url = canonical(name)
        matches = {url} if url in known else _matches(url, asked)
        if not matches:
            raise UsageError(
                f"{redact(name)!r}: this run was not asked for {redact(url)}. `maskmill status {quoted(output.url)}` "
                "names its failed and missing shards."
            )
        wanted |= matches
    shards = tuple(Shard(url=url, source=url) for url in asked if url in wanted)
    standing = output.done()
    labeled = tuple(shard for shard in shards if shard.label_name in standing)
    if labeled and not labels:
        more = f" and {len(labeled) - 1:,} more" if len(labeled) > 1 else ""
        raise UsageError(
            f"{labeled[0].url}{more}: labeled, and to forget it would lose its labels. Leave it out, or give --labels "
            "to remove its label file too."
        )
    return Chosen(shards=shards, labeled=labeled)


def forget(output: Output, chosen: Chosen) -> None:
    """Take shards out of a run, with their label files and the records of their failures.

    The part of the manifest that says so comes last: what is interrupted is finished by the same call. A `label` at
    work isn't disturbed; if it has one of these shards in work, that one's label file comes all the same, which
    `verify` names.

    Raises:
        OutputError: a place can't be written.
    """
    failures = output.failures()
    failed = [output.failed(shard.label_name) for shard in chosen.shards if shard.label_name in failures]
    remove_all([*(output.label(shard.label_name) for shard in chosen.labeled), *failed])
    manifest.forget(output, chosen.shards)
    # While a job is at work there are parts, and it merges them when it ends.
    if not output.ledger_parts():
        settle(output)


def _names(arguments: Sequence[str], known: Collection[str]) -> Iterator[str]:
    for argument in arguments:
        for line in list_lines(argument[1:]) if argument.startswith("@") else (argument,):
            check(line)
            yield from (line,) if canonical(line) in known else expand_braces(line)


def _matches(pattern: str, urls: Sequence[str]) -> set[str]:
    if not GLOB.search(pattern):
        return set()
    match = re.compile(translate(pattern)).match
    return {url for url in urls if match(url)}
