import seeded
import torch

from graysam.models.quantize import count_quantized_layers, quantize_dynamic


def test_dynamic_int8_reaches_47_layers_of_the_decoder_and_none_of_the_encoder(l0):
    int8 = quantize_dynamic(l0)
    assert count_quantized_layers(int8.decoder.mask_decoder) == 47
    assert count_quantized_layers(int8) == 47
    assert count_quantized_layers(l0) == 0  # the model given is left alone


def test_the_quantized_decoder_stays_close_to_the_float_one(l0):
    int8 = quantize_dynamic(l0.decoder.mask_decoder)
    prompts = l0.decoder.prompt_encoder
    inputs = (
        torch.from_numpy(seeded.embedding()) + prompts.no_mask(),
        prompts(torch.from_numpy(seeded.BOXES)),
    )
    wanted, _ = l0.decoder.mask_decoder(*inputs, position=prompts.position_of_pixels())
    found, _ = int8(*inputs, position=prompts.position_of_pixels())
    # 8 bits of weights and of activations; measured 0.037 standard deviations on these random weights
    assert (found - wanted).square().mean().sqrt() < 0.1 * wanted.std()
    assert not torch.equal(found, wanted)
