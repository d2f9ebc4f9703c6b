"""What a user may ask for, and how what cannot be is refused: in one line that names the option."""

import math

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.inference.forms import GeneralInference, QueriesInference, SemanticInference
from maskmill.pipeline.config import InferenceConfig, JobConfig, LabelConfig, ModelConfig, ReplicaConfig


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: InferenceConfig(score_threshold=1.5), "--score-threshold 1.5"),
        (lambda: InferenceConfig(score_threshold=math.nan), "--score-threshold nan"),
        (lambda: InferenceConfig(overlap_threshold=-0.1), "--overlap-threshold -0.1"),
        (lambda: InferenceConfig(top_k=0), "--top-k 0"),
        (lambda: InferenceConfig(mask_side=0), "--mask-side 0"),
        (lambda: InferenceConfig(inference="semantic", soft_masks=True), "--soft-masks"),
        (lambda: ReplicaConfig(replicas="0"), "--replicas '0'"),
        (lambda: ReplicaConfig(replicas="4:2"), "--replicas '4:2'"),
        (lambda: ReplicaConfig(replicas="1:2:3"), "--replicas '1:2:3'"),
        (lambda: ReplicaConfig(replicas="many"), "--replicas 'many'"),
        (lambda: ReplicaConfig(replicas="1:"), "--replicas '1:'"),
        (lambda: ReplicaConfig(replicas="-1"), "--replicas '-1'"),
        (lambda: ReplicaConfig(cpus_per_replica=0), "--cpus-per-replica 0"),
        (lambda: ReplicaConfig(batch_size=0), "--batch-size 0"),
        (lambda: ReplicaConfig(stall_seconds=0), "--stall-seconds 0"),
        (lambda: ReplicaConfig(stall_seconds=math.nan), "--stall-seconds nan"),
        (lambda: JobConfig(limit=0), "--limit 0"),
        (lambda: JobConfig(max_failed_shards="many"), "--max-failed-shards 'many'"),
        (lambda: JobConfig(max_failed_shards="-1"), "--max-failed-shards '-1'"),
        (lambda: JobConfig(max_failed_shards="1.5"), "--max-failed-shards '1.5'"),
        (lambda: JobConfig(max_failed_shards="nan"), "--max-failed-shards 'nan'"),
        (lambda: JobConfig(max_failed_samples=1.01), "--max-failed-samples 1.01"),
        (lambda: JobConfig(max_failed_samples=math.nan), "--max-failed-samples nan"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_line(make, named):
    with pytest.raises(UsageError) as refused:
        make()
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "bounds"), [(None, None), ("1", (1, 1)), ("8", (8, 8)), ("1:8", (1, 8)), ("3:3", (3, 3))]
)
def test_replicas_are_a_number_or_a_range(text, bounds):
    assert ReplicaConfig(replicas=text).bounds() == bounds


def test_each_form_takes_the_thresholds_it_has():
    numbers = {"score_threshold": 0.25, "overlap_threshold": 0.75}
    assert InferenceConfig(**numbers).form() == GeneralInference(score_threshold=0.25, overlap_threshold=0.75)
    assert InferenceConfig(**numbers, inference="queries").form() == QueriesInference(score_threshold=0.25)
    assert InferenceConfig(**numbers, inference="semantic").form() == SemanticInference()


def test_the_defaults_are_the_contracts():
    config = LabelConfig()
    assert (config.form, config.templates, config.inference.mask_side, config.inference.top_k) == (
        "general",
        "vild14",
        1024,
        5,
    )
    assert not config.inference.soft_masks
    assert config.job.max_failed_samples == 0.5


def test_what_is_not_compiled_is_refused_before_anything_is_loaded():
    config = LabelConfig(model=ModelConfig(model="denseclip-rn50"), replica=ReplicaConfig(compile=True))
    with pytest.raises(UsageError, match=r"--compile.*denseclip-rn50"):
        config.check_model()
