"""Scalars of a training for TensorBoard, through its own writer. What is measured and when is run.py's."""

from collections.abc import Mapping
from pathlib import Path

from maskmill.pipeline.stores.local_file import writing


class EventFile:
    """One event file of a training; each start of the training adds one to the folder.

    Args:
        folder: local; `tensorboard --logdir` is pointed at it.
    """

    def __init__(self, folder: Path) -> None:
        # TensorBoard takes seconds to import, and only the worker that writes needs it.
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        with writing(folder):
            self._writer = SummaryWriter(str(folder))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Add one number for each tag at a step; a reader sees it at once."""
        with writing(self._folder):
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)
            self._writer.flush()

    def close(self) -> None:
        """Flush and close."""
        with writing(self._folder):
            self._writer.close()
