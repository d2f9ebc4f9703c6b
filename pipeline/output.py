"""The places of one run's files below OUT, and what stands there. Everything else asks here for a path."""

import json
import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.pipeline.stores.publish import create_bytes, is_local, listing, names, publish_bytes, read_bytes
from maskmill.pipeline.stores.urls import canonical, check, redact

LABEL_SUFFIX = ".parquet"
FAILED_SUFFIX = ".json"

_PART = re.compile(r"\d{8}T\d{12}Z[A-Za-z0-9-]*\.parquet")
"""Names that parts of the manifest and of the ledger have; whatever else lies beside them is not read."""

_LABEL = re.compile(r"(.+-[0-9a-f]{16}|part-\d{6})\.parquet")
_FAILED = re.compile(r".+-[0-9a-f]{16}\.json")
_TEXT = re.compile(r"[0-9a-f]{64}\.safetensors")


@dataclass(frozen=True, slots=True)
class Output:
    """OUT: a folder on a file system or a prefix in a store."""

    url: str
    """As the user gave it, made absolute where it is local; no trailing slash."""

    @classmethod
    def of(cls, url: str) -> "Output":
        """OUT as a user names it.

        Raises:
            UsageError: an empty name, or one of a place where no files can stand (see `stores.urls.check`).
        """
        if not url.strip():
            raise UsageError(f"output {url!r}: expected a folder or a URL. Name one, such as ./labels.")
        check(url)
        return cls(canonical(url) if is_local(url) else url.rstrip("/"))

    @property
    def run(self) -> str:
        """The run's identity, JSON."""
        return self._join("run.json")

    @property
    def vocabulary(self) -> str:
        """The vocabulary, Parquet."""
        return self._join("vocabulary.parquet")

    @property
    def ledger(self) -> str:
        """The merged ledger, Parquet."""
        return self._join("ledger.parquet")

    @property
    def labels(self) -> str:
        """The folder of label files."""
        return self._join("labels")

    @property
    def parts(self) -> str:
        """The folder of ledger parts, which exists while a job runs."""
        return self._join("ledger-parts")

    @property
    def folders(self) -> list[str]:
        """All folders that files are published into."""
        return [self.url, *map(self._join, ("text", "manifest", "labels", "failed", "ledger-parts"))]

    def refuse_file(self) -> None:
        """Refuse a local OUT that is a file.

        Raises:
            UsageError: it is.
        """
        if is_local(self.url) and Path(self.url).is_file():
            raise UsageError(f"{self.url}: a file, expected a folder, the --output of a `maskmill label`. Name that.")

    def check_writable(self) -> None:
        """Refuse a local OUT that can't be written, and write nothing; a store says so at the first file.

        Raises:
            UsageError: a file stands where a folder is needed.
            EnvironmentFailure: no permission.
        """
        if not is_local(self.url):
            return
        place = Path(self.url)
        try:
            while not place.exists():
                place = place.parent
            if not place.is_dir():
                raise UsageError(f"--output {self.url!r}: {place} is a file, expected a folder. Name another.")
            allowed = os.access(place, os.W_OK | os.X_OK)
        except OSError:
            allowed = False
        if not allowed:
            raise EnvironmentFailure(
                f"--output {self.url!r}: no permission to write into {place}. Allow it, or name another folder."
            )

    def label(self, name: str) -> str:
        """The label file of the shard with this label name."""
        return self._join("labels", name + LABEL_SUFFIX)

    def failed(self, name: str) -> str:
        """What is known of a shard that could not be labeled, JSON."""
        return self._join("failed", name + FAILED_SUFFIX)

    def ledger_part(self, name: str) -> str:
        """A part of the ledger, written while the job runs."""
        return self._join("ledger-parts", name + ".parquet")

    def manifest_part(self, name: str) -> str:
        """A part of the manifest: what one `label` added to it."""
        return self._join("manifest", name + ".parquet")

    def done(self) -> set[str]:
        """Label names of all done shards, by one listing."""
        return {path.removesuffix(LABEL_SUFFIX) for path in names(self.labels) if path.endswith(LABEL_SUFFIX)}

    def label_files(self) -> dict[str, int | None]:
        """Names of all `*.parquet` below labels/, by one listing, with their sizes where it tells.

        Which of them are the run's, its manifest says: `manifest.label_files`.
        """
        return {name: size for name, size in listing(self.labels) if name.endswith(LABEL_SUFFIX)}

    def failures(self) -> set[str]:
        """Label names of all shards with a failure on record, by one listing."""
        return {
            path.removesuffix(FAILED_SUFFIX) for path in names(self._join("failed")) if path.endswith(FAILED_SUFFIX)
        }

    def ledger_parts(self) -> list[str]:
        """URLs of the ledger's parts, oldest first."""
        return self._parts("ledger-parts")

    def manifest_parts(self) -> list[str]:
        """URLs of the manifest's parts, oldest first."""
        return self._parts("manifest")

    def strays(self) -> list[str]:
        """Files in OUT's folders that have none of the names a run gives: `FOLDER/NAME` of each. Nothing reads them.

        Desktops and browsers leave such: Thumbs.db, .DS_Store, `x (1).parquet`.
        """
        ours = {"manifest": _PART, "ledger-parts": _PART, "labels": _LABEL, "failed": _FAILED, "text": _TEXT}
        return [
            f"{folder}/{name}"
            for folder, pattern in ours.items()
            for name in sorted(names(self._join(folder), hidden=True))
            # A copy on its way to its place is hidden too, and is none.
            if not pattern.fullmatch(name) and not (name.startswith(".") and name.endswith(".tmp"))
        ]

    def read_json(self, url: str) -> dict[str, Any] | None:
        """A JSON object below OUT; None if it isn't there.

        Raises:
            UsageError: what stands there is no JSON object.
            OutputError: it can't be read.
        """
        data = read_bytes(url)
        if data is None:
            return None
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise UsageError(f"{redact(url)}: damaged, expected a JSON object. Restore it from a copy, or remove it.")
        return value

    def write_json(self, url: str, value: dict[str, Any]) -> None:
        """Put a JSON object below OUT, all at once."""
        publish_bytes(_encoded(value), url)

    def create_json(self, url: str, value: dict[str, Any]) -> bool:
        """Put a JSON object below OUT unless something stands there; whether this very object stands there now."""
        return create_bytes(_encoded(value), url)

    def _parts(self, folder: str) -> list[str]:
        found = sorted(name for name in names(self._join(folder)) if _PART.fullmatch(name))
        return [self._join(folder, name) for name in found]

    def _join(self, *parts: str) -> str:
        return posixpath.join(self.url, *parts)


def _encoded(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
