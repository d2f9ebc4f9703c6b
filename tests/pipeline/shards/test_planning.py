"""Shards out of words, and whether OUT holds the same run: nothing of a shard is read, no model is loaded."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary.templates import load_templates
from maskmill.pipeline.config import InferenceConfig, LabelConfig, ModelConfig, VocabularyConfig
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.planning import refuse_another_run, shards_of, vocabulary_of
from tests.fault_proxy import fault_proxy
from tests.plain_run import MANY_SEGMENTS, PLAIN, label
from tests.s3_server import led_to, moto_server


def holds_this_run(config: LabelConfig, output: Output) -> bool:
    return refuse_another_run(config, output, vocabulary_of(config), load_templates(config.templates))


def test_shards_come_in_the_order_of_asking_once_each_and_up_to_the_limit(scenes, tmp_path):
    folder = scenes[0].parent
    pattern = f"{folder}/scenes-*.tar"
    assert [shard.url for shard in shards_of([str(scenes[1]), pattern], limit=None)] == [str(scenes[1]), str(scenes[0])]
    assert [shard.url for shard in shards_of([pattern], limit=1)] == [str(scenes[0])]
    assert shards_of([pattern], limit=None)[0].size == scenes[0].stat().st_size


def test_a_named_shard_that_is_not_there_is_kept_and_a_pattern_without_a_match_is_wrong_usage(tmp_path):
    (shard,) = shards_of([str(tmp_path / "never.tar")], limit=None)
    assert shard.missing
    with pytest.raises(UsageError, match="matches no file"):
        shards_of([str(tmp_path / "*.tar")], limit=None)


def test_another_run_is_refused_before_a_model_is_loaded(tiny, scenes, tmp_path):
    output = Output.of(str(tmp_path / "out"))
    label(tiny, scenes, output, only=1)
    other = replace(PLAIN, inference=replace(MANY_SEGMENTS, inference="semantic"))
    with pytest.raises(UsageError, match='inference: "general" there, "semantic" now'):
        holds_this_run(other, output)
    with pytest.raises(UsageError, match="model: "):
        holds_this_run(replace(PLAIN, model=ModelConfig(model="san-vit-b16")), output)
    with pytest.raises(UsageError, match=r"score_threshold: 0\.1 there, 0\.5 now"):
        holds_this_run(replace(PLAIN, inference=InferenceConfig(overlap_threshold=0.0)), output)
    assert holds_this_run(PLAIN, output)
    assert not holds_this_run(other, Output.of(str(tmp_path / "nothing there yet")))


def test_an_unknown_vocabulary_is_refused_before_a_model_is_loaded(tmp_path):
    config = LabelConfig(vocabulary=VocabularyConfig(vocab="no-such-set"))
    with pytest.raises(UsageError, match="no-such-set"):
        holds_this_run(config, Output.of(str(tmp_path)))


def test_a_run_json_without_its_fields_is_another_run(tmp_path):
    (tmp_path / "run.json").write_text('{"identity": {}, "fingerprint": ""}')
    with pytest.raises(UsageError, match="holds another run"):
        holds_this_run(PLAIN, Output.of(str(tmp_path)))


@pytest.fixture(scope="module")
def bucket():
    with moto_server() as server, fault_proxy(server.endpoint) as proxy, led_to(server, proxy.endpoint):
        with ThreadPoolExecutor(8) as threads:
            list(
                threads.map(
                    server.put_all,
                    ({f"many/{n:05}.tar": b"x" for n in range(first, 1100, 8)} for first in range(8)),
                )
            )
        server.put_all({"many/notes.txt": b"x", "few/a.tar": b"ab", "few/b.tar": b"abc"})
        yield proxy


@pytest.mark.parametrize(
    ("argument", "shards", "requests"),
    [
        ("s3://shards/many/*.tar", 1100, {"HEAD object": 1, "GET list": 2}),
        ("s3://shards/many/", 1100, {"GET list": 2}),
        ("s3://shards/many", 1100, {"HEAD object": 1, "GET list": 2}),
        ("s3://shards/**/*.tar", 1102, {"HEAD object": 1, "GET list": 2}),
        ("s3://shards/many/010*.tar", 100, {"HEAD object": 1, "GET list": 1}),
        ("s3://shards/many/{00000..01099}.tar", 1100, {"GET list": 2}),
        ("s3://shards/few/{a,b}.tar", 2, {"HEAD object": 2}),
    ],
)
def test_shards_are_listed_and_described_by_one_listing(bucket, argument, shards, requests):
    bucket.log.clear()
    found = shards_of([argument], limit=None)
    assert len(found) == shards
    assert all(shard.etag and shard.size for shard in found)
    assert bucket.requests() == requests
