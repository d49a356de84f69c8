"""A recurrent network that forecasts one row of a multivariate series from the rows before.

The published form: one LSTM of 64 hidden units (unidirectional or bidirectional), the output of
its last step, ReLU, dropout and a linear head with one output a feature.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Cell = Literal["lstm", "gru", "transformer"]
Readout = Literal["last", "ends"]
Target = Literal["value", "change"]


class Forecaster(nn.Module):
    """(batch, rows, inputs) -> (batch, outputs): the values `horizon` rows after the last one.

    With several quantiles (batch, outputs, quantiles).

    The first `features` columns of the inputs are the series' own, the first `outputs` of these
    are what is forecast.

    Parameters, with 13 inputs, 13 features, one layer and a hidden size of 64: LSTM 21,069,
    bidirectional 42,125 (the published form), GRU 16,013, bidirectional 32,013, Transformer 35,341.
    With the seven calendar inputs and `relative`: bidirectional LSTM 52,365, GRU 39,693; with a
    hidden size of 128 (the project's default) 170,253 and 128,525.

    Args:
        inputs: columns of the input.
        features: columns of the series among them.
        outputs: columns to be forecast; all features by default.
        cell: the recurrent cell (Hochreiter and Schmidhuber 1997; Cho et al. 2014), or a
            Transformer encoder with pre-norm (Vaswani et al. 2017).
        hidden_size: units of each direction; the width of the Transformer.
        layers: recurrent layers, or Transformer blocks.
        bidirectional: a second LSTM or GRU reads the window backwards.
        readout: which states of the top layer the head sees. `last`, the published form: the
            outputs at the window's last step, where the backward direction has read one hour only.
            `ends`: the state of each direction at the end of its own reading, so that the
            backward direction has read the whole window too. Without a second direction they are
            the same; the Transformer always uses its last step, which attends to the window.
        dropout: fraction of the head's inputs dropped in training; between layers too.
        relative: give the features as differences from the window's last values, and those values
            beside them at every step, so that it can learn what holds at any level of the series
            (as in NLinear, Zeng et al. 2023, section 4).
        window: the last rows of the input that the encoder reads; 0 = all of them.
        season_steps: rows of the input, counted from its end (-1 is the last), that lie a season
            before the row forecast: their values stand beside every step too.
        quantiles: an odd number of forecasts for each output, in rising order: the middle one plus
            and minus sums of positive steps, so that they never cross.
        target: `value`, or `change`: the head starts at zero and its output is added to the
            window's last values, so that an untrained model is the persistence forecast. Where
            there are seasons it learns, for each output, how far to start from their values.
    """

    def __init__(
        self,
        inputs: int,
        features: int = 13,
        outputs: int | None = None,
        *,
        cell: Cell = "lstm",
        hidden_size: int = 64,
        layers: int = 1,
        bidirectional: bool = True,
        readout: Readout = "last",
        dropout: float = 0.2,
        relative: bool = False,
        window: int = 0,
        season_steps: Sequence[int] = (),
        target: Target = "value",
        quantiles: int = 1,
    ):
        super().__init__()
        self.features, self.outputs, self.readout = features, outputs or features, readout
        self.relative, self.target, self.quantiles = relative, target, quantiles
        self.window, self.season_steps = window, tuple(season_steps)
        inputs += features * (relative + len(self.season_steps))
        between = dropout if layers > 1 else 0.0
        if cell == "transformer":
            self.encoder: nn.Module = Encoder(inputs, hidden_size, layers, dropout)
        else:
            kind = {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
            self.encoder = kind(
                inputs,
                hidden_size,
                layers,
                batch_first=True,
                dropout=between,
                bidirectional=bidirectional,
            )
        directions = 2 if bidirectional and cell != "transformer" else 1
        self.hidden_size, self.directions = hidden_size, directions
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(directions * hidden_size, self.outputs * quantiles)
        if target == "change":
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        self.season_weights: nn.Parameter | None = None  # how far the start lies towards a season
        if target == "change" and self.season_steps:
            self.season_weights = nn.Parameter(torch.zeros(len(self.season_steps), self.outputs))

    def forward(self, windows: Tensor) -> Tensor:
        values, others = windows.split([self.features, windows.shape[2] - self.features], dim=2)
        last = values[:, -1:]  # (batch, 1, features)
        origin = last if self.relative else 0.0
        recent = values[:, -self.window :]  # (batch, window, features)
        parts = [recent - origin]  # each (batch, window, ..)
        if self.relative:
            parts.append(last.expand_as(recent))
        for step in self.season_steps:
            parts.append((values[:, step, None] - origin).expand_as(recent))
        windows = torch.cat([*parts, others[:, -self.window :]], dim=2)
        steps, _ = self.encoder(windows)  # (batch, window, directions * hidden_size)
        state = steps[:, -1]  # (batch, directions * hidden_size)
        if self.readout == "ends" and self.directions == 2:
            forward = steps[:, -1, : self.hidden_size]  # (batch, hidden_size)
            backward = steps[:, 0, self.hidden_size :]  # (batch, hidden_size)
            state = torch.cat([forward, backward], dim=1)  # (batch, 2 * hidden_size)
        output = self.head(self.dropout(state.relu()))  # (batch, outputs * quantiles)
        output = output.unflatten(1, (self.outputs, self.quantiles))  # (batch, outputs, quantiles)
        if self.quantiles > 1:
            output = in_order(output)
        if self.target == "change":
            output = output + self.start(values)[..., None]
        if self.quantiles == 1:
            output = output.squeeze(2)  # (batch, outputs)
        return output

    def start(self, values: Tensor) -> Tensor:
        """(batch, rows, features) -> (batch, outputs): what the forecast change is added to."""
        last = values[:, -1, : self.outputs]
        if self.season_weights is None:
            return last
        seasons = values[:, list(self.season_steps), : self.outputs]  # (batch, seasons, outputs)
        return last + (self.season_weights * (seasons - last[:, None])).sum(1)


def in_order(output: Tensor) -> Tensor:
    """(.., quantiles), an odd number: the middle one, and the others by positive steps from it."""
    below, middle, above = output.split([output.shape[-1] // 2, 1, output.shape[-1] // 2], dim=-1)
    above = middle + F.softplus(above).cumsum(-1)
    below = middle - F.softplus(below).flip(-1).cumsum(-1).flip(-1)
    return torch.cat([below, middle, above], dim=-1)


class Encoder(nn.Module):
    """A small Transformer encoder: (batch, window, inputs) -> (batch, window, width), None.

    Every step attends to every step of the window: all of it is past. Blocks have 4 heads, a
    feed-forward part of twice the width, and the norms before the sublayers.
    """

    def __init__(self, inputs: int, width: int, layers: int, dropout: float, heads: int = 4):
        super().__init__()
        self.project = nn.Linear(inputs, width)
        block = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout, batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(width)
        self.blocks = nn.TransformerEncoder(block, layers, norm, enable_nested_tensor=False)

    def forward(self, windows: Tensor) -> tuple[Tensor, None]:
        steps = self.project(windows)  # (batch, window, width)
        return self.blocks(steps + positions(steps)), None


def positions(steps: Tensor) -> Tensor:
    """Sinusoidal positions of (batch, window, width), as (window, width): Vaswani et al., 3.5."""
    window, width = steps.shape[1:]
    place = torch.arange(window, device=steps.device, dtype=torch.float32)[:, None]
    pairs = torch.arange(0, width, 2, device=steps.device, dtype=torch.float32)
    angles = place * torch.exp(-math.log(10_000.0) * pairs / width)  # (window, width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).to(steps.dtype)
