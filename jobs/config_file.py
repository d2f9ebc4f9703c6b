"""A YAML file of options: defaults that a command's arguments win over. What the options mean is each command's."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App, Token
from cyclopts.config import Dict

from maskmill.models.errors import UsageError

if TYPE_CHECKING:
    from cyclopts.argument import ArgumentCollection

MAX_BYTES = 2**20
"""Most bytes of such a file."""

_OPTION = "--config"


class ConfigFile:
    """The options of one file, in the form that cyclopts asks for them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._options = _load(path)
        store = self._options.pop("store", None) or []
        self.stores = _texts(store, f"{_OPTION} {path!r}: store", "['s3://bucket,anonymous']")
        """What its `store:` list says, which no command takes as an option of its own."""

    def __call__(self, app: App, commands: tuple[str, ...], arguments: "ArgumentCollection") -> None:
        """Fill in what the command line left open; called by cyclopts."""
        options = dict(self._options)
        for argument in arguments:
            # cyclopts fills options from a mapping, but not a list of positional arguments: SHARDS.
            field = argument.field_info
            if field.kind is field.VAR_POSITIONAL and field.name in options:
                values = _texts(options.pop(field.name), f"{_OPTION} {self._path!r}: {field.name}")
                if not argument.tokens:
                    for index, value in enumerate(values):
                        argument.append(Token(value=value, source=self._path, index=index))
        Dict(options, source=self._path, use_commands_as_keys=False)(app, commands, arguments)


def take(arguments: Sequence[str]) -> tuple[list[str], ConfigFile | None]:
    """Take `--config FILE` out of the arguments: it gives defaults to all others, so it is read before them.

    Raises:
        UsageError: it is named twice, there is no such file, or it isn't a mapping of options.
    """
    rest, paths = take_option(arguments, _OPTION)
    if len(paths) > 1:
        raise UsageError(f"{_OPTION} {paths[1]!r}: given twice. Put all options into one file.")
    return rest, ConfigFile(paths[0]) if paths else None


def take_option(arguments: Sequence[str], option: str) -> tuple[list[str], list[str]]:
    """Take `--option VALUE` and `--option=VALUE` out of the arguments, up to a lone `--`.

    Returns:
        The other arguments, and the values in order.
    """
    rest: list[str] = []
    values: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == option:
            values.append(next(words, ""))
        elif word.startswith(f"{option}="):
            values.append(word.partition("=")[2])
        else:
            rest.append(word)
    return rest, values


def _load(path: str) -> dict[str, Any]:
    shown = f"{_OPTION} {path!r}"
    if not path or not Path(path).is_file():
        raise UsageError(f"{shown}: no such file. Expected a YAML file of options, such as `model: san-vit-b16`.")
    if (size := Path(path).stat().st_size) > MAX_BYTES:
        raise UsageError(f"{shown}: {size:,} bytes, expected a file of options of at most {MAX_BYTES:,}.")
    import yaml

    try:
        options = yaml.safe_load(Path(path).read_bytes())
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{shown}: not YAML ({error.problem}{line}). Expected `option: value` lines.") from error
    except (yaml.YAMLError, RecursionError, ValueError, OSError) as error:
        raise UsageError(f"{shown}: not YAML ({type(error).__name__}). Expected `option: value` lines.") from error
    if options is None:
        return {}
    if not isinstance(options, dict) or not all(isinstance(name, str) for name in options):
        raise UsageError(f"{shown}: holds no options by name. Expected lines such as `model: san-vit-b16`.")
    return options


def _texts(value: object, shown: str, example: str = "[a.tar, 'b-*.tar']") -> list[str]:
    values = value if isinstance(value, list) else [value]
    texts = [text for text in values if isinstance(text, str)]
    if len(texts) < len(values):
        raise UsageError(f"{shown}: expected a name or a list of names, such as {example}.")
    return texts
