"""Scratch is left clean: after use, after a failure, and after a process that was killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from maskmill.pipeline.labeling.scratch import PREFIX, YOUNG_SECONDS, clean, shard_folder

HOLD = """
import sys
from pathlib import Path
from maskmill.pipeline.labeling.scratch import shard_folder
with shard_folder(Path(sys.argv[1])) as folder:
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
    with shard_folder(tmp_path) as folder, shard_folder(tmp_path) as other:
        assert folder != other
        (folder / "sub").mkdir()
        (folder / "sub" / "file").write_bytes(b"x")
    with pytest.raises(ZeroDivisionError), shard_folder(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_stays_and_one_of_a_killed_process_goes(tmp_path: Path) -> None:
    process, folder = holder(tmp_path)
    try:
        with shard_folder(tmp_path) as mine:
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
    folder = tmp_path / f"{PREFIX}x"
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
    (scratch / f"{PREFIX}link").symlink_to(elsewhere)
    (scratch / f"{PREFIX}file").touch()
    (scratch / "maskmill-weights-1").mkdir()
    assert clean(scratch) == 0
    assert len(list(scratch.iterdir())) == 3
    assert (elsewhere / ".held").exists()
    assert clean(tmp_path / "nowhere") == 0
