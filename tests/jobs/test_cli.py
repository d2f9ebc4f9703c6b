"""What the command line takes and refuses, and how it says so. Nothing here starts Ray."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.jobs import cli
from tests.jobs.conftest import Ended, Workplace

COMMANDS = (
    "label",
    "status",
    "verify",
    "retry",
    "forget",
    "compact",
    "query",
    "stats",
    "report",
    "show",
    "export",
    "train",
    "evaluate",
    "bench",
    "plan",
    "synthesize",
    "demo",
)

LABEL_OPTIONS = {
    "--output", "-o",
    "--model", "--weights", "--device", "--dtype",
    "--vocab", "--templates",
    "--inference", "--score-threshold", "--overlap-threshold", "--top-k", "--mask-side", "--soft-masks",
    "--windows", "--agreement",
    "--max-member-bytes", "--max-members", "--max-pixels", "--max-caption-bytes", "--keep-truncated",
    "--image-member", "--caption-member",
    "--decoder", "--scaled-decoding", "--resize",
    "--replicas", "--cpus-per-replica", "--batch-size", "--compile", "--scratch", "--stall-seconds",
    "--limit", "--dry-run", "--max-failed-samples", "--max-failed-shards",
    "--help", "-h",
}  # fmt: skip
"""All options of `label`: one more is a decision, and changes this list."""

TRAIN_OPTIONS = {
    "--output", "-o", "--labels", "--shards-at", "--shards", "--validation",
    "--model", "--init", "--device", "--dtype",
    "--vocab", "--truth-ids", "--templates", "--leave-out", "--crop", "--scales", "--keep-colours", "--keep-sides",
    "--student", "--soft-targets", "--weigh-by-score", "--warmup",
    "--steps", "--batch-size", "--learning-rate", "--power", "--weight-decay", "--clip-norm", "--seed",
    "--workers", "--cpus-per-worker", "--log-every", "--checkpoint-every", "--validate-every", "--validation-batch",
    "--restarts", "--scratch", "--deterministic",
    "--help", "-h",
}  # fmt: skip
"""All options of `train`."""

EVALUATE_OPTIONS = {
    "--model", "--weights", "--labels", "--shards-at", "--vocab", "--truth-ids", "--templates", "--novel",
    "--dense-clip", "--windows",
    "--device", "--dtype", "--batch-size", "--scratch", "--json",
    "--help", "-h",
}  # fmt: skip
"""All options of `evaluate`."""

RETRY_OPTIONS = {
    "--failed-samples", "--stale", "--shards-at",
    "--weights", "--vocab", "--templates", "--device",
    "--replicas", "--cpus-per-replica", "--batch-size", "--compile", "--scratch", "--stall-seconds",
    "--limit", "--dry-run", "--max-failed-samples", "--max-failed-shards",
    "--help", "-h",
}  # fmt: skip
"""All options of `retry`: what changes labels is the run's own, but for what run.json can't keep."""

FORGET_OPTIONS = {"--labels", "--dry-run", "--help", "-h"}
"""All options of `forget`."""

FILTER_OPTIONS = {
    "--min-score", "--min-margin", "--min-mask-score", "--min-stability", "--min-kept", "--min-agreement",
    "--min-area",
    "--classes", "--leave-out",
}  # fmt: skip
"""Options of `pipeline.table.filters`, the same words in every command that has them."""

REPORT_OPTIONS = {
    "--output", "-o", "--seed", "--images", "--image-shards", "--title", "--truth-ids", "--shards-at", "--scratch",
    *FILTER_OPTIONS, "--help", "-h",
}  # fmt: skip
"""All options of `report`."""

SHOW_OPTIONS = {
    "--output", "-o", "--sample-index", "--shard", "--each", "--limit", "--truth-ids", "--shards-at", *FILTER_OPTIONS,
    "--help", "-h",
}  # fmt: skip
"""All options of `show`."""

EXPORT_OPTIONS = {
    "--format", "--output", "-o",
    "--min-score", "--min-margin", "--min-mask-score", "--min-stability", "--min-kept", "--min-agreement",
    "--min-area",
    "--classes", "--leave-out",
    "--images", "--skip-empty", "--shard-base", "--shards-at", "--workers", "--scratch",
    "--help", "-h",
}  # fmt: skip
"""All options of `export`."""

COMPACT_OPTIONS = {"--file-size", "--partial", "--scratch", "--help", "-h"}
"""All options of `compact`."""

BENCH_OPTIONS = {
    "--model", "--weights", "--device", "--dtype", "--threads", "--inference", "--size", "--batch-size", "--compile",
    "--repeats", "--names", "--image", "--samples", "--windows", "--agreement", "--parts", "--shard-sizes",
    "--decoder", "--scaled-decoding", "--resize", "--gpu-rate", "--profile", "--scratch", "--compare",
    "--output", "-o", "--json",
    "--help", "-h",
}  # fmt: skip
"""All options of `bench`."""

PLAN_OPTIONS = {
    "--images", "--gpus", "--bench", "--images-per-shard", "--rate", "--kept-rate", "--core-rate", "--cores-per-gpu",
    "--image-bytes", "--label-bytes", "--gbit-per-gpu", "--reads-per-second", "--writes-per-second",
    "--price-gpu-hour", "--price-1000-reads", "--price-1000-writes", "--price-gb-read", "--price-gb-month", "--json",
    "--help", "-h",
}  # fmt: skip
"""All options of `plan`."""

HEAVY = ("torch", "ray", "open_clip", "timm", "pyarrow", "numpy", "PIL", "duckdb", "webdataset", "fsspec")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenes: list[Path]) -> Path:
    """A fresh working directory with a folder `shards` in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").symlink_to(scenes[0].parent)
    return tmp_path


