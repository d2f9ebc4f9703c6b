import torch

from tests.models.san.tiny16 import draw, tiny16


def test_folding_the_last_layer_into_queries_gives_the_plain_products():
    """The bias as the paper states it: an embedding for each pixel and head, times the queries, scaled and shifted."""
    decoder = tiny16(float64=True).model.side_adapter_network.mask_decoder
    queries, pixels = draw(2, 10, 48, dtype=torch.float64), draw(2, 24, 48, seed=1, dtype=torch.float64)
    decoded = decoder(queries, pixels, (4, 6))
    query = decoder.query_mlp(queries)
    embedded = decoder.attn_mlp(pixels).unflatten(-1, (decoder.heads, -1))  # [B, L, heads, E]
    bias = decoder.bias_scaling(torch.einsum("bqe,blhe->bhql", query, embedded)[..., None])[..., 0]
    assert torch.allclose(decoded.attention_bias.flatten(3), bias, rtol=0, atol=1e-12)
    masks = torch.einsum("bqe,ble->bql", query, decoder.pix_mlp(pixels))
    assert torch.allclose(decoded.mask_logits.flatten(2), masks, rtol=0, atol=1e-12)


def test_mask_logits_stay_float32_under_autocast():
    decoder = tiny16().model.side_adapter_network.mask_decoder
    with torch.autocast("cpu", torch.bfloat16):
        decoded = decoder(draw(1, 10, 48), draw(1, 24, 48), (4, 6))
    assert decoded.mask_logits.dtype == torch.float32
    assert tuple(decoded.mask_logits.shape) == (1, 10, 4, 6)
    assert tuple(decoded.attention_bias.shape) == (1, 2, 10, 4, 6)
