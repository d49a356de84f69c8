"""Sentiment LSTMs: one form, whose settings give every model of this project.

Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000, as in torch.nn.LSTM.
Padding stands at the end of a text. A forward LSTM reads it last, so no real state depends on it;
the backward direction reads each text reversed within its own length, so that it too meets the
padding last. The result equals packed sequences, at the speed of plain ones.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pooling = Literal["last", "mean", "max", "attention"]


class SentimentLSTM(nn.Module):
    """Embedding, LSTM layers with dropout after each, pooling, one logit.

    With 20,000 words of 100 numbers and 64 hidden units: BaseLSTM (3 layers, one direction) has
    2,000,000 + 42,496 + 2 x 33,280 + 65 = 2,109,121 parameters; ImprovedLSTM (3 layers, both
    directions) has 2,000,000 + 84,992 + 2 x 99,328 + 129 = 2,283,777.

    Args:
        words: size of the vocabulary; word 0 is padding.
        region_keys: sorted int64 numbers `previous * words + word` of the word pairs that have a
            vector of their own, added to the word's: the one-hot region input of Johnson & Zhang
            2016 (section 2.1), in a form that starts as the plain embedding. None = no regions.
        pooling: of the last layer's states over the real tokens of a text. `last` is the final
            state of each direction, which stands before the padding.
        dropout: after each layer; one mask for all words of a text (Gal & Ghahramani 2016), which
            also saves a fifth of the time, drawn as random numbers.
        embedding_dropout: fraction of the vocabulary whose vectors are zero for a whole batch in
            training (Gal & Ghahramani 2016; Merity et al. 2017, section 4.3).
        forget_bias: start of the forget gates' bias (Jozefowicz et al. 2015: 1).
    """

    def __init__(
        self,
        words: int,
        region_keys: Tensor | None = None,
        *,
        embedding_size: int = 100,
        hidden_size: int = 128,
        layers: int = 3,
        bidirectional: bool = False,
        pooling: Pooling = "last",
        dropout: float = 0.5,
        embedding_dropout: float = 0.0,
        forget_bias: float = 1.0,
    ):
        super().__init__()
        self.hidden_size, self.pooling = hidden_size, pooling
        self.dropout, self.embedding_dropout = dropout, embedding_dropout
        self.embedding = nn.Embedding(words, embedding_size, padding_idx=0)
        self.regions = None
        if region_keys is not None:
            self.register_buffer("region_keys", region_keys)
            self.regions = nn.Embedding(len(region_keys) + 1, embedding_size, padding_idx=0)
            nn.init.zeros_(self.regions.weight)
        states = hidden_size * (2 if bidirectional else 1)
        self.layers = nn.ModuleList(
            LSTMLayer(size, hidden_size, bidirectional, forget_bias)
            for size in [embedding_size, *[states] * (layers - 1)]
        )
        if pooling == "attention":
            self.project, self.query = nn.Linear(states, states), nn.Linear(states, 1, bias=False)
        self.head = nn.Linear(states, 1)

    def forward(self, ids: Tensor, lengths: Tensor, shift: Tensor | None = None) -> Tensor:
        """Word numbers (batch, tokens) and lengths (batch,) -> logits (batch,).

        shift: added to the inputs of the first layer, (tokens, batch, embedding).
        """
        states = self.embed(ids.T.contiguous())  # (tokens, batch, embedding)
        if shift is not None:
            states = states + shift
        for layer in self.layers:
            states = layer(states, lengths)  # (tokens, batch, states)
            states = states * F.dropout(torch.ones_like(states[:1]), self.dropout, self.training)
        return self.head(self.pool(states, lengths)).squeeze(1)  # (batch,)

    def embed(self, ids: Tensor) -> Tensor:
        """Word numbers (tokens, batch) -> inputs of the first layer (tokens, batch, embedding)."""
        inputs = self.embedding(ids)  # (tokens, batch, embedding)
        if self.regions is not None:
            numbers = region_numbers(ids, self.region_keys, len(self.embedding.weight))
            inputs = inputs + self.regions(numbers)
        if self.training and self.embedding_dropout:
            kept = F.dropout(inputs.new_ones(len(self.embedding.weight)), self.embedding_dropout)
            inputs = inputs * kept[ids].unsqueeze(2)
        return inputs

    def pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        """States (tokens, batch, states) -> (batch, states)."""
        if self.pooling == "last":  # after the text's last word; backwards after its first
            last = states[lengths - 1, torch.arange(len(lengths), device=states.device)]
            half = self.hidden_size
            return torch.cat([last[:, :half], states[0, :, half:]], dim=1)
        step = torch.arange(len(states), device=states.device)[:, None]
        padding = (step >= lengths).unsqueeze(2)  # (tokens, batch, 1)
        if self.pooling == "max":
            return states.masked_fill(padding, -torch.inf).amax(0)
        if self.pooling == "mean":
            return states.masked_fill(padding, 0).sum(0) / lengths.unsqueeze(1)
        scores = self.query(torch.tanh(self.project(states)))  # (tokens, batch, 1)
        weights = scores.masked_fill(padding, -torch.inf).softmax(0)
        return (weights * states).sum(0)


def region_numbers(ids: Tensor, keys: Tensor, words: int) -> Tensor:
    """(tokens, batch): 1 + the row in `keys` of each word and the one before it; 0 = not there."""
    previous = torch.cat([torch.zeros_like(ids[:1]), ids[:-1]])
    wanted = previous * words + ids
    rows = torch.zeros_like(wanted)  # of the largest key that is not above the wanted one
    for power in reversed(range(len(keys).bit_length())):  # ONNX has no searchsorted
        higher = rows + 2**power
        fits = (higher < len(keys)) & (keys[higher.clamp(max=len(keys) - 1)] <= wanted)
        rows = torch.where(fits, higher, rows)
    return torch.where(keys[rows] == wanted, rows + 1, 0)


class LSTMLayer(nn.Module):
    """One LSTM layer, in one direction or both, over texts of unequal length."""

    def __init__(self, input_size: int, hidden_size: int, bidirectional: bool, forget_bias: float):
        super().__init__()
        directions = 2 if bidirectional else 1
        self.directions = nn.ModuleList(nn.LSTM(input_size, hidden_size) for _ in range(directions))
        for lstm in self.directions:
            initialise(lstm, forget_bias)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(tokens, batch, input) -> (tokens, batch, hidden x directions), in the text's order."""
        forward, *backward = self.directions
        states = forward(inputs)[0]  # (tokens, batch, hidden)
        if not backward:
            return states
        reversed_states = backward[0](reverse(inputs, lengths))[0]  # (tokens, batch, hidden)
        return torch.cat([states, reverse(reversed_states, lengths)], dim=2)


