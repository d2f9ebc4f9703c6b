import math

import numpy as np
import pytest

from maskmill.models.san.untrained import FillRule, noise


def test_values_follow_from_name_and_shape_alone():
    rule = FillRule(salt="s/")
    name = "clip_rec_head.resblocks.0.mlp.c_fc.weight"
    assert np.array_equal(rule.tensor(name, (8, 4)), rule.tensor(name, (8, 4)))
    assert not np.array_equal(rule.tensor(name, (8, 4)), FillRule(salt="t/").tensor(name, (8, 4)))
    assert rule.tensor(name, (8, 4)).dtype == np.float32


def test_noise_has_mean_zero_variance_one_and_bounds():
    values = noise("x", 200_000)
    assert abs(values.mean()) < 0.01
    assert values.std() == pytest.approx(1.0, abs=0.01)
    assert np.abs(values).max() <= math.sqrt(3.0)


def test_overrides_fill_and_gains_multiply():
    name = "side_adapter_network.query_embed"
    rule = FillRule(overrides={"ov_classifier.logit_scale": 2.5}, gains={name: 4.0})
    assert rule.tensor("ov_classifier.logit_scale", ()) == np.float32(2.5)
    assert FillRule().tensor("ov_classifier.logit_scale", ()) == np.float32(math.log(100.0))
    np.testing.assert_allclose(rule.tensor(name, (1, 3, 4)), 4 * FillRule().tensor(name, (1, 3, 4)), rtol=1e-6)
