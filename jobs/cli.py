"""The command line: which commands there are, and how their errors leave the process. What they do stands beside."""

import sys
from collections.abc import Sequence

import cyclopts
from cyclopts.config import Yaml

from models.errors import EnvironmentFailure, UsageError

USAGE, ENVIRONMENT, INTERRUPTED = 2, 3, 130
"""Exit codes beyond 0 (done) and 1 (shards failed or are missing)."""

# Commands are named, not imported: `maskmill --help` must not wait for torch.
_COMMANDS = {
    "label": "Label shards: images in, one Parquet file of segments a shard out. Also resumes.",
    "status": "Where a run stands: shards done, failed, missing; samples by reason.",
    "verify": "Check a label table: files, footers and counts against the ledger; masks with --deep.",
    "query": "Ask the label table in SQL.",
    "show": "Draw one sample: image, masks, names and scores; the ground truth beside it.",
    "synthesize": "Write webdataset shards of procedural scenes to try things on.",
    "demo": "Label two synthesized shards, and show what came of it.",
}


def app(config: Yaml | None = None) -> cyclopts.App:
    """The command line, its defaults taken from a YAML file where one is given."""
    made = cyclopts.App(
        name="maskmill",
        help="Turn image-text shards in object storage into Parquet tables of segmentation pseudo-labels.",
        version_flags=["--version"],
        help_format="plaintext",
        default_parameter=cyclopts.Parameter(negative=""),
        help_epilogue="Options can stand in a YAML file too: maskmill COMMAND --config FILE.yaml ...",
        config=config,
    )
    for name, summary in _COMMANDS.items():
        made.command(f"jobs.{name}:{name}", name=name, help=summary)
    return made


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; errors a user can cause leave as one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments, config = _config_file(arguments)
        result = app(config)(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:
        return _say(" ".join(str(error).split()), USAGE)
    except UsageError as error:
        return _say(str(error), USAGE)
    except EnvironmentFailure as error:
        return _say(str(error), ENVIRONMENT)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    return result if isinstance(result, int) else 0


def _config_file(arguments: list[str]) -> tuple[list[str], Yaml | None]:
    """Take `--config FILE` out of the arguments: it gives defaults to all others, so it is read before them."""
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == "--config" or argument.startswith("--config="):
            _, equals, value = argument.partition("=")
            rest = arguments[:position] + arguments[position + (1 if equals else 2) :]
            if not equals:
                value = arguments[position + 1] if position + 1 < len(arguments) else ""
            return rest, _yaml(value)
    return arguments, None


def _yaml(path: str) -> Yaml:
    from pathlib import Path

    if not path or not Path(path).is_file():
        raise UsageError(
            f"--config {path!r}: no such file. Expected a YAML file of options, such as `model: san-vit-b16`."
        )
    return Yaml(path, use_commands_as_keys=False)


def _say(message: str, code: int) -> int:
    print(f"maskmill: {message}", file=sys.stderr)
    return code


def main() -> None:
    """The `maskmill` command."""
    raise SystemExit(run())