def initialise(lstm: nn.LSTM, forget_bias: float) -> None:
    """Xavier input weights, orthogonal recurrent ones, zero biases but the forget gate's."""
    hidden = lstm.hidden_size
    with torch.no_grad():
        for gate in range(4):  # input, forget, cell, output
            rows = slice(gate * hidden, (gate + 1) * hidden)
            nn.init.xavier_uniform_(lstm.weight_ih_l0[rows])
            nn.init.orthogonal_(lstm.weight_hh_l0[rows])
        lstm.bias_ih_l0.zero_()
        lstm.bias_hh_l0.zero_()
        lstm.bias_ih_l0[hidden : 2 * hidden] = forget_bias


def reverse(states: Tensor, lengths: Tensor) -> Tensor:
    """Each text read from its own end: (tokens, batch, features), its padding left in place."""
    tokens, batch, features = states.shape
    step = torch.arange(tokens, device=states.device)[:, None]
    source = torch.where(step < lengths, lengths - 1 - step, step)  # (tokens, batch)
    index = source * batch + torch.arange(batch, device=states.device)
    rows = Reverse.apply(states.reshape(-1, features), index.flatten())
    return rows.view(tokens, batch, features)


class Reverse(torch.autograd.Function):
    """Rows (steps, features) in the order `index`, a permutation that is its own inverse.

    So the gradient is reversed by the same copy; index_select's own would add row by row.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return gradient.index_select(0, index), None
