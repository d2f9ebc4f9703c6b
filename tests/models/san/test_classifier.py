import torch
from torch.nn import functional

from tests.models.san.tiny16 import draw, tiny16


def test_text_is_the_same_in_any_company():
    """Columns after the last end token are cut off; a long prompt in the chunk keeps them for all."""
    segmenter = tiny16()
    short, long = "a cat", "a photo of " + "a very " * 20 + "large dog in the scene"
    alone = segmenter.encode_prompts([short])[0]
    beside = segmenter.encode_prompts([long, short])[1]
    assert torch.allclose(alone, beside, atol=1e-6)


def test_chunks_of_prompts_are_in_order():
    segmenter = tiny16()
    prompts = [f"thing {i}" for i in range(300)]
    together = segmenter.encode_prompts(prompts)
    assert tuple(together.shape) == (300, 32)
    for i in (0, 255, 256, 299):
        assert torch.allclose(together[i], segmenter.encode_prompts([prompts[i]])[0], atol=1e-6)


def test_the_background_is_the_last_class_and_all_have_length_one():
    classifier = tiny16().model.ov_classifier
    features = functional.normalize(draw(5, 32), dim=-1)
    weights = classifier.class_weights(features)
    assert torch.allclose(weights.norm(dim=-1), torch.ones(6))
    assert torch.allclose(weights[:5], features)
    assert torch.allclose(weights[5], functional.normalize(classifier.bg_embed[0], dim=0))


def test_class_logits_are_scaled_cosines_in_float32_under_autocast():
    classifier = tiny16().model.ov_classifier
    embeddings, weights = functional.normalize(draw(1, 3, 32), dim=-1), classifier.class_weights(draw(4, 32, seed=1))
    with torch.autocast("cpu", torch.bfloat16):
        logits = classifier(embeddings.bfloat16(), weights)
    assert logits.dtype == torch.float32
    assert torch.allclose(logits, 20.0 * embeddings.bfloat16().float() @ weights.T, rtol=1e-5, atol=1e-5)