@pytest.fixture
def maskmill(here: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs a command line in this process, as the installed command does."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        code = cli.run(arguments)
        out, err = capfd.readouterr()
        return Ended(code=code, out=out, err=err)

    return run


def refused(ended: Ended, *told: str) -> None:
    """Exit code 2, nothing on stdout, and one line on stderr that holds all of `told`."""
    assert (ended.code, ended.out) == (2, "")
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended.err
    assert lines[0].startswith("maskmill: ")
    assert "Traceback" not in lines[0]
    for text in told:
        assert text in lines[0]


# --- help ------------------------------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy(workplace: Workplace) -> None:
    code = (
        "import sys\nfrom maskmill.jobs.cli import run\n"
        f"for command in ([], *([name] for name in {COMMANDS!r})):\n"
        "    code = run([*command, '--help'])\n"
        f"    print('heavy:', command, sorted(set({HEAVY!r}) & sys.modules.keys()), code)"
    )
    ended = workplace.run("-c", code, program=[sys.executable])
    lines = ended.out.splitlines()
    for command in ([], *([name] for name in COMMANDS)):
        assert f"heavy: {command} [] 0" in lines
        assert any(line.startswith(f"Usage: {' '.join(['maskmill', *command])}") for line in lines), command
    assert ended.err == ""


def test_help_names_every_command(maskmill) -> None:
    ended = maskmill("--help")
    assert [name for name in COMMANDS if f"│ {name} " not in ended.out] == []
    assert maskmill().out == ended.out


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("label", LABEL_OPTIONS),
        ("train", TRAIN_OPTIONS | FILTER_OPTIONS),
        ("evaluate", EVALUATE_OPTIONS),
        ("retry", RETRY_OPTIONS),
        ("forget", FORGET_OPTIONS),
        ("compact", COMPACT_OPTIONS),
        ("report", REPORT_OPTIONS),
        ("show", SHOW_OPTIONS),
        ("export", EXPORT_OPTIONS),
        ("bench", BENCH_OPTIONS),
        ("plan", PLAN_OPTIONS),
    ],
)
def test_a_command_has_exactly_these_options(maskmill, command: str, options: set[str]) -> None:
    taken = {name for one in cli.app()[command].assemble_argument_collection() for name in one.names}
    own = {name for name in taken if name.startswith("-") and not name.startswith(("--no-", "--empty-"))}
    assert own == options - {"--help", "-h"}
    assert own | {"--config"} <= {"-o", *maskmill(command, "--help").out.split()}


