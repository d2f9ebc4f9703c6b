"""A job of which no shard can be labeled leaves the run that one with Ray would leave, without a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from maskmill.models.errors import UsageError
from maskmill.models.vocabulary import Vocabulary
from maskmill.pipeline import parquet, run
from maskmill.pipeline.config import JobConfig, LabelConfig, ModelConfig
from maskmill.pipeline.labeling.begin import JobResult, end_without_model
from maskmill.pipeline.labeling.preflight import preflight
from maskmill.pipeline.ledger.failure import record
from maskmill.pipeline.ledger.status import status
from maskmill.pipeline.output import Output
from maskmill.pipeline.retry_choice import choose
from maskmill.pipeline.shards.planning import shards_of
from maskmill.pipeline.table.vocabulary_table import to_table

TINY = LabelConfig(model=ModelConfig(model="san-tiny"))


def ended(sources: list[str], output: Output, config: LabelConfig = TINY) -> JobResult:
    return end_without_model(preflight(shards_of(sources, limit=None), config, output), config, output)


@pytest.fixture
def broken(tmp_path) -> list[str]:
    (tmp_path / "urls.csv").write_text("url,caption\n" * 100)
    return [str(tmp_path / "urls.csv"), str(tmp_path / "never.tar")]


def test_shards_that_cannot_be_read_end_in_failed_and_in_the_ledger(tmp_path, broken):
    output = Output.of(str(tmp_path / "out"))
    result = ended(broken, output)
    assert [(row.url, row.reason, row.attempts) for row in result.status.rows()] == [
        (broken[0], "not_tar", 1),
        (broken[1], "missing", 1),
    ]
    assert (result.images, result.stopped, result.status.all_done) == (0, None, False)
    for shard in shards_of(broken, limit=None):
        kept = record(output, shard)
        assert (kept.state, kept.attempts, kept.size) == ("failed", 1, shard.size)
    assert status(output).table.equals(result.status.table)
    again = ended(broken, output)
    assert [row.attempts for row in again.status.rows()] == [2, 2]
    assert choose(output).failed == 2


def test_its_identity_is_the_one_that_a_job_with_the_model_has(tmp_path, broken, scenes):
    from maskmill.models.vocabulary.templates import load_templates
    from maskmill.models.zoo import load
    from maskmill.pipeline.text import TextIdentity

    output = Output.of(str(tmp_path / "out"))
    ended(broken, output)
    there = run.require(output)["identity"]
    vocabulary, templates = Vocabulary.load("scenes"), load_templates(TINY.templates)
    text = TextIdentity.of(vocabulary, templates, load("san-tiny", device="cpu"), dtype="float32")
    assert (there["weights"], there["text_features"]) == (text.weights, text.hash)


def test_a_finished_run_is_summed_up_and_other_weights_are_refused(tmp_path, broken):
    from safetensors.torch import load_file, save_file

    own = tmp_path / "student.safetensors"
    own.write_bytes(Path(_bundled()).read_bytes())
    config = replace(TINY, model=replace(TINY.model, weights=str(own)))
    output = Output.of(str(tmp_path / "out"))
    ended(broken, output, config)
    assert ended([], output, config).status.shards("failed") == 2
    tensors = load_file(own)
    tensors["ov_classifier.bg_embed"] += 1
    save_file(tensors, own)
    with pytest.raises(UsageError, match="holds another run"):
        ended([], output, config)
    own.unlink()
    assert ended([], output, config).status.shards("failed") == 2, "weights that have gone are those on record"


def test_too_many_failed_shards_end_it_early(tmp_path, broken):
    config = replace(TINY, job=JobConfig(max_failed_shards="1"))
    result = ended([*broken, str(tmp_path / "nowhere.tar")], Output.of(str(tmp_path / "out")), config)
    assert "ended early: 2 of the 2 shards that ended had failed" in str(result.stopped)
    assert (result.status.shards("failed"), result.status.shards("missing")) == (2, 1)


def _bundled() -> str:
    from maskmill.models.zoo import MODELS

    return MODELS["san-tiny"].source(None)


def test_a_run_that_another_took_over_as_it_began_leaves_the_others_vocabulary(tmp_path, broken, monkeypatch):
    """As on a store without conditional writes: both had looked for run.json, and the other's came later."""
    output = Output.of(str(tmp_path / "out"))
    others = to_table(Vocabulary.of(["cat", "dog"]))
    ours = run.record

    def taken_over(*arguments: Any) -> None:
        ours(*arguments)
        output.write_json(output.run, {**run.require(output), "fingerprint": "f" * 64})
        parquet.write(others, output.vocabulary)

    monkeypatch.setattr(run, "record", taken_over)
    with pytest.raises(run.AnotherRunError):
        ended(broken, output)
    assert pq.read_table(output.vocabulary).equals(others)
    assert output.manifest_parts() == []
