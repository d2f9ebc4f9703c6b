"""What of a `label` is wrong or done is found before Ray and a model, and a dry run says what is left."""

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maskmill.models import zoo
from maskmill.models.errors import EnvironmentFailure, UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline.config import LabelConfig, ModelConfig, ReplicaConfig, VocabularyConfig
from maskmill.pipeline.labeling.preflight import LISTED, Work, dry_run, preflight
from maskmill.pipeline.output import Output
from maskmill.pipeline.shards.planning import shards_of
from maskmill.pipeline.shards.shard import Shard
from tests.plain_run import PLAIN, label

TINY = LabelConfig(model=ModelConfig(model="san-tiny", device="cpu"))


def checked(sources: list[Path], output: Output, config: LabelConfig = TINY) -> Work:
    return preflight(shards_of([*map(str, sources)], limit=None), config, output)


def test_what_may_be_labeled_is_told_from_what_is_known_to_fail(scenes, tmp_path):
    output = Output.of(str(tmp_path / "out"))
    table = tmp_path / "urls.csv"
    table.write_text("url,caption\nhttp://host/1.jpg,a dog\n" * 40)
    photos = tmp_path / "photos.zip"
    with zipfile.ZipFile(photos, "w") as archive:
        archive.writestr("0.jpg", bytes(2_000))
    work = checked([scenes[0], table, photos, tmp_path / "never.tar"], output)
    assert {url: str(error) for url, error in work.unreadable.items()} == {
        str(table): "not_tar: the first 512 bytes are no tar header",
        str(photos): "compressed: zip data; unpack it to a plain .tar (images gain nothing from it)",
        f"{tmp_path}/never.tar": f"missing: {tmp_path}/never.tar does not exist",
    }
    assert work.needs_model
    assert not checked([table, tmp_path / "never.tar"], output).needs_model
    lines = dry_run(work, TINY, output)
    assert lines[0].endswith("0 done already, 1 not found, 2 unreadable)")
    assert lines[2:] == [
        f"  {scenes[0]}  {scenes[0].stat().st_size:,} bytes",
        f"  {table}  not_tar: the first 512 bytes are no tar header",
        f"  {photos}  compressed: zip data; unpack it to a plain .tar (images gain nothing from it)",
        f"  {tmp_path}/never.tar  not found",
    ]
    assert not Path(output.url).exists()


def test_a_finished_run_has_nothing_to_do_and_half_a_one_the_rest(scenes, tmp_path):
    output = Output.of(str(tmp_path / "out"))
    label(zoo.load("san-tiny", device="cpu"), scenes, output, only=1)
    config = replace(PLAIN, replica=ReplicaConfig(batch_size=1))
    work = checked(scenes, output, config)
    assert [shard.url for shard in work.todo] == [str(scenes[1])]
    assert dry_run(work, config, output)[0].startswith("would label 1 of 2 shards (")
    assert "1 done already" in dry_run(work, config, output)[0]
    # Nothing of it is labeled, so that it needs no device either.
    finished = checked(scenes[:1], output, replace(PLAIN, model=ModelConfig(model="san-tiny", device="cuda")))
    assert (finished.todo, finished.needs_model) == ((), False)


@pytest.mark.parametrize("left", [1, 0])
def test_a_run_of_other_weights_is_refused_before_ray_whether_or_not_a_shard_is_left(tiny, scenes, tmp_path, left):
    output = Output.of(str(tmp_path / "out"))
    label(tiny, scenes, output, only=1)
    with pytest.raises(UsageError, match=r'holds another run \(weights: "[0-9a-f.]+" there, "[0-9a-f.]+" now\)'):
        checked(scenes[: 1 + left], output, PLAIN)


def test_many_shards_are_listed_up_to_a_bound_and_without_credentials(tmp_path):
    output = Output.of(str(tmp_path))
    shards = tuple(Shard(url=f"s3://b/{n}.tar", source=f"s3://b/{n}.tar", size=1) for n in range(LISTED + 1_500))
    words = {"vocabulary": Vocabulary.load("scenes"), "templates": ("{}",)}
    text = dry_run(Work(shards=shards, todo=shards, **words), LabelConfig(), output)
    assert len(text) == 2 + LISTED + 1
    assert text[-1] == "  and 1,500 more"
    one = (Shard(url="https://h/a.tar", source="https://me:hunter2@h/a.tar?sig=hunter3", size=1),)
    assert "hunter" not in "\n".join(dry_run(Work(shards=one, todo=one, **words), LabelConfig(), output))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_that_are_none_are_refused(scenes, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    config = replace(TINY, model=replace(TINY.model, weights=str(path)))
    output = Output.of(str(tmp_path / "out"))
    with pytest.raises(UsageError, match="no such file"):
        checked(scenes, output, config)
    path.write_bytes(os.urandom(5_000))
    with pytest.raises(UsageError, match=r"weights.*(no whole file of torch.save|not a whole safetensors file)"):
        checked(scenes, output, config)
    assert not Path(output.url).exists()


def test_another_models_weights_are_refused(scenes, tmp_path):
    torch.save({"conv1.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "foreign.pth")
    config = replace(TINY, model=replace(TINY.model, weights=str(tmp_path / "foreign.pth")))
    with pytest.raises(UsageError, match=r"does not fit the model: .* 1 unexpected \(conv1.weight\)"):
        checked(scenes, Output.of(str(tmp_path / "out")), config)


@pytest.mark.parametrize(
    ("words", "told"),
    [("sky\nhippopotamus\n", "has no token 'hippo'"), ("sky\n" + "xqzjvkw " * 30, "makes a prompt of 1.. tokens")],
)
def test_names_that_the_model_cannot_read_are_refused(scenes, tmp_path, words, told):
    (tmp_path / "words.txt").write_text(words)
    config = replace(TINY, vocabulary=VocabularyConfig(vocab=str(tmp_path / "words.txt")))
    with pytest.raises(UsageError, match=told):
        checked(scenes, Output.of(str(tmp_path / "out")), config)


def test_folders_that_are_none_are_refused(scenes, tmp_path):
    (tmp_path / "list.csv").write_text("a")
    for out in ("list.csv", "list.csv/out"):
        with pytest.raises(UsageError, match=r"list\.csv is a file, expected a folder"):
            checked(scenes, Output.of(str(tmp_path / out)))
    config = replace(TINY, replica=ReplicaConfig(scratch=tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"--scratch .*no such folder"):
        checked(scenes, Output.of(str(tmp_path / "out")), config)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_may_not_be_written_is_an_environment_failure(scenes, tmp_path):
    (tmp_path / "theirs").mkdir(mode=0o555)
    with pytest.raises(EnvironmentFailure, match=r"no permission to write into .*theirs"):
        checked(scenes, Output.of(str(tmp_path / "theirs" / "out")))
