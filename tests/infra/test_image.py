"""The image's recipe, and what its build and a submitted job may see. Whether it builds needs Docker to tell."""

import re
import tomllib
from pathlib import Path

import pytest

from maskmill.pipeline.labeling.threads import SPIN_COUNT

ROOT = Path(__file__).parents[2]

INSTRUCTIONS = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "CMD"}


def steps() -> list[tuple[str, str]]:
    """Instructions with their arguments, comments and line breaks taken out."""
    lines = [line for line in (ROOT / "infra" / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    words = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name, " ".join(rest.split())) for name, rest in words]


def given(name: str) -> list[str]:
    return [rest for instruction, rest in steps() if instruction == name]


def test_every_instruction_is_one_that_docker_knows() -> None:
    assert {name for name, _ in steps()} == INSTRUCTIONS


def test_the_base_is_pinned_to_a_release_of_the_python_that_the_package_asks_for() -> None:
    (base,) = given("FROM")
    python = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+", base)
    assert python
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = re.fullmatch(r">=(\d+)\.(\d+)", project["requires-python"])
    assert least
    assert tuple(map(int, python.groups())) >= tuple(map(int, least.groups()))


def test_packages_are_the_pinned_ones() -> None:
    installs = [re.findall(r"pip install[^&|;]*", rest) for rest in given("RUN")]
    found = [command for commands in installs for command in commands]
    assert found
    for command in found:
        assert "--constraint constraints.txt" in command or "--no-deps" in command
    pinned = (ROOT / "constraints.txt").read_text()
    assert re.search(r"^boto3==", pinned, re.MULTILINE)


def test_it_runs_as_nobody_in_particular() -> None:
    assert steps().index(("USER", "1000:1000")) > max(
        index for index, (name, _) in enumerate(steps()) if name in {"RUN", "COPY"}
    )
    assert "ENTRYPOINT" not in {name for name, _ in steps()}


def test_threads_of_a_cluster_s_replicas_wait_awake_as_briefly_as_those_of_one_machine() -> None:
    # A job that joins a cluster can't tell its workers: OpenMP looks when it is loaded.
    assert any(f"GOMP_SPINCOUNT={SPIN_COUNT}" in environment.split() for environment in given("ENV"))


def test_what_is_copied_exists_and_may_be_seen_by_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    seen = {line[1:] for line in ignored if line.startswith("!")}
    copied = {word.removesuffix("/") for rest in given("COPY") for word in rest.split()[:-1]}
    assert copied == seen
    assert all((ROOT / name).exists() for name in copied)


def test_no_published_weights_are_in_it() -> None:
    from maskmill.models.zoo import MODELS

    recipe = "\n".join(rest for _, rest in steps())
    assert "hf://" not in recipe
    assert "huggingface" not in recipe
    bundled = {path.name for path in (ROOT / "models").rglob("*.safetensors")}
    assert bundled == {"san-tiny.safetensors"}
    assert "san-tiny" in MODELS


def test_the_launcher_finds_in_it_what_it_calls() -> None:
    # Ray copies into containers with rsync, reaches workers by ssh from the head's, and reads HOME off the image.
    tools = " ".join(given("RUN"))
    assert {"openssh-client", "rsync", "wget"} <= set(tools.split())
    assert any("HOME=/home/maskmill" in rest for rest in given("ENV"))


@pytest.mark.parametrize("folder", ["tests", "docs", "infra", "data", "build", "demo-output", "runs"])
def test_what_is_not_the_program_does_not_travel_with_a_job(folder: str, tmp_path: Path) -> None:
    import zipfile

    from ray._private.runtime_env.packaging import create_package

    work = tmp_path / "work"
    weights = "models/san/data/san-tiny.safetensors"
    for name in (f"{folder}/deep/a.bin", "jobs/label.py", "pipeline/a/b.py", weights, "maskmill/__init__.py"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(b"x")
    for link in ("jobs", "models", "pipeline"):
        assert (ROOT / "maskmill" / link).is_symlink()
        (work / "maskmill" / link).symlink_to((ROOT / "maskmill" / link).readlink())
    for name in ("run.yaml", "shards.txt", "names.txt", "weights.safetensors", "scenes-000000.tar", "README.md"):
        (work / name).write_bytes(b"x")
    for name in (".rayignore", ".gitignore"):
        (work / name).write_bytes((ROOT / name).read_bytes())
    create_package(str(work), tmp_path / "a.zip", include_gitignore=True, include_parent_dir=False, excludes=[])
    with zipfile.ZipFile(tmp_path / "a.zip") as package:
        travels = {name for name in package.namelist() if not name.endswith("/")}
    # Each file once, below maskmill/; jobs/ again, for `python -m jobs.label`.
    own = {
        "jobs/label.py",
        *(f"maskmill/{name}" for name in ("__init__.py", "jobs/label.py", "pipeline/a/b.py", weights)),
    }
    asked_about = {"run.yaml", "shards.txt", "names.txt"}
    assert travels == own | asked_about | {".rayignore", ".gitignore"}
