"""Files that appear whole or not at all, on disks that fill. A limit on the size of files stands for the disk."""

import errno
import json
import multiprocessing
import re
import resource
import signal

import pytest
import torch

from maskmill.models.disk import disk_errors
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.scratch import scratch_folder
from maskmill.pipeline.stores.leftovers import remove_leftovers
from maskmill.pipeline.stores.local_file import replacing, writing
from tests.full_disk import on_a_full_disk
from tests.killed import killed_as_it_wrote


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


def write_half(path):
    with replacing(path) as waiting:
        waiting.write_text("half")
        full()


def test_a_file_takes_its_name_once_it_is_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as waiting:
        waiting.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(EnvironmentFailure, match=re.escape(f"{path}: can't be written (No space left on device)")):
        write_half(path)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_what_a_killed_writer_left_is_removed_by_the_next_and_what_is_being_written_stays(tmp_path):
    path = tmp_path / "file.txt"
    left = killed_as_it_wrote(path)
    with replacing(path) as waiting:
        waiting.write_text("whole")
        remove_leftovers(str(tmp_path))
        assert sorted(tmp_path.iterdir()) == [waiting]
        assert not left.exists()
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("file.txt", "whole")]


def test_a_place_that_nobody_could_write_is_wrong_usage(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="can't be written"), replacing(place) as waiting:
            waiting.write_text("x")
    with pytest.raises(UsageError, match="can't be written"), writing(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_other_errors_pass(tmp_path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a"):
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        raise FileNotFoundError
    with pytest.raises(EnvironmentFailure, match="can't be written"), scratch_folder(tmp_path):
        full()
    assert list(tmp_path.iterdir()) == []


def _torch_save(folder):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    from maskmill.models.checkpoint import save_safetensors

    state = {"a": torch.zeros(10000)}
    said = []
    for name, write in {"a.pt": torch.save, "a.safetensors": save_safetensors}.items():
        try:
            with replacing(folder / name) as waiting:
                write(state, waiting)
        except EnvironmentFailure as error:
            said.append(str(error))
    (folder / "said.json").write_text(json.dumps(said))


def test_what_torch_and_safetensors_say_of_a_full_disk_is_understood(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_torch_save, args=(tmp_path,))
    process.start()
    process.join(60)
    said = json.loads((tmp_path / "said.json").read_text())
    assert [line.split(": can't be written")[0] for line in said] == [
        str(tmp_path / n) for n in ("a.pt", "a.safetensors")
    ]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["said.json"]


def test_synthesize_on_a_full_disk_is_one_line_that_names_the_shard(tmp_path):
    ended = on_a_full_disk(20_000, "synthesize", tmp_path / "shards", "--shards", 1, "--samples", 20)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.splitlines() == [
        f"maskmill: {tmp_path}/shards/scenes-000000.tar: can't be written (File too large). Make room there, or name "
        "another place."
    ]
    assert list((tmp_path / "shards").iterdir()) == []
