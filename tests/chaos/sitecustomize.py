"""Adds the model `chaos` to a process that has this folder on its PYTHONPATH, replicas too; no hook in our code."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any


class _Adds(MetaPathFinder):
    """Waits for `models.zoo`: Python starts this module in every process, and most never need a model."""

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "maskmill.models.zoo":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        _after(spec.loader)
        return spec


def _after(loader: Loader) -> None:
    execute = loader.exec_module

    def then_add(zoo: ModuleType) -> None:
        execute(zoo)
        _add(zoo)

    loader.exec_module = then_add  # type: ignore[method-assign]  # this loader alone, not its class


def _add(zoo: Any) -> None:
    known, load = zoo.MODELS, zoo.load
    tiny = known["san-tiny"]
    zoo.MODELS = known | {
        "chaos": replace(
            tiny,
            name="chaos",
            default_weights="",
            summary="Labels in a few milliseconds; one image kills its process, another hangs it.",
        )
    }

    def load_or_chaos(name: str, **options: Any) -> Any:
        if name != "chaos":
            return load(name, **options)
        from chaos_segmenter import ChaosSegmenter

        return ChaosSegmenter(zoo.MODELS["chaos"].rule)

    zoo.load = load_or_chaos


sys.meta_path.insert(0, _Adds())