def test_the_version_is_the_distributions(maskmill) -> None:
    from importlib.metadata import version

    assert maskmill("--version").out.strip() == version("maskmill")


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["label", "-o", "out"], ["SHARDS", "none given"]),
        (["label", "shards"], ["--output", "maskmill label --help"]),
        (["label", "shards", "-o"], ["-o", "requires an argument"]),
        (["label", "shards", "-o", "out", "--modle", "san-tiny"], ["--modle", "maskmill label --help"]),
        (["label", "shards", "-o", "out", "--model", "sam"], ["--model 'sam'", "san-vit-b16", "san-tiny"]),
        (["label", "shards", "-o", "out", "--windows", "2"], ["--windows", "general", "Add --inference semantic"]),
        (["label", "shards", "-o", "out", "--windows", "2", "--inference", "queries"], ["Add --inference semantic"]),
        (["label", "shards", "-o", "out", "--windows", "1", "--inference", "semantic"], ["--windows 1", "above 1"]),
        (["label", "shards", "-o", "out", "--windows", "nan", "--inference", "semantic"], ["--windows nan"]),
        (["label", "shards", "-o", "out", "--windows", "99", "--inference", "semantic"], ["--windows 99", "up to 4"]),
        (["label", "shards", "-o", "out", "--windows", "2", "--model", "denseclip-rn50"], ["512 every 341. Leave"]),
        (["evaluate", "shards", "--model", "denseclip-rn50", "--windows", "2"], ["512 every 341"]),
        (["evaluate", "shards", "--labels", "out", "--windows", "2"], ["--windows 2", "--model"]),
        (["evaluate", "shards", "--model", "san-tiny", "--windows", "0.5"], ["--windows 0.5", "above 1"]),
        (["label", "shards", "-o", "out", "--vocab", "cocoa"], ["--vocab 'cocoa'", "coco-stuff-171"]),
        (["label", "shards", "-o", "out", "--templates", "many"], ["many", "vild14"]),
        (["label", "shards", "-o", "out", "--device", "tpu"], ["tpu", "--device", "cuda"]),
        (["label", "shards", "-o", "out", "--dtype", "float8"], ["float8", "--dtype", "bfloat16"]),
        (["label", "shards", "-o", "out", "--inference", "panoptic"], ["panoptic", "semantic"]),
        (["label", "shards", "-o", "out", "--inference", "semantic", "--soft-masks"], ["--soft-masks", "queries"]),
        (["label", "shards", "-o", "out", "--score-threshold", "50"], ["--score-threshold 50", "between 0 and 1"]),
        (["label", "shards", "-o", "out", "--score-threshold", "nan"], ["--score-threshold nan"]),
        (["label", "shards", "-o", "out", "--overlap-threshold", "-1"], ["--overlap-threshold -1"]),
        (["label", "shards", "-o", "out", "--top-k", "0"], ["--top-k 0", "1 or more"]),
        (["label", "shards", "-o", "out", "--mask-side", "0"], ["--mask-side 0"]),
        (["label", "shards", "-o", "out", "--max-pixels", "0"], ["--max-pixels 0"]),
        (["label", "shards", "-o", "out", "--replicas", "many"], ["--replicas 'many'", "MIN:MAX"]),
        (["label", "shards", "-o", "out", "--replicas", "0"], ["--replicas '0'"]),
        (["label", "shards", "-o", "out", "--replicas", "3:1"], ["--replicas '3:1'"]),
        (["label", "shards", "-o", "out", "--replicas", "99999"], ["--replicas 99999", "fewer"]),
        (["label", "shards", "-o", "out", "--cpus-per-replica", "99999"], ["--cpus-per-replica 99999", "fewer"]),
        (["label", "shards", "-o", "out", "--batch-size", "0"], ["--batch-size 0"]),
        (["label", "shards", "-o", "out", "--limit", "0"], ["--limit 0", "1 or more"]),
        (["label", "shards", "-o", "out", "--limit", "few"], ["--limit", "few"]),
        (["label", "shards", "-o", "out", "--max-failed-samples", "2"], ["--max-failed-samples 2"]),
        (["label", "none-*.tar", "-o", "out"], ["none-*.tar", "matches no file"]),
        (["label", "@none.txt", "-o", "out"], ["@none.txt", "no such list"]),
        (["label", "pipe:cat shards/*.tar", "-o", "out"], ["pipe:cat", "nothing is run"]),
        (["label", "s4://bucket/a.tar", "-o", "out"], ["s4"]),
        (["label", "shards", "-o", "out", "--config"], ["--config ''", "no such file"]),
        (["label", "shards", "-o", "out", "--config", "none.yaml"], ["--config 'none.yaml'", "no such file"]),
        (["status", "none"], ["none", "no run.json", "maskmill label"]),
        (["verify", "none"], ["none", "no run.json"]),
        (["query", "none", "SELECT 1"], ["none", "maskmill label"]),
        (["report", "none", "-o", "a.html"], ["none", "maskmill label"]),
        (["show", "none", "-o", "a.png"], ["KEYS", "--limit"]),
        (["show", "none", "key", "-o", "a.png"], ["none", "maskmill label"]),
        (["status", "shards"], ["shards", "no run.json"]),
        (["status", __file__], [__file__, "a file, expected a folder"]),
        (["report", "none", "-o", "x.html", "--scratch", "none"], ["--scratch 'none'", "no such folder"]),
        (["show", "none", "key", "-o", "a.png", "--sample-index", "9" * 20], ["--sample-index 9999", "from 0"]),
        (["evaluate", "shards", "--model", "san-tiny", "--scratch", "none"], ["--scratch 'none'", "no such folder"]),
        (["label", "shards", "-o", "labels.arrow"], ["--output 'labels.arrow'", "a folder will be written"]),
        (["status"], ["OUT", "maskmill status --help"]),
        (["bench", "--repeats", "2"], ["--repeats 2", "3 or more"]),
        (["bench", "--windows", "1"], ["--windows 1", "above 1"]),
        (["bench", "--image", "big"], ["--image 'big'", "WIDTHxHEIGHT"]),
        (["bench", "--parts", "speed"], ["--parts", "speed", "floor"]),
        (["bench", "--compare", "a.json", "b.json"], ["--compare 'a.json'", "can't be read"]),
        (["bench", "-o", "none/a.json"], ["none/a.json", "folder isn't there"]),
        (["bench", "none-*.tar"], ["none-*.tar", "matches no file"]),
        (["plan", "--images", "9", "--gpus", "1"], ["--rate", "--bench"]),
        (["plan", "--images", "0", "--gpus", "1", "--rate", "9"], ["--images 0", "1 or more"]),
        (["plan", "--images", "9", "--gpus", "1", "--rate", "nan"], ["--rate nan", "above 0"]),
        (["plan", "--images", "9", "--gpus", "1", "--bench", "shards"], ["--bench 'shards'", "can't be read"]),
        (["synthesize", "new", "--shards", "0"], ["0", "--shards"]),
        (["synthesize", "new.tar"], ["DIRECTORY 'new.tar'", "named like a file"]),
        (["show", "none", "key", "-o", "s.jpg"], ["--output 's.jpg'", "such as s.png"]),
        (["show", "none", "key", "--each", "-o", "s.png"], ["--output 's.png'", "Leave .png out"]),
        (["query", "none", "SELECT 1", "-o", "a.xlsx"], ["--output 'a.xlsx'", ".csv, .json, .parquet, .txt"]),
        (["query", "none", "SELECT 1", "-o", "a.json", "--format", "csv"], ["--output 'a.json'", "such as a.csv"]),
        (["query", "none", "SELECT 1", "-o", "a.csv", "--json"], ["--output 'a.csv'", "such as a.json"]),
        (["report", "none", "-o", "x.pdf"], ["--output 'x.pdf'", ".html"]),
        (["bench", "-o", "x.csv"], ["--output 'x.csv'", ".json"]),
        (["export", "none", "--format", "coco", "-o", "x.json"], ["--output 'x.json'", "a folder will be written"]),
        (["export", "none", "--format", "coco", "-o", "s3://b/x.json"], ["--output 's3://b/x.json'", "a slash"]),
        (["compact", "none", "sealed.parquet"], ["DEST 'sealed.parquet'", "a folder will be written"]),
        (["label", "shards", "-o", "labels.parquet"], ["--output 'labels.parquet'", "a folder will be written"]),
        (["label", "shards", "-o", ""], ["-o '': an empty argument"]),
        (["label", "shards", "--output="], ["--output= '': an empty argument"]),
        (["synthesize", ""], ["'': an empty argument"]),
        (["show", "out", "-o", ""], ["-o '': an empty argument"]),
        (["train", "shards", "-o", "student.pth"], ["--output 'student.pth'", "a folder will be written"]),
        (["demo", "--output", "demo.html"], ["--output 'demo.html'", "a folder will be written"]),
        (["demo", "--output", "shards"], ["--output 'shards'", "empty or new"]),
        (["labels", "shards"], ["labels", "maskmill --help"]),
    ],
    ids=lambda value: " ".join(value[:6]) if isinstance(value, list) else None,
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2(maskmill, here: Path, arguments: list[str], told: list[str]) -> None:
    refused(maskmill(*arguments), *told)
    assert not (here / "out").exists()


