"""From prompt features to class features, against the formula written out in numpy."""

import numpy as np
import pytest
import torch

from maskmill.models.vocabulary.averaging import average


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_one_name_a_class_equals_the_published_formula():
    # SAN: normalise each template's feature, take the mean over templates, normalise again.
    raw = np.random.default_rng(0).normal(size=(5, 14, 32))
    expected = unit(unit(raw).mean(axis=1))
    found = average(torch.from_numpy(raw.reshape(-1, 32)), [0, 1, 2, 3, 4])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)


def test_synonyms_are_averaged_as_names_not_as_prompts():
    raw = np.random.default_rng(1).normal(size=(4, 3, 8))
    by_name = unit(unit(raw).mean(axis=1))
    expected = np.stack([by_name[0], unit(by_name[1:3].mean(axis=0)), by_name[3]])
    found = average(torch.from_numpy(raw.reshape(-1, 8)), [0, 1, 1, 2])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)


def test_a_class_keeps_its_feature_bit_for_bit_when_another_gets_a_synonym():
    raw = torch.randn(9, 16, generator=torch.Generator().manual_seed(2))
    assert torch.equal(average(raw[:6], [0, 1])[0], average(raw, [0, 1, 1])[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept_and_rows_are_unit(dtype):
    found = average(torch.randn(12, 4, dtype=dtype), [0, 0, 1, 2])
    assert found.dtype == dtype
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3, dtype=dtype))


def test_a_class_without_a_name_is_an_invariant_broken():
    with pytest.raises(AssertionError):
        average(torch.randn(4, 4), [0, 2])
