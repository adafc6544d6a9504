import torch
from torch import nn

from train.average import moving_average, set_steps


def number(value: float) -> nn.Module:
    """A model of one weight and one counter."""
    model = nn.Module()
    model.weight = nn.Parameter(torch.tensor([value]))
    model.register_buffer("seen", torch.tensor(7))
    return model


def test_a_young_average_forgets_faster_than_its_decay_says():
    model = number(0.0)
    average = moving_average(model, decay=0.99)
    model.weight.data.fill_(10.0)
    average.update_parameters(model)
    # After the first step a tenth is kept: 0.1 * 0 + 0.9 * 10. After the second 2 / 11: 2 / 11 * 9 + 9 / 11 * 10.
    torch.testing.assert_close(average.module.weight.data, torch.tensor([9.0]))
    average.update_parameters(model)
    torch.testing.assert_close(average.module.weight.data, torch.tensor([18 / 11 + 90 / 11]))


def test_an_old_average_keeps_what_its_decay_says_and_counters_are_copied():
    model = number(0.0)
    average = moving_average(model, decay=0.75)
    set_steps(average, 1000)
    model.weight.data.fill_(8.0)
    model.seen.fill_(9)
    average.update_parameters(model)
    torch.testing.assert_close(average.module.weight.data, torch.tensor([2.0]))  # 0.75 * 0 + 0.25 * 8
    assert int(average.module.seen) == 9