def test_a_device_that_is_not_there_is_refused(maskmill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    refused(maskmill("label", "shards", "-o", "out", "--device", "cuda"), "--device cuda", "--device cpu")


def test_replicas_that_take_every_cpu_are_refused(maskmill) -> None:
    cpus = max(2, len(os.sched_getaffinity(0)))
    ended = maskmill("label", "shards", "-o", "out", "--device", "cpu", "--cpus-per-replica", str(cpus))
    refused(ended, f"--cpus-per-replica {cpus}", "one must stay free")


@pytest.mark.parametrize(
    "arguments",
    [["label", "shards", "-o"], ["export", "none", "--format", "coco", "-o"], ["compact", "none"], ["synthesize"],
     ["train", "shards", "-o"], ["show", "none", "key", "--each", "-o"], ["demo", "--output"]],
    ids=lambda words: words[0],
)  # fmt: skip
@pytest.mark.parametrize("place", ["list.csv", "list.csv/below"])
def test_a_file_where_a_folder_is_needed_is_wrong_usage(maskmill, here: Path, arguments: list[str], place: str) -> None:
    (here / "list.csv").write_text("a.tar\n")
    refused(maskmill(*arguments, place), place, "'list.csv' is a file")


def test_an_empty_list_is_refused(maskmill, here: Path) -> None:
    (here / "list.txt").write_text("\n# nothing\n")
    refused(maskmill("label", "@list.txt", "-o", "out"), "list.txt")


def test_a_list_that_names_a_program_is_refused_and_runs_nothing(maskmill, here: Path) -> None:
    (here / "list.txt").write_text("pipe:touch canary\n")
    refused(maskmill("label", "@list.txt", "-o", "out"), "pipe:touch canary")
    assert not (here / "canary").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_an_argument_that_is_not_utf_8_is_wrong_usage(maskmill, command: str) -> None:
    ended = maskmill(command, "bad\udcff", "--output", "\udcfe")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "maskmill: 'bad\\udcff': not UTF-8. Give the argument in UTF-8; rename a file that isn't.\n"


def test_hostile_names_in_errors_are_escaped(maskmill) -> None:
    ended = maskmill("status", "no\x1b[31m\nwhere\x9b\u202e")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert all(character.isprintable() for character in ended.err.rstrip("\n"))


def test_the_exit_code_leaves_the_process(workplace: Workplace) -> None:
    ended = workplace.run("label", "none-*.tar", "-o", "out")
    refused(ended, "none-*.tar")
    assert workplace.run("none-*.tar", "-o", "out", program=[sys.executable, "-m", "maskmill.jobs.label"]) == ended


# --- --config --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"modle: san-tiny\n", ["modle", "options.yaml", "Did you mean model?", "maskmill label --help"]),
        (b"score-treshold: 0.1\n", ["score_treshold", "Did you mean score_threshold?"]),
        (b"label: {model: san-tiny}\n", ["label", "options.yaml", "a group of options"]),
        (b"model:\n  model: san-tiny\n", ["model", "a group of options"]),
        (b"verify: true\n", ["verify", "no such option of `maskmill label`"]),
        (b"limit: 1\nlimit: 2\n", ["options.yaml' line 1", "stands twice"]),
        (b"dry-run: true\ndry_run: true\n", ["dry_run", "given twice"]),
        (b"weights: null\n", ["weights", "Leave it out"]),
        (b"weights:\n", ["weights", "Leave it out"]),
        (b"shards: []\n", ["shards", "Leave it out"]),
        (b"shards: [[a.tar]]\n", ["shards", "list of values"]),
        (b"limit: !!int ''\n", ["options.yaml' line 1", "a tag, !!int"]),
        (b"soft_masks: !!bool maybe\n", ["a tag, !!bool"]),
        (b"vocab: !!timestamp x\n", ["a tag, !!timestamp"]),
        (b"vocab: !!binary ''\n", ["a tag, !!binary"]),
        (b"vocab: &a {x: *a}\n", ["an alias"]),
        (b"limit: 1e3\n", ["limit", "1e3"]),
        (b"limit: 1:16\n", ["limit", "1:16"]),
        (b"replicas: 1:0\n", ["--replicas '1:0'"]),
        (b"model: no\n", ["--model 'no'"]),
        (b"model: on\n", ["--model 'on'"]),
        (b"model: 1.10\n", ["--model '1.10'"]),
        (b"soft_masks: on\n", ["soft_masks", "on"]),
        (b"limit: many\n", ["limit", "many", "options.yaml"]),
        (b"limit: [1, 2]\n", ["limit", "options.yaml"]),
        (b"limit: 0\n", ["--limit 0"]),
        (b"score_threshold: high\n", ["score_threshold", "high"]),
        (b"soft_masks: perhaps\n", ["soft_masks", "perhaps"]),
        (b"model: {model: san-tiny}\n", ["model", "options.yaml"]),
        (b"model: sam\n", ["--model 'sam'"]),
        (b"config: other.yaml\n", ["config", "options.yaml"]),
        (b"- model\n- san-tiny\n", ["options.yaml", "by name"]),
        (b"san-tiny\n", ["options.yaml", "by name"]),
        (b"1: 2\n", ["options.yaml", "1: no such option"]),
        (b"model: 'san\n", ["options.yaml", "not plain YAML"]),
        (b"limit: 1\n  model: san-tiny\n", ["options.yaml", "not plain YAML", "line 2"]),
        (b"\xff\xfe\x00", ["options.yaml", "not plain YAML"]),
        (b"model: !!python/object/apply:os.system ['touch canary']\n", ["options.yaml", "not plain YAML", "line 1"]),
        (b"[" * 100_000, ["options.yaml", "not plain YAML"]),
        (b"# " + b"x" * 2**20, ["options.yaml", "at most"]),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_a_wrong_config_file_is_refused(maskmill, here: Path, text: bytes, told: list[str]) -> None:
    (here / "options.yaml").write_bytes(text)
    refused(maskmill("label", "shards", "-o", "out", "--dry-run", "--config", "options.yaml"), *told)
    assert not (here / "canary").exists()


def test_a_config_file_says_what_a_command_line_says(maskmill, here: Path) -> None:
    text = "inference: semantic\ntop-k: 3\nreplicas: '1:1'\nmax_failed_shards: 20\nscore_threshold: 0.30\n"
    (here / "options.yaml").write_text(f"{text}soft_masks: false\ndry_run: True\n")
    words = ["--inference", "semantic", "--top-k", "3", "--replicas", "1:1", "--max-failed-shards", "20", "--dry-run"]
    held = maskmill("label", "shards", "-o", "out", "--config", "options.yaml")
    assert held.code == 0, held.err
    assert held == maskmill("label", "shards", "-o", "out", *words, "--score-threshold", "0.30")


def test_an_option_named_like_a_command_is_read(maskmill, here: Path) -> None:
    (here / "options.yaml").write_text("images: 9\ngpus: 1\nbench: none.json\n")
    refused(maskmill("plan", "--config", "options.yaml"), "--bench 'none.json'")


def test_two_config_files_are_refused(maskmill, here: Path) -> None:
    (here / "a.yaml").write_text("limit: 1\n")
    refused(maskmill("label", "shards", "-o", "out", "--config=a.yaml", "--config", "b.yaml"), "'b.yaml'", "twice")


def test_a_config_file_gives_defaults_and_the_command_line_wins(maskmill, here: Path) -> None:
    (here / "options.yaml").write_text("limit: 1\nvocab: voc-20\ndry-run: true\n")
    one = maskmill("label", "shards", "-o", "out", "--config", "options.yaml")
    assert one.code == 0
    assert one.out.startswith("would label 1 of 1 shards")
    assert "20 names" in one.out
    two = maskmill("--config=options.yaml", "label", "shards", "-o", "out", "--limit", "2", "--vocab", "scenes")
    assert two.out.startswith("would label 2 of 2 shards")
    assert "48 names" in two.out


def test_a_config_file_can_hold_a_whole_job(maskmill, here: Path) -> None:
    first, second = sorted(path.name for path in (here / "shards").iterdir())
    (here / "job.yaml").write_text(f"shards: [shards/{first}]\noutput: out\ndry_run: true\n")
    held = maskmill("label", "--config", "job.yaml")
    assert held.code == 0
    assert first in held.out
    named = maskmill("label", f"shards/{second}", "--config", "job.yaml")
    assert first not in named.out
    assert second in named.out


def test_an_empty_config_file_changes_nothing(maskmill, here: Path) -> None:
    (here / "empty.yaml").write_text("# later\n")
    arguments = ["label", "shards", "-o", "out", "--dry-run"]
    assert maskmill(*arguments, "--config", "empty.yaml") == maskmill(*arguments)


# --- dry run ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_lists_shards_and_writes_nothing(maskmill, here: Path) -> None:
    ended = maskmill("label", "shards", "shards/none.tar", "-o", "out", "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("would label 3 of 3 shards")
    assert "1 not found" in lines[0]
    assert sum(line.endswith("bytes") for line in lines) == 2
    assert not (here / "out").exists()


def test_a_dry_run_with_windows_tells_their_price(maskmill) -> None:
    arguments = ["label", "shards", "-o", "out", "--dry-run", "--inference", "semantic"]
    whole, windowed = maskmill(*arguments), maskmill(*arguments, "--windows", "2")
    assert windowed.code == 0, windowed.err
    lines = [line for line in windowed.out.splitlines() if line not in whole.out.splitlines()]
    assert lines[:2] == [
        "windows   640 x 640, in photos of a short side of 1,280 or more:",
        "           1:1   9 windows, 569 GMAC, 9.0x the whole photo",
    ]


def test_a_command_ends_its_process_before_threads_of_libraries_can_abort_it() -> None:
    # What finalizing the interpreter would run stands for a thread of Arrow's that it would tear down.
    program = (
        "import atexit, os, sys\n"
        "from maskmill.jobs.cli import main\n"
        "class AtTheEnd:\n"
        "    def __del__(self, abort=os.abort): abort()\n"
        "sys.modules['at_the_end'] = AtTheEnd()\n"
        "atexit.register(lambda: print('left'))\n"
        "main(['query', 'nowhere', 'SELECT 1'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (cli.USAGE, "left\n")
    assert done.stderr.startswith("maskmill: ")


URL = "s3://user:QQZZ@host/b"


@pytest.mark.parametrize(
    "words",
    [
        ["synthesize", URL, "--shards", "1", "--samples", "1"],
        ["report", "OUT", "-o", URL],
        ["show", "OUT", "key", "-o", URL],
        ["status", "OUT", URL],
        ["status", "OUT", "--config", URL],
        [URL],
        ["label", "shards", "-o", "out", f"--bogus={URL}"],
        ["label", "shards", "-o", "out", "--limit", URL],
        ["label", "shards", "-o", "out", "--device", URL],
        ["label", "shards", "-o", "out", "--scratch", URL],
        ["label", "shards", "-o", "out", "--model", URL],
        ["export", "OUT", "--format", URL, "-o", "x"],
        *(
            [*words, user + "QQZZ@host/b"]
            for user in ("s3://user: ", "s3://user:12 ", "s3://user:ab\n")
            for words in (
                ["label", "shards", "-o"],
                ["label", "shards", "-o", "out", "--vocab"],
                ["label", "shards", "-o", "out", "--weights"],
                ["label", "shards", "-o", "out", "--templates"],
                ["query", "OUT", "SELECT 1", "-o"],
            )
        ),
        ["label", "-o", "out", "@s3://user:ab QQZZ@host/list.txt"],
    ],
)
def test_passwords_of_urls_reach_no_error(maskmill, words: list[str]) -> None:
    ended = maskmill(*words)
    assert ended.code in (2, 3), ended.out
    assert "QQZZ" not in ended.out + ended.err
    assert len(ended.err.splitlines()) == 1
