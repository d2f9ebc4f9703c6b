"""A YAML file of options: defaults that a command's arguments win over. What the options mean is each command's."""

import typing
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, Token

from maskmill.models.errors import UsageError

if TYPE_CHECKING:
    from cyclopts.argument import Argument, ArgumentCollection

MAX_BYTES = 2**20
"""Most bytes of such a file."""

_OPTION = "--config"
_STORE = "store"

Options = Mapping[str, tuple[str, ...]]
"""Option -> its values as they are written, as on a command line."""


class ConfigFile:
    """The options of one file, in the form that cyclopts asks for them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._options = _load(path)
        self.stores: tuple[str, ...] = self._options.get(_STORE, ())
        """What its `store:` list says, which no command takes as an option of its own."""

    def __call__(self, app: App, commands: tuple[str, ...], arguments: "ArgumentCollection") -> None:
        """Fill in what the command line left open; called by cyclopts.

        Raises:
            UsageError: the command has no such option, or it takes a single value and is given several.
        """
        known = _by_name(arguments)
        for name, values in self._options.items():
            if name == _STORE:
                continue
            shown = f"{_OPTION} {self._path!r}: {name}"
            argument = known.get(name)
            if argument is None:
                near = get_close_matches(name, known, n=1)
                meant = f" Did you mean {near[0]}?" if near else ""
                command = " ".join(["maskmill", *commands])
                raise UsageError(f"{shown}: no such option of `{command}`.{meant} `{command} --help` has them all.")
            if len(values) != 1 and not _takes_several(argument):
                raise UsageError(f"{shown}: {len(values)} values, expected one. Write `{name}: VALUE`.")
            if not argument.tokens:
                for index, value in enumerate(values):
                    argument.append(Token(keyword=name, value=value, source=self._path, index=index))


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


def _by_name(arguments: "ArgumentCollection") -> dict[str, "Argument"]:
    """The options of a command by their names in a file, and the list of positional arguments: SHARDS."""
    known: dict[str, Argument] = {}
    for argument in arguments:
        field = argument.field_info
        if field.kind is field.VAR_POSITIONAL:
            known[field.name] = argument
        elif argument.parse and argument.name.startswith("--"):
            known.setdefault(argument.name.removeprefix("--").replace("-", "_"), argument)
    return known


def _takes_several(argument: "Argument") -> bool:
    hint = argument.hint
    kinds = (hint, *typing.get_args(hint))  # an optional list is a union
    return any(typing.get_origin(kind) in (list, tuple) for kind in kinds)


def _load(path: str) -> Options:
    shown = f"{_OPTION} {path!r}"
    if not path or not Path(path).is_file():
        raise UsageError(f"{shown}: no such file. Expected a YAML file of options, such as `model: san-vit-b16`.")
    if (size := Path(path).stat().st_size) > MAX_BYTES:
        raise UsageError(f"{shown}: {size:,} bytes, expected a file of options of at most {MAX_BYTES:,}.")
    from maskmill.models.plain_yaml import YamlError, core_schema, parse

    try:
        # Values stay as they are written: a command reads them as it reads its arguments, and 1.10 is not 1.1.
        held = parse(
            Path(path).read_text(encoding="utf-8-sig"), lambda text: None if core_schema(text) is None else text
        )
    except YamlError as error:
        raise UsageError(
            f"{shown}{error.where}: not plain YAML ({error.problem}). Expected `option: value` lines."
        ) from error
    except (UnicodeDecodeError, OSError) as error:
        raise UsageError(
            f"{shown}: not plain YAML ({type(error).__name__}). Expected `option: value` lines."
        ) from error
    if held is None:
        return {}
    if not isinstance(held, dict):
        raise UsageError(f"{shown}: holds no options by name. Expected lines such as `model: san-vit-b16`.")
    options: dict[str, tuple[str, ...]] = {}
    for key, value in held.items():
        name = str(key).replace("-", "_")
        if name in options:
            raise UsageError(f"{shown}: {key}: given twice. Leave one.")
        options[name] = _values(f"{shown}: {key}", value)
    return options


def _values(shown: str, value: object) -> tuple[str, ...]:
    if isinstance(value, dict):
        raise UsageError(f"{shown}: a group of options. Write each as `option: value` at the top of the file.")
    values = value if isinstance(value, list) else [value]
    texts = tuple(one for one in values if isinstance(one, str))
    if len(texts) < len(values) or not texts:
        raise UsageError(f"{shown}: expected a value, or a list of values such as [a.tar, 'b-*.tar']. Leave it out.")
    return texts
