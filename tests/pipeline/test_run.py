"""A run's identity: all that changes labels is in it, nothing else is, and another run's output is refused."""

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import pytest

from maskmill.models.errors import UsageError
from maskmill.models.resize import ResizeRule
from maskmill.models.zoo import MODELS
from maskmill.pipeline import run
from maskmill.pipeline.config import (
    InferenceConfig,
    JobConfig,
    LabelConfig,
    ModelConfig,
    ReplicaConfig,
    VocabularyConfig,
)
from maskmill.pipeline.output import Output
from maskmill.pipeline.reading.decoding import DecodingConfig
from maskmill.pipeline.reading.limits import ReadLimits
from maskmill.pipeline.run import Identity
from tests.version_1 import DATA

HASHES = {"weights": "w" * 64, "vocabulary": "v" * 64, "templates": "t" * 64, "text_features": "f" * 64}


def identity(config: LabelConfig = LabelConfig(), **changed) -> Identity:  # noqa: B008 (frozen)
    return run.identity(config, **{"rule": ResizeRule(), **HASHES, **changed})


BASE = identity()

FINGERPRINT = "f0df49140c5d6b95477c171ecee7d505b9207d593be6a9342deffcd28ba0e9fa"
"""Of `identity()` as it was written when there was no option but those of the first release: runs began with it."""


@pytest.mark.parametrize(
    "config",
    [
        LabelConfig(replica=ReplicaConfig(replicas="4", cpus_per_replica=3, batch_size=2, scratch=Path("/elsewhere"))),
        LabelConfig(job=JobConfig(limit=3, dry_run=True, max_failed_samples=0.1)),
        LabelConfig(model=ModelConfig(device="cpu")),
        LabelConfig(decoding=DecodingConfig(decoder="pillow")),
        # Files are named by what is in them, which the hashes say.
        LabelConfig(model=ModelConfig(weights="/some/file.pth")),
        LabelConfig(vocabulary=VocabularyConfig(vocab="/a/copy.txt", templates="/a/copy2.txt")),
    ],
    ids=["replica", "job", "device", "decoder of equal pixels", "weights' place", "vocabulary's place"],
)
def test_what_does_not_change_labels_does_not_change_the_fingerprint(config):
    assert identity(config) == BASE
    assert identity(config).fingerprint == BASE.fingerprint


OTHER = {
    "model": identity(LabelConfig(model=ModelConfig(model="san-vit-l14"))),
    "weights": identity(weights="x" * 64),
    "vocabulary": identity(vocabulary="x" * 64),
    "templates": identity(templates="x" * 64),
    "text_features": identity(text_features="x" * 64),
    "inference": identity(LabelConfig(inference=InferenceConfig(inference="queries"))),
    "score_threshold": identity(LabelConfig(inference=InferenceConfig(score_threshold=0.4))),
    "overlap_threshold": identity(LabelConfig(inference=InferenceConfig(overlap_threshold=0.4))),
    "top_k": identity(LabelConfig(inference=InferenceConfig(top_k=4))),
    "soft_masks": identity(LabelConfig(inference=InferenceConfig(soft_masks=True))),
    "mask_side": identity(LabelConfig(inference=InferenceConfig(mask_side=512))),
    "resize": identity(rule=ResizeRule(long_side_cap=1024)),
    "limits": identity(LabelConfig(limits=ReadLimits(max_pixels=1000))),
    "decoder": identity(LabelConfig(decoding=DecodingConfig(scaled_decoding=True))),
    "windows": identity(LabelConfig(inference=InferenceConfig(windows=2.0))),
    "dtype": identity(LabelConfig(model=ModelConfig(dtype="bfloat16"))),
    "agreement": identity(LabelConfig(inference=InferenceConfig(agreement="flip"))),
    "label_version": replace(BASE, label_version=run.LABEL_VERSION + 1),
}


def test_every_field_of_the_identity_is_among_the_cases():
    assert OTHER.keys() == {field.name for field in fields(Identity)}


@pytest.mark.parametrize("name", OTHER)
def test_what_changes_labels_changes_the_fingerprint_and_is_named(name, tmp_path):
    other = OTHER[name]
    assert other.fingerprint != BASE.fingerprint
    output = Output.of(str(tmp_path))
    run.record(output, BASE, LabelConfig())
    with pytest.raises(UsageError) as refused:
        run.record(output, other, LabelConfig())
    assert f"{name}: " in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("field", [field.name for field in fields(ReadLimits)])
def test_every_limit_of_reading_is_part_of_the_identity(field):
    others = {"keep_truncated": True, "image_member": "input.jpg", "caption_member": "caption.txt"}
    limits = ReadLimits(**{field: others.get(field, 1000)})
    assert identity(LabelConfig(limits=limits)).fingerprint != BASE.fingerprint


@dataclass(frozen=True, kw_only=True, slots=True)
class LaterLimits(ReadLimits):
    """The limits of a version to come."""

    new_limit: int = 7


