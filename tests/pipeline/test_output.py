"""Every file of a run has one place below OUT, whatever OUT is."""

import uuid
from pathlib import Path

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.output import Output
from maskmill.pipeline.stores.publish import publish_bytes


@pytest.fixture(params=["path", "memory"])
def output(request, tmp_path):
    return Output.of(str(tmp_path / "out") if request.param == "path" else f"memory://{uuid.uuid4().hex}/out/")


def test_the_layout_is_the_contracts(output):
    base = output.url
    assert output.run == f"{base}/run.json"
    assert output.vocabulary == f"{base}/vocabulary.parquet"
    assert output.ledger == f"{base}/ledger.parquet"
    assert output.label("a-0123456789abcdef") == f"{base}/labels/a-0123456789abcdef.parquet"
    assert output.failed("a-0123456789abcdef") == f"{base}/failed/a-0123456789abcdef.json"
    assert output.manifest_part("1") == f"{base}/manifest/1.parquet"


def test_an_output_that_is_not_there_holds_nothing(output):
    assert output.done() == output.failures() == set()
    assert output.ledger_parts() == output.manifest_parts() == []
    assert output.read_json(output.run) is None


def test_listings_give_label_names_and_leave_out_what_is_not_theirs(output):
    for url in (output.label("b"), output.label("a.b"), output.failed("c"), f"{output.labels}/notes.txt"):
        publish_bytes(b"{}", url)
    assert output.done() == {"a.b", "b"}
    assert output.failures() == {"c"}


def test_a_new_file_is_in_the_next_listing(output):
    publish_bytes(b"", output.label("a"))
    assert output.done() == {"a"}
    publish_bytes(b"", output.label("b"))
    assert output.done() == {"a", "b"}


def test_parts_come_oldest_first(output):
    for name in ("20260102T000000000000Z", "20251231T235959999999Z", "20260101T000000000000Z"):
        publish_bytes(b"", output.ledger_part(name))
        publish_bytes(b"", output.manifest_part(name))
    assert [Path(url).stem[:8] for url in output.ledger_parts()] == ["20251231", "20260101", "20260102"]
    assert [Path(url).stem[:8] for url in output.manifest_parts()] == ["20251231", "20260101", "20260102"]


def test_json_comes_back_as_it_was_put(output):
    output.write_json(output.run, {"fingerprint": "ü", "identity": {"top_k": 5, "windows": None}})
    assert output.read_json(output.run) == {"fingerprint": "ü", "identity": {"top_k": 5, "windows": None}}


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_one_line_that_names_the_file(output, damage):
    publish_bytes(damage, output.run)
    with pytest.raises(UsageError, match=r"run\.json: damaged, expected a JSON object"):
        output.read_json(output.run)


def test_a_local_output_is_absolute_and_ends_without_a_slash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for named in ("out", "./out/", "deeper/../out", f"file://{tmp_path}/out", f"FILE://{tmp_path}/out/"):
        assert Output.of(named).url == str(tmp_path / "out")
    assert Output.of("~/out").url == str(tmp_path / "home" / "out")
    assert Output.of("s3://bucket/out/").url == "s3://bucket/out"


@pytest.mark.parametrize("url", ["", " ", "pipe:touch canary", "nosuch://b/out", "s3://key:secret@b/out", "a\x00b"])
def test_what_is_no_place_is_wrong_usage_in_one_line(url):
    with pytest.raises(UsageError) as raised:
        Output.of(url)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)
