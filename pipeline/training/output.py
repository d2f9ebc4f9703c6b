"""The files of a training: its identity, log, checkpoint and final weights. Each appears whole or not at all.

OUT/train.json          what the result follows from; a resumed training must agree
OUT/log.jsonl           a line each --log-every updates, and one each validation
OUT/events/             the same for TensorBoard, with times
OUT/checkpoint.pt       the latest; what a resumed training goes on from
OUT/model.safetensors   the trained model, as `label --weights` takes it
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from maskmill.models import checkpoint
from maskmill.models.errors import UsageError
from maskmill.models.scratch import clean, scratch_folder
from maskmill.pipeline.output import Output
from maskmill.pipeline.stores.leftovers import remove_leftovers
from maskmill.pipeline.stores.local_file import replacing, writing
from maskmill.pipeline.stores.publish import create_bytes, is_local, publish
from maskmill.pipeline.stores.urls import redact
from maskmill.pipeline.training.config import Identity


@dataclass(frozen=True, slots=True)
class TrainOutput:
    """OUT: a folder that all workers see."""

    folder: Path
    """On a local or shared file system."""

    @classmethod
    def of(cls, url: str) -> "TrainOutput":
        """OUT as a user names it; `record` makes it where it is missing.

        Raises:
            UsageError: a URL, or a place that can't be a folder.
            EnvironmentFailure: no permission to write there.
        """
        if url and not is_local(url):
            raise UsageError(
                f"--output {redact(url)!r}: expected a folder on a local or shared file system, not a store."
            )
        output = Output.of(url)
        output.check_writable()
        return cls(Path(output.url))

    @property
    def log(self) -> Path:
        """JSON lines: losses, rates, validations."""
        return self.folder / "log.jsonl"

    @property
    def events(self) -> Path:
        """The folder for TensorBoard."""
        return self.folder / "events"

    @property
    def model(self) -> Path:
        """The trained weights."""
        return self.folder / "model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The latest checkpoint."""
        return self.folder / "checkpoint.pt"

    def record(self, identity: Identity, *, write: bool = True) -> None:
        """Write the identity of a new training, or hold this one against what is there.

        Of several programs that do so at once one writes it and the others compare. What killed ones left is removed.

        Args:
            identity: of this training.
            write: whether this worker writes; all of them compare.

        Raises:
            UsageError: OUT holds another training; the text names what differs.
            OutputError: OUT can't be written.
        """
        path = self.folder / "train.json"
        if write:
            remove_leftovers(str(self.folder))
            clean(self.folder)
        if not path.exists():
            if not write:
                return
            create_bytes(json.dumps(identity, indent=2, sort_keys=True).encode() + b"\n", str(path))
        there = self.identity()
        differing = sorted(name for name in {*identity, *there} if identity.get(name) != there.get(name))
        if differing:
            raise UsageError(
                f"--output {str(self.folder)!r}: holds another training; they differ in {', '.join(differing)}. "
                "Name another folder, or give the same options to resume."
            )

    def identity(self) -> Identity:
        """What train.json holds.

        Raises:
            UsageError: it is damaged.
        """
        path = self.folder / "train.json"
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise UsageError(
                f"{path}: damaged ({type(error).__name__}). Restore it, or name another --output."
            ) from error
        if not isinstance(found, dict):
            raise UsageError(f"{path}: damaged, expected a JSON object. Restore it, or name another --output.")
        return found

    def is_finished(self, steps: int) -> bool:
        """Whether a training of so many updates has left its weights here."""
        done = [_step(line) for line in self.log.read_bytes().splitlines()[-1:]] if self.log.exists() else []
        return self.model.exists() and done == [steps]

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint, all at once."""
        with replacing(self.checkpoint) as waiting, waiting.open("wb") as file:
            torch.save(dict(state), file)

    def load(self) -> dict[str, Any] | None:
        """The checkpoint, on the CPU; None where there is none. Only tensors and plain data are read, never code.

        Raises:
            UsageError: it is damaged.
        """
        if not self.checkpoint.exists():
            return None
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            if not (isinstance(state, dict) and {"step", "model", "optimiser"} <= set(state)):
                raise ValueError("not a checkpoint")
        except Exception as error:  # whatever a damaged file makes the reader raise
            raise UsageError(
                f"{self.checkpoint}: damaged ({type(error).__name__}). Remove it to start again, or restore a copy."
            ) from error
        return state

    def save_model(self, model: nn.Module) -> None:
        """Write all of the model's tensors, in float32 but for those that count, all at once.

        Raises:
            EnvironmentFailure: OUT can't be written.
        """
        tensors = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in model.state_dict().items()
        }
        # safetensors puts a file of its own in the place it is given, which `replacing` could hold no lock on.
        with scratch_folder(self.folder) as scratch:
            checkpoint.save_safetensors(tensors, scratch / "model.safetensors")
            publish(scratch / "model.safetensors", str(self.model))


class TrainLog:
    """The log of a training, cut back to what its checkpoint knows and then added to.

    Args:
        path: of the lines.
        step: updates done; later lines belong to updates that are done again.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [line for line in path.read_bytes().splitlines() if _step(line) <= step] if path.exists() else []
        _replace(path, b"".join(line + b"\n" for line in kept))
        self._path = path
        self._file = path.open("ab")

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add a line with a `step`."""
        with writing(self._path):
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _step(line: bytes) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return float("inf")  # a line that was cut off as it was written


def _replace(path: Path, data: bytes) -> None:
    with replacing(path) as waiting:
        waiting.write_bytes(data)