def test_a_limit_that_a_later_version_adds_leaves_runs_that_began_earlier_resumable():
    assert identity(LabelConfig(limits=LaterLimits())).fingerprint == BASE.fingerprint
    assert identity(LabelConfig(limits=LaterLimits(new_limit=8))).fingerprint != BASE.fingerprint


def test_a_run_without_windows_has_the_fingerprint_it_had_before_there_were_any():
    assert BASE.windows is None
    assert replace(BASE, label_version=1).fingerprint == FINGERPRINT


def test_windows_tell_side_stride_and_scale_and_the_rule_that_they_have_a_scale():
    rule = MODELS["san-vit-b16"].rule_with(2.0)
    config = LabelConfig(inference=InferenceConfig(inference="semantic", windows=2.0))
    windowed = identity(config, rule=rule)
    assert windowed.windows == "640 every 426 of images up to 2 times their usual size"
    assert asdict(windowed)["resize"] == {
        "short_side": 640,
        "long_side_cap": 2560,
        "multiple": 32,
        "scale": 2.0,
    }
    assert identity(LabelConfig(model=ModelConfig(model="denseclip-rn50"))).windows == "512 every 341"


def test_a_run_that_began_before_agreement_was_offered_keeps_its_fingerprint(tmp_path):
    """The stored run.json is one that an earlier version wrote."""
    recorded = json.loads((DATA / "open" / "run.json").read_text())
    now = Identity(**recorded["identity"] | {"resize": ResizeRule(**recorded["identity"]["resize"])})
    assert now.fingerprint == recorded["fingerprint"]
    assert now.differences(recorded["identity"]) == []
    agreeing = replace(now, agreement=["flip"])
    assert agreeing.fingerprint != now.fingerprint
    assert agreeing.differences(recorded["identity"]) == ['agreement: null there, ["flip"] now']


def test_the_order_in_which_views_are_named_does_not_change_the_fingerprint():
    first, second = (
        identity(LabelConfig(inference=InferenceConfig(agreement=text))) for text in ("flip,scale", "scale, flip")
    )
    assert first.fingerprint == second.fingerprint
    assert first.agreement == ["flip", "scale 0.75"]


def test_thresholds_that_a_form_has_not_do_not_count():
    semantic = [
        identity(LabelConfig(inference=InferenceConfig(inference="semantic", score_threshold=t))) for t in (0.1, 0.9)
    ]
    assert semantic[0] == semantic[1]
    assert semantic[0].score_threshold is None


def test_a_refusal_names_all_fields_that_differ_and_no_other(tmp_path):
    output = Output.of(str(tmp_path))
    run.record(output, BASE, LabelConfig())
    with pytest.raises(UsageError) as refused:
        run.record(output, replace(BASE, top_k=9, mask_side=64), LabelConfig())
    text = str(refused.value)
    assert "mask_side: 1024 there, 64 now" in text
    assert "top_k: 5 there, 9 now" in text
    assert "weights" not in text


def test_the_same_run_is_taken_up_again_and_its_file_stays(tmp_path):
    output = Output.of(str(tmp_path))
    run.record(output, BASE, LabelConfig())
    before = (tmp_path / "run.json").read_bytes()
    run.record(output, BASE, LabelConfig(replica=ReplicaConfig(replicas="9")))
    assert (tmp_path / "run.json").read_bytes() == before


def test_run_json_says_what_shaped_the_labels(tmp_path):
    output = Output.of(str(tmp_path))
    run.record(output, BASE, LabelConfig())
    recorded = run.require(output)
    assert recorded["fingerprint"] == BASE.fingerprint
    assert recorded["identity"]["weights"] == "w" * 64
    assert recorded["identity"]["resize"] == {"short_side": 640, "long_side_cap": 2560, "multiple": 32}
    assert recorded["versions"]["torch"]
    assert recorded["config"]["inference"]["score_threshold"] == 0.5


def test_run_json_holds_no_credentials(tmp_path):
    config = LabelConfig(
        model=ModelConfig(weights="https://me:hunter2@host/w.pth?token=hunter3"),
        vocabulary=VocabularyConfig(
            vocab="https://me:hunter4@host/v.txt?sig=hunter5", templates="https://me:hunter6@h/t.txt?sig=hunter7"
        ),
    )
    output = Output.of(str(tmp_path))
    run.record(output, BASE, config)
    text = (tmp_path / "run.json").read_text()
    assert "hunter" not in text
    assert json.loads(text)["config"]["model"]["weights"] == "https://host/w.pth"


def test_an_output_that_holds_no_run_is_wrong_usage(tmp_path):
    assert run.read(Output.of(str(tmp_path))) is None
    with pytest.raises(UsageError, match=r"no run\.json there"):
        run.require(Output.of(str(tmp_path)))


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"identity": 5}', '{"identity": {}, "fingerprint": 1}'])
def test_a_damaged_run_json_is_wrong_usage_in_one_line(tmp_path, damage):
    (tmp_path / "run.json").write_text(damage)
    output = Output.of(str(tmp_path))
    for call in (lambda: run.require(output), lambda: run.record(output, BASE, LabelConfig())):
        with pytest.raises(UsageError, match=r"run\.json: damaged") as refused:
            call()
        assert "\n" not in str(refused.value)
