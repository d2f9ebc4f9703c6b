"""What killed processes leave on its way is removed by whoever comes next, and nothing that is still under way."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskmill.pipeline.stores.leftovers import LEFT_SECONDS, held_copy, leftovers, remove_leftovers, remove_uploads
from maskmill.pipeline.stores.publish import names
from tests.s3_server import led_to, moto_server

HOLD = """
import sys
from pathlib import Path
from maskmill.pipeline.stores.leftovers import held_copy
with held_copy(Path(sys.argv[1])) as copy:
    copy.write_bytes(b"half a fi")
    print(copy, flush=True)
    sys.stdin.read()
"""


def test_a_copy_under_way_stays_and_that_of_a_killed_process_goes_at_once(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        copy = Path(process.stdout.readline().strip())
        with held_copy(tmp_path) as mine:
            os.utime(copy, (0, 0))
            remove_leftovers(str(tmp_path))
            assert sorted(leftovers(str(tmp_path))) == sorted([mine, copy])
            assert names(str(tmp_path)) == []
            process.kill()
            process.wait(60)
            remove_leftovers(str(tmp_path))
            assert leftovers(str(tmp_path)) == [mine]
        assert list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.communicate()


def test_copies_of_other_machines_go_once_they_are_old(tmp_path: Path) -> None:
    old, young, other = (tmp_path / name for name in (f".{'0' * 32}.tmp", f".{'1' * 32}.tmp", ".notes.tmp"))
    for path in (old, young, other):
        path.write_bytes(b"half a fi")
    os.utime(old, (time.time() - LEFT_SECONDS - 60,) * 2)
    os.utime(other, (0, 0))
    remove_leftovers(str(tmp_path))
    assert sorted(tmp_path.iterdir()) == [young, other]
    remove_leftovers(str(tmp_path / "nowhere"))
    remove_leftovers("memory://anywhere")


def test_a_link_of_such_a_name_leads_to_nothing_that_is_removed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"whole")
    folder = tmp_path / "labels"
    folder.mkdir()
    link = folder / f".{'0' * 32}.tmp"
    link.symlink_to(elsewhere)
    os.utime(elsewhere, (0, 0))
    remove_leftovers(str(folder))
    assert elsewhere.read_bytes() == b"whole"


def test_uploads_in_parts_that_nobody_completes_are_aborted_once_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto_server() as server, led_to(server):
        client = server.client()
        for key in ("out/labels/part-000000.parquet", "output/labels/part-000000.parquet"):
            client.create_multipart_upload(Bucket=server.bucket, Key=key)

        def keys() -> list[str]:
            return [one["Key"] for one in client.list_multipart_uploads(Bucket=server.bucket).get("Uploads", [])]

        # moto says of all uploads that they began in 2010, so it is the limit that moves here.
        with monkeypatch.context() as patched:
            patched.setattr("maskmill.pipeline.stores.leftovers.UPLOAD_SECONDS", 100 * 365 * 24 * 3600.0)
            remove_uploads(server.url("out"))
        assert len(keys()) == 2, "they may be under way"
        remove_uploads(server.url("out"))
        assert keys() == ["output/labels/part-000000.parquet"]
    remove_uploads("memory://anywhere")
