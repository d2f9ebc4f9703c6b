"""A look at a shard's first bytes says what a replica would say, and costs a store one small request."""

import pytest

from maskmill.pipeline.reading.errors import ShardError
from maskmill.pipeline.reading.first_bytes import unreadable
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.reading.open import open_shard
from maskmill.pipeline.shards.shard import describe_many
from tests.fault_proxy import fault_proxy
from tests.hostile import write_hostile
from tests.plain_run import write_tar
from tests.s3_server import led_to, moto_server


def verdicts(sources, scratch):
    """Of each source: what a look says, and what opening says."""
    shards = describe_many([*map(str, sources)])
    found = unreadable(shards, ReadLimits())
    for shard in shards:
        try:
            with open_shard(shard, scratch, ReadLimits()):
                opened = None
        except ShardError as error:
            opened = str(error)
        yield shard.url, str(found[shard.url]) if shard.url in found else None, opened


def test_a_look_never_says_another_thing_than_opening(tmp_path):
    write_hostile(tmp_path / "hostile")
    files = sorted(path for path in (tmp_path / "hostile").rglob("*") if path.is_file())
    files += [tmp_path / "never.tar"]
    looked = list(verdicts(files, tmp_path))
    assert [(url, look, opened) for url, look, opened in looked if look not in (None, opened)] == []
    assert sum(look is not None for _, look, _ in looked) >= 3


@pytest.mark.parametrize("name", ["a" * 90, "a" * 300, "\u00e4" * 60])
def test_a_tar_with_a_long_first_name_may_be_read(tmp_path, name):
    path = write_tar(tmp_path / "a.tar", {f"{name}.jpg": bytes(100_000)})
    assert list(verdicts([path], tmp_path)) == [(str(path), None, None)]


def test_one_small_request_is_made_for_a_stored_shard():
    with moto_server() as server, fault_proxy(server.endpoint) as proxy, led_to(server, proxy.endpoint):
        server.put_all({"in/urls.csv": b"url,caption\n" * 100_000})
        shards = describe_many([server.url("in/urls.csv")])
        proxy.log.clear()
        assert [error.reason for error in unreadable(shards, ReadLimits()).values()] == ["not_tar"]
        assert proxy.requests() == {"GET object": 1}
