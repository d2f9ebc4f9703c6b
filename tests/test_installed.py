"""maskmill as users have it: a wheel in an environment, started in a project that has models/, pipeline/ and jobs/."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.ray_nodes import free_ports, ray_nodes

ROOT = Path(__file__).parents[1]

PATIENCE = 900.0
"""Seconds after which a command that should have ended is a failed test."""

API = """
import maskmill
from models.unet import UNet  # a folder without an __init__.py
from PIL import Image

assert UNet().who == "the user's"
if __name__ == "__main__":
    segmenter = maskmill.load("san-tiny", device="cpu")
    segments = segmenter(Image.open("scene.png"), maskmill.Vocabulary.load("scenes"))
    print(len(segments), "segments")
"""

READER = """
import maskmill
import pipeline.steps
from torch.utils.data import DataLoader

if __name__ == "__main__":
    data = maskmill.LabeledImages("out", keep=maskmill.SegmentFilter(min_score=0.1))
    loader = DataLoader(data, batch_size=2, num_workers=2, collate_fn=maskmill.collate, multiprocessing_context="spawn")
    print(sum(len(batch["pixel_values"]) for batch in loader), "images")
"""

TYPED = """
from PIL import Image

import maskmill

vocabulary = maskmill.Vocabulary.load("scenes")
segments: list[maskmill.Segment] = maskmill.load("san-tiny")(Image.new("RGB", (9, 9)), vocabulary)
keep: maskmill.SegmentFilter = maskmill.SegmentFilter(min_score="high")
misspelled = maskmill.Vocabluary
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A user's project folder, and the environment that the wheel is installed in."""

    folder: Path
    """Where commands run."""

    bin: Path
    """The environment's programs."""

    environment: dict[str, str]
    """Variables of the commands."""

    def run(self, *command: str | Path, **changed: str) -> "subprocess.CompletedProcess[str]":
        """One command to its end, in the project's folder; `changed` are further variables."""
        return subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.folder,
            env=self.environment | changed,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in ("maskmill", "models", "pipeline", "jobs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "-w", source / "wheels", source], check=True)
    (made,) = (source / "wheels").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def project(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project like many: packages of its own by the names of our folders, and modules by those of libraries."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # Of a folder that a .pth file names, the .pth files aren't read; one of them is how this checkout is installed.
    own = environment / "lib" / version / "site-packages"
    (own / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    # `ray` is a program of the packages; what it starts runs on this environment.
    (environment / "bin" / "ray").write_text(f"#!{python}\nfrom ray.scripts.scripts import main\nmain()\n")
    (environment / "bin" / "ray").chmod(0o755)

    folder = tmp_path_factory.mktemp("project")
    for name, text in {
        "models/unet.py": 'class UNet:\n    who = "the user\'s"\n',
        "pipeline/__init__.py": "",
        "pipeline/steps.py": "",
        "jobs/__init__.py": "raise RuntimeError('the user\\'s jobs, and not a library\\'s')\n",
        "api.py": API,
        "reader.py": READER,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    ray = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))  # short: sockets lie below it
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTEST_", "PYTHON"))
    }
    variables = {"RAY_TMPDIR": str(ray), "PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "COLUMNS": "100"}
    made = Project(folder=folder, bin=environment / "bin", environment=inherited | variables)
    ended = made.run("maskmill", "synthesize", "shards", "--shards", "2", "--samples", "4")
    assert ended.returncode == 0, ended.stderr
    yield made
    shutil.rmtree(ray, ignore_errors=True)


@pytest.fixture(scope="module")
def labeled(project: Project) -> Project:
    """The project after a `label` beside modules that would break any library."""
    hostile = {
        "queue.py": "",
        "timm/__init__.py": "raise RuntimeError('not timm')\n",
        "models.py": "",
        "maskmill/x.py": "",
    }
    for name, text in hostile.items():
        (project.folder / name).parent.mkdir(exist_ok=True)
        (project.folder / name).write_text(text)
    ended = project.run("maskmill", "label", "shards", "--output", "out", "--model", "san-tiny", "--device", "cpu")
    for name in hostile:
        (project.folder / name).unlink()
    (project.folder / "timm").rmdir()
    (project.folder / "maskmill").rmdir()
    assert ended.returncode == 0, ended.stderr
    assert "2 done, 0 failed, 0 missing" in ended.stdout
    return project


@pytest.mark.slow
def test_the_wheel_holds_one_package_with_its_data_and_types(wheel: Path) -> None:
    with ZipFile(wheel) as opened:
        names = opened.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"maskmill"}
    for file in (
        "py.typed",
        "jobs/cli.py",
        "models/san/data/san-tiny.safetensors",
        "models/vocabulary/labelsets/ade-847.txt",
        "pipeline/report/assets/sheet.js",
    ):
        assert f"maskmill/{file}" in names
    sources = {
        path.relative_to(ROOT) for folder in ("models", "pipeline", "jobs") for path in (ROOT / folder).rglob("*.py")
    }
    assert {f"maskmill/{path}" for path in sources} <= set(names)


@pytest.mark.slow
def test_label_and_verify_work_in_a_folder_with_packages_of_any_name(labeled: Project) -> None:
    ended = labeled.run("maskmill", "verify", "--deep", "out", PYTHONPATH=".")
    assert ended.returncode == 0, ended.stderr
    assert labeled.run("maskmill", "--help", PYTHONPATH=".").returncode == 0


@pytest.mark.slow
def test_python_calls_and_the_users_own_modules_get_along(labeled: Project) -> None:
    shown = labeled.run("maskmill", "show", "out", "000000003", "-o", "scene.png")
    assert shown.returncode == 0, shown.stderr
    ended = labeled.run("python", "api.py")
    assert ended.returncode == 0, ended.stderr
    assert "segments" in ended.stdout
    read = labeled.run("python", "reader.py")
    assert read.returncode == 0, read.stderr
    assert "8 images" in read.stdout


@pytest.mark.slow
def test_training_works_there(labeled: Project) -> None:
    steps = ["--steps", "2", "--batch-size", "2", "--crop", "64", "--device", "cpu", "--vocab", "scenes"]
    weights = ROOT / "models/san/data/san-tiny.safetensors"
    train = [
        "train",
        "shards",
        "-o",
        "trained",
        "--model",
        "san-tiny",
        "--init",
        str(weights),
        "--workers",
        "2",
        *steps,
    ]
    ended = labeled.run("maskmill", *train)
    assert ended.returncode == 0, ended.stderr
    assert (labeled.folder / "trained/model.safetensors").is_file()


@pytest.mark.slow
def test_a_submitted_job_with_that_folder_as_its_working_directory_labels(labeled: Project) -> None:
    dashboard = free_ports(1)[0]
    own = {"PATH": labeled.environment["PATH"]}
    with ray_nodes(2, environment=own, dashboard=dashboard, python=labeled.bin / "python") as nodes:
        address = {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}
        token = {name: value for name, value in nodes.environment.items() if name.startswith("RAY_AUTH")}
        shards, output = str(labeled.folder / "shards"), str(labeled.folder / "submitted")
        line = ["--working-dir", ".", "--", "maskmill", "label", shards, "--output", output, "--model", "san-tiny"]
        ended = labeled.run("ray", "job", "submit", *line, **address, **token)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 done, 0 failed, 0 missing" in ended.stdout


@pytest.mark.slow
def test_a_type_checker_reads_the_public_names(project: Project) -> None:
    (project.folder / "typed.py").write_text(TYPED)
    ended = project.run("python", "-m", "mypy", "--strict", "typed.py")
    # The lines that are wrong, and no other; nothing of `missing stubs or py.typed`.
    assert ended.stdout.count("error:") == 2, ended.stdout
    assert 'Module has no attribute "Vocabluary"' in ended.stdout
    assert 'Argument "min_score" to "SegmentFilter" has incompatible type "str"' in ended.stdout
