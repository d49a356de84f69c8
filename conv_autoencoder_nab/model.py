"""A convolutional autoencoder for windows of a time series."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvAutoencoder(nn.Module):
    """Two strided convolutions shorten the window, two transposed convolutions restore it.

    After the Keras example "Timeseries anomaly detection using an Autoencoder" (P. Vijay 2020),
    with half its channels and two decoding layers in place of its three: ReLU after all layers but
    the last, dropout between the two layers of each half. 2,057 parameters at kernel 7 (the stride
    changes none): 128 + 904 to encode, 912 + 113 to decode. The code of a window of 192 is 8 x 48
    numbers, so it is overcomplete and restores nearly everything; its error grows with the size
    and the jaggedness of a deviation.

    Any window of at least one row comes back at its own length: a strided layer cannot tell
    lengths n and n + 1 apart, so each decoding layer is told the length that its mirror image in
    the encoder was given (`output_size`, from which PyTorch derives the output padding).
    """

    def __init__(
        self,
        channels: tuple[int, int] = (16, 8),
        kernel: int = 7,
        stride: int = 2,
        dropout: float = 0.0,
    ):
        """channels: of the outer and of the inner layer. dropout: fraction set to 0 in training."""
        super().__init__()
        outer, inner = channels
        shape = {"kernel_size": kernel, "stride": stride, "padding": kernel // 2}
        self.encode1 = nn.Conv1d(1, outer, **shape)
        self.encode2 = nn.Conv1d(outer, inner, **shape)
        self.decode1 = nn.ConvTranspose1d(inner, outer, **shape)
        self.decode2 = nn.ConvTranspose1d(outer, 1, **shape)
        self.dropout = nn.Dropout(dropout)

    def forward(self, windows: Tensor) -> Tensor:
        """Restore windows of scaled values, (batch, window) -> (batch, window)."""
        x = windows.unsqueeze(1)  # (batch, 1, window)
        half = F.relu(self.encode1(x))  # (batch, 16, window / stride)
        code = F.relu(self.encode2(self.dropout(half)))  # (batch, 8, window / stride^2)
        y = self.decode1(code, output_size=half.shape[-1:])  # (batch, 16, window / stride)
        y = self.decode2(self.dropout(F.relu(y)), output_size=x.shape[-1:])  # (batch, 1, window)
        return y.squeeze(1)  # (batch, window)


def absolute_errors(model: nn.Module, windows: Tensor) -> Tensor:
    """How far each row of each window is from its restoration, (batch, window)."""
    return torch.abs(model(windows) - windows)
