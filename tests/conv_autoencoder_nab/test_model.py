"""The autoencoder: size, lengths, its layers against PyTorch's own, gradients, one batch."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from conv_autoencoder_nab.model import ConvAutoencoder, absolute_errors


def test_parameters_as_published() -> None:
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in ConvAutoencoder().children()]
    assert sizes == [128, 904, 912, 113, 0]
    assert sum(sizes) == 2057


@pytest.mark.parametrize("kernel", [1, 2, 7, 8])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_every_window_comes_back_at_its_length(kernel: int, stride: int) -> None:
    model = ConvAutoencoder(kernel=kernel, stride=stride)
    for window in (*range(1, 20), 96, 97):
        assert model(torch.zeros(2, window)).shape == (2, window)


def test_equals_a_composition_of_plain_layers() -> None:
    torch.manual_seed(0)
    model = ConvAutoencoder().eval()
    plain = nn.Sequential(
        nn.Conv1d(1, 16, 7, 2, 3),
        nn.ReLU(),
        nn.Conv1d(16, 8, 7, 2, 3),
        nn.ReLU(),
        nn.ConvTranspose1d(8, 16, 7, 2, 3, output_padding=1),
        nn.ReLU(),
        nn.ConvTranspose1d(16, 1, 7, 2, 3, output_padding=1),
    )
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        other.data.copy_(own.data)
    windows = torch.randn(3, 96)
    torch.testing.assert_close(model(windows), plain(windows[:, None])[:, 0])
    torch.testing.assert_close(
        absolute_errors(model, windows), (plain(windows[:, None])[:, 0] - windows).abs()
    )


def test_gradient_reaches_every_parameter(unreached: Callable) -> None:
    torch.manual_seed(0)
    model = ConvAutoencoder()
    assert not unreached(model, F.mse_loss(model(torch.randn(64, 96)), torch.randn(64, 96)))


def test_one_batch_can_be_overfitted(learn: Callable) -> None:
    torch.manual_seed(0)
    model, windows = ConvAutoencoder(), torch.randn(4, 24)
    losses = learn(model, lambda: F.mse_loss(model(windows), windows), 2e-2, 200)
    assert losses[-1] < 0.1 * losses[0]


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    model, windows = ConvAutoencoder(dropout=0.5), torch.randn(4, 24)
    assert not torch.equal(model(windows), model(windows))
    model.eval()
    assert torch.equal(model(windows), model(windows))
