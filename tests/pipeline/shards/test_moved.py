"""Prefixes of shards' names say where moved shards lie; nothing but whole folders is replaced."""

import pytest

from maskmill.models.errors import UsageError
from maskmill.pipeline.shards.moved import UNMOVED, ShardsAt


@pytest.mark.parametrize(
    ("word", "url", "source"),
    [
        ("/old=/new", "/old/a.tar", "/new/a.tar"),
        ("/old/=/new/", "/old/deep/a.tar", "/new/deep/a.tar"),
        ("/old=/new", "/older/a.tar", "/older/a.tar"),
        ("s3://a/train=/disk/train", "s3://a/train/0.tar", "/disk/train/0.tar"),
        ("s3a://a/train=gs://b/t", "s3://a/train/0.tar", "gs://b/t/0.tar"),
        ("s3://a/date=2024=s3://b/date=2025", "s3://a/date=2024/0.tar", "s3://b/date=2025/0.tar"),
        ("/d/x=1=/e/x=2", "/d/x=1/0.tar", "/e/x=2/0.tar"),
        ("/d/0.tar=/e/1.tar", "/d/0.tar", "/e/1.tar"),
    ],
)
def test_a_prefix_is_replaced_and_found_again(word, url, source):
    moved = ShardsAt.parse([word])
    assert moved.source(url) == source
    assert moved.recorded(source) == url


def test_without_moves_every_shard_lies_where_it_was():
    assert UNMOVED.source("s3://b/a.tar") == UNMOVED.recorded("s3://b/a.tar") == "s3://b/a.tar"
    UNMOVED.refuse_unused([])


def test_of_folders_in_folders_the_inner_one_wins():
    moved = ShardsAt.parse(["/a=/x", "/a/b=/y"])
    assert [moved.source(url) for url in ("/a/0.tar", "/a/b/0.tar")] == ["/x/0.tar", "/y/0.tar"]
    assert [moved.recorded(url) for url in ("/x/0.tar", "/y/0.tar")] == ["/a/0.tar", "/a/b/0.tar"]


def test_relative_folders_are_those_below_the_current_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    moved = ShardsAt.parse(["old=new"])
    assert moved.source(f"{tmp_path}/old/a.tar") == f"{tmp_path}/new/a.tar"


@pytest.mark.parametrize("words", [["/old"], ["=/new"], ["/old="], [""], ["/a=/b", "/a=/c"], ["/a=ftpx://b/c"]])
def test_what_names_no_two_places_is_wrong_usage(words):
    with pytest.raises(UsageError):
        ShardsAt.parse(words)


@pytest.mark.parametrize("moves", [["/old=/new"], {"/old": None}, {1: "/new"}, "/old=/new"])
def test_what_is_no_mapping_of_texts_is_wrong_usage(moves):
    with pytest.raises(UsageError, match="shards_at|--shards-at"):
        ShardsAt.of(moves)


def test_a_prefix_of_no_shard_is_wrong_usage_that_names_a_shard():
    with pytest.raises(UsageError, match=r"/tmp/typo=.*no shard of this run.*/data/0.tar"):
        ShardsAt.parse(["/tmp/typo=/new"]).refuse_unused(["/data/0.tar"])
