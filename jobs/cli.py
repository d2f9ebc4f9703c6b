"""The command line: which commands there are, and how their errors leave the process. What they do stands beside."""

import atexit
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import NoReturn

import cyclopts

from maskmill.jobs import config_file, store_option
from maskmill.models.disk import disk_errors, is_of_disk
from maskmill.models.errors import EnvironmentFailure, Terminated, UsageError
from maskmill.models.redaction import redact_message
from maskmill.pipeline.terminal import print_error, protect

USAGE, ENVIRONMENT, INTERRUPTED, UNREAD = 2, 3, 130, 141
"""Exit codes beyond 0 (done) and 1 (shards failed or are missing); 128 and its number after SIGTERM and SIGHUP."""

_ending: list[int] = []
"""Numbers of the signals that this process was told to end by: SIGTERM, and SIGHUP, of a terminal that is gone."""

# Commands are named, not imported: `maskmill --help` must not wait for torch.
_COMMANDS = {
    "label": "Label shards: images in, one Parquet file of segments a shard out. Also resumes.",
    "status": "Where a run stands: shards done, failed, missing; samples by reason.",
    "verify": "Check a label table: files, footers and counts against the ledger; masks with --deep.",
    "retry": "Label failed shards again, and done ones with failed samples or a changed source.",
    "forget": "Take shards out of a run that were mistyped or are no longer wanted.",
    "compact": "Write a label table anew, sealed: the same rows in few files of a stated size.",
    "query": "Ask the label table in SQL: views samples, segments, classes, failures; reads only.",
    "stats": "What a label table holds: counts, failures, classes, scores, bytes; reads no mask.",
    "report": "Make one page of a run: images with their masks, charts, classes, ledger.",
    "show": "Draw samples: image, masks, names and scores; the ground truth beside them.",
    "export": "Write a label table as COCO, COCO panoptic, class-id PNGs or Hugging Face datasets.",
    "train": "Train a SAN, or a DenseCLIP student, on ground truth or a label table; also resumes.",
    "evaluate": "Score a model or a label table on shards with ground truth: mIoU, accuracy.",
    "bench": "Measure this machine, the model, each part of it, and whole shards.",
    "plan": "Reckon a large job from measured rates: GPU-hours, days, bytes, requests, cost, bottleneck.",
    "synthesize": "Write webdataset shards of procedural scenes to try things on.",
    "demo": "Label two synthesized shards, and show what came of it.",
}


def app(config: config_file.ConfigFile | None = None) -> cyclopts.App:
    """The command line, its defaults taken from a YAML file where one is given."""
    made = cyclopts.App(
        name="maskmill",
        help="Turn image-text shards in object storage into Parquet tables of segmentation pseudo-labels.",
        version=_version,
        version_flags=["--version"],
        suppress_keyboard_interrupt=False,  # `run` says that it was interrupted; cyclopts would leave without a word
        help_format="markdown",  # which wraps texts of several lines as one
        default_parameter=cyclopts.Parameter(negative=""),
        help_epilogue=(
            "Options can stand in a YAML file too: maskmill COMMAND --config FILE.yaml ...\n\n"
            "Every command takes --store 'PREFIX,KEY=VALUE,...' for the URLs below a prefix: endpoint=URL, "
            "profile=NAME, anonymous, requester_pays. It may be given several times; keys and tokens come from the "
            "environment."
        ),
        config=config,
    )
    for name, summary in _COMMANDS.items():
        made.command(f"maskmill.jobs.{name}:{name}", name=name, help=summary)
    return made


def run(argv: Sequence[str] | None = None) -> int:  # noqa: PLR0911 - one for each kind of end
    """Run one command line and return its exit code; errors a user can cause leave as one line on stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _check_texts(arguments)
        arguments, config = config_file.take(arguments)
        arguments = store_option.use(arguments, config)
        result = app(config)(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        with disk_errors("standard output"):
            sys.stdout.flush()
    except cyclopts.CycloptsError as error:
        return _say(f"{' '.join(str(error).split())} {_help(arguments)}", USAGE)
    except UsageError as error:
        return _say(str(error), USAGE)
    except EnvironmentFailure as error:
        return _say(str(error), ENVIRONMENT)
    except KeyboardInterrupt as error:
        # Ray Train raises a KeyboardInterrupt of its own in the place of ours.
        if _ending or isinstance(error, Terminated):
            return _say("terminated", 128 + (*_ending, signal.SIGTERM)[0])
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader, `head` for instance, has enough. What is still buffered must not fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except OSError as error:
        if not is_of_disk(error):
            raise
        helped = not arguments or {"--help", "-h", "--version"} & {*arguments}
        place = error.filename or ("standard output" if helped else "a file")
        return _say(f"{place}: can't be written ({error.strerror}). Make room.", ENVIRONMENT)
    return result if isinstance(result, int) else 0


def _check_texts(arguments: Sequence[str]) -> None:
    """Refuse what no option and no name can be: an empty text, which many a library takes for the current folder."""
    for before, argument in zip(("", *arguments), arguments, strict=False):
        if not argument or re.fullmatch(r"-\S+=", argument):
            named = argument or (before if before.startswith("-") else "")
            raise UsageError(f"{f'{named} ' if named else ''}'': an empty argument. Give a value, or leave it out.")
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{argument[:80]!a}: not UTF-8. Give the argument in UTF-8; rename a file that isn't."
            ) from None


def _version() -> str:
    from importlib.metadata import version

    return version("maskmill")


def _help(arguments: Sequence[str]) -> str:
    command = arguments[0] if arguments and arguments[0] in _COMMANDS else ""
    return f"Try `{' '.join(f'maskmill {command} --help'.split())}`."


def _terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """End as Ctrl-C does: what a command has begun is put in order, and its own processes end."""
    _ending.append(number)
    raise Terminated


def _say(message: str, code: int) -> int:
    with suppress(OSError, EnvironmentFailure):  # of a terminal that is gone
        print_error(f"maskmill: {redact_message(message)}")
    return code


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The `maskmill` command, as a process: it ends with the command's exit code."""
    protect()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _terminate)
    code = run(argv)
    # Until Python 3.14 a thread of a library that wants the interpreter while it ends is torn down, and C++ aborts the
    # process for it: Arrow's do, when they let go of the last buffer. So the interpreter isn't ended; the rest is.
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
