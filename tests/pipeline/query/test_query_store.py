"""Questions about an output in S3: the same answers, no more bytes than they take, no credentials in errors."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs

from maskmill.jobs.query import query
from maskmill.jobs.stats import stats
from maskmill.models.errors import UsageError
from maskmill.pipeline.compaction.compaction import compact
from maskmill.pipeline.output import Output
from maskmill.pipeline.query import ask
from tests.s3_server import S3Server, led_to, moto_server
from tests.table_scale import make


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files whose masks are most of their bytes."""
    folder = tmp_path_factory.mktemp("store") / "out"
    make(folder, 2, 4000, masks=400)
    return folder


@pytest.fixture(scope="module")
def server(local: Path) -> Iterator[S3Server]:
    with moto_server() as started, led_to(started):
        started.put_all({f"out/{p.relative_to(local)}": p.read_bytes() for p in local.rglob("*") if p.is_file()})
        yield started


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Bytes fetched from each label file."""
    taken: dict[str, int] = {}
    cat_file = s3fs.S3FileSystem._cat_file

    async def counted(self, path, *args, **kwargs):
        data = await cat_file(self, path, *args, **kwargs)
        if "/labels/" in path:
            taken[path] = taken.get(path, 0) + len(data)
        return data

    monkeypatch.setattr(s3fs.S3FileSystem, "_cat_file", counted)
    s3fs.S3FileSystem.clear_instance_cache()
    return taken


def asked(out, sql):
    with ask(str(out), sql) as answer:
        return list(answer.rows)


@pytest.mark.parametrize(
    "sql",
    [
        "FROM samples ORDER BY shard, sample_index",
        "FROM segments ORDER BY shard, sample_index, segment",
        "FROM classes ORDER BY vocab_id",
        "FROM failures ORDER BY ALL",
        "SELECT url, segments FROM ledger ORDER BY ALL",
        "SELECT count(*), sum(len(masks)) FROM labels",
    ],
)
def test_answers_are_those_of_the_local_table(local, server, sql):
    assert asked(server.url("out"), sql) == asked(local, sql)


def test_counting_fetches_no_masks(local, server, fetched):
    sizes = {f"{server.bucket}/out/labels/{path.name}": path.stat().st_size for path in (local / "labels").iterdir()}
    asked(server.url("out"), "SELECT class, count(*), avg(score) FROM segments GROUP BY ALL")
    assert fetched.keys() == sizes.keys()
    # The scalars of segments and the footer, twice read.
    assert sum(fetched.values()) < 0.6 * sum(sizes.values())
    fetched.clear()
    assert stats(server.url("out")) == 0
    assert sum(fetched.values()) < 0.2 * sum(sizes.values())


def test_a_class_that_one_file_holds_is_fetched_from_there_alone(server, fetched):
    assert asked(server.url("out"), "SELECT count(*) FROM segments WHERE class = 'zebra'")[0][0] > 0
    assert len({path for path, taken in fetched.items() if taken > 16_384 + 256}) == 1


def test_a_sealed_table_in_a_store_answers_alike(local, server, tmp_path):
    compact(Output.of(str(local)), Output.of(server.url("sealed")), scratch=tmp_path, file_bytes=1 << 30)
    sql = "SELECT class, count(*), avg(score) FROM segments GROUP BY ALL ORDER BY ALL"
    assert asked(server.url("sealed"), sql) == asked(local, sql)


def test_an_answer_can_go_to_the_store(server, capsys):
    assert query(server.url("out"), "SELECT count(*) AS n FROM samples", output=server.url("answers/n.csv")) == 0
    assert server.objects("answers") == {"answers/n.csv": b"n\n4000\n"}
    with pytest.raises(UsageError, match="inside the label table"):
        query(server.url("out"), "SELECT 1", output=server.url("out/labels/n.parquet"))


@pytest.mark.parametrize("file", ["run.json", "manifest", "vocabulary.parquet"])
def test_no_other_object_is_opened(server, file):
    for place in (server.url(f"out/{file}"), f"maskmill://{file}", "maskmill://../out/run.json"):
        with pytest.raises(UsageError, match="SQL: "):
            asked(server.url("out"), f"SELECT * FROM read_text('{place}')")


def test_what_the_store_refuses_is_told_without_the_credentials(server, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")
    name = sorted(key for key in server.objects("out/labels"))[0]
    kept = server.objects(name)[name]
    server.put_all({name: b"garbage" * 100})
    try:
        with pytest.raises(UsageError) as caught:
            asked(server.url("out"), "SELECT sum(segments) FROM samples")
    finally:
        server.put_all({name: kept})
    assert f"s3://{server.bucket}/{name}" in str(caught.value)
    assert "maskmill verify" in str(caught.value)
    assert "hunter2" not in str(caught.value)
