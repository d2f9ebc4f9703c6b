"""Scratch is left clean: after use, after a failure, and after a process that was killed."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from maskmill.models.scratch import PREFIX, YOUNG_SECONDS, clean, scratch_folder

HOLD = """
import sys
from pathlib import Path
from maskmill.models.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "shard.tar").write_bytes(b"x")
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(scratch: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process of its own that uses a folder until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(scratch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_gone_after_use_and_after_a_failure(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder, scratch_folder(tmp_path) as other:
        assert folder != other
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_bytes(b"x")
    with pytest.raises(ZeroDivisionError), scratch_folder(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_whoever_makes_a_folder_removes_what_killed_processes_left_there(tmp_path: Path) -> None:
    process, folder = holder(tmp_path)
    process.kill()
    process.communicate()
    assert folder.is_dir()
    with scratch_folder(tmp_path) as mine:
        assert list(tmp_path.iterdir()) == [mine]


def test_without_a_place_it_is_made_in_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch_folder() as folder:
        assert folder.parent == tmp_path


def test_a_folder_in_use_stays_and_one_of_a_killed_process_goes(tmp_path: Path) -> None:
    process, folder = holder(tmp_path)
    try:
        with scratch_folder(tmp_path) as mine:
            assert clean(tmp_path) == 0
            assert mine.is_dir()
            assert (folder / "shard.tar").exists()
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            assert folder.is_dir()
            assert clean(tmp_path) == 1
            assert mine.is_dir()
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.communicate()


def test_a_folder_without_a_lock_goes_once_it_is_old(tmp_path: Path) -> None:
    folder = tmp_path / f"{PREFIX}abcdefgh"
    folder.mkdir()
    assert clean(tmp_path) == 0
    old = folder.stat().st_mtime - YOUNG_SECONDS - 1
    os.utime(folder, (old, old))
    assert clean(tmp_path) == 1


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".held").touch()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / f"{PREFIX}linklink").symlink_to(elsewhere)
    (scratch / f"{PREFIX}filefile").touch()
    for name in ("maskmill-clone", "maskmill-scratch-of-mine", "maskmill"):
        (scratch / name).mkdir()
        os.utime(scratch / name, (0, 0))
    assert clean(scratch) == 0
    assert len(list(scratch.iterdir())) == 5
    assert (elsewhere / ".held").exists()
    assert clean(tmp_path / "nowhere") == 0
