"""Sentiment LSTMs: one form, whose settings give every model of this project.

Hochreiter and Schmidhuber 1997 with the forget gate of Gers et al. 2000, as in torch.nn.LSTM.
Padding stands at the end of a text. A forward LSTM reads it last, so no real state depends on it;
the backward direction reads each text reversed within its own length, so that it too meets the
padding last. The result equals packed sequences, at the speed of plain ones.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

Pooling = Literal["last", "mean", "max", "attention", "padded"]

# Settings of the form, as train.py and predict.py pass them on.
SETTINGS = (
    "embedding_size", "hidden_size", "layers", "bidirectional", "pooling", "dropout",
    "embedding_dropout", "weight_drop", "forget_bias", "train_embedding",
)  # fmt: skip
BASE = {"layers": 3, "bidirectional": False, "pooling": "last"}
IMPROVED = {"layers": 3, "bidirectional": True, "pooling": "last"}


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


def reverse(states: Tensor, lengths: Tensor) -> Tensor:
    """Each text read from its own end: (tokens, batch, features), its padding left in place."""
    tokens, batch, features = states.shape
    step = torch.arange(tokens, device=states.device)[:, None]
    source = torch.where(step < lengths, lengths - 1 - step, step)  # (tokens, batch)
    index = source * batch + torch.arange(batch, device=states.device)
    rows = Reverse.apply(states.reshape(-1, features), index.flatten())
    return rows.view(tokens, batch, features)


class LSTMLayer(nn.Module):
    """One LSTM layer, in one direction or both, over texts of unequal length.

    Args:
        weight_drop: share of the recurrent weights that is zero for a whole batch in training
            (Merity et al. 2017, section 2).
        forget_bias: start of the forget gate's bias (Jozefowicz et al. 2015: 1).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bidirectional: bool,
        weight_drop: float = 0.0,
        forget_bias: float = 1.0,
    ):
        super().__init__()
        self.weight_drop = weight_drop
        directions = 2 if bidirectional else 1
        self.directions = nn.ModuleList(nn.LSTM(input_size, hidden_size) for _ in range(directions))
        for lstm in self.directions:
            initialise(lstm, forget_bias)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(tokens, batch, input) -> (tokens, batch, hidden x directions), in the text's order."""
        states = self.run(self.directions[0], inputs)  # (tokens, batch, hidden)
        if len(self.directions) == 1:
            return states
        backward = self.run(self.directions[1], reverse(inputs, lengths))
        return torch.cat([states, reverse(backward, lengths)], dim=2)

    def run(self, lstm: nn.LSTM, inputs: Tensor) -> Tensor:
        if not (self.training and self.weight_drop):
            return lstm(inputs)[0]
        dropped = F.dropout(lstm.weight_hh_l0, self.weight_drop)
        return functional_call(lstm, {"weight_hh_l0": dropped}, inputs)[0]


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


class SentimentLSTM(nn.Module):
    """Embedding, LSTM layers with dropout after each, pooling, one logit.

    With 20,000 words of 100 numbers and 128 hidden units: BaseLSTM (`**BASE`) has 2,000,000 +
    117,760 + 2 x 132,096 + 129 = 2,382,081 parameters; ImprovedLSTM (`**IMPROVED`) has
    2,000,000 + 235,520 + 2 x 395,264 + 257 = 3,026,305.

    Args:
        words: size of the vocabulary; word 0 is padding.
        vectors: (words, embedding_size) pretrained, or None.
        train_embedding: whether pretrained vectors are trained too; others always are.
        dropout: after each layer; one mask for all words of a text (Gal and Ghahramani 2016), which
            also saves a fifth of the time, drawn as random numbers.
        pooling: of the last layer's states over the real tokens of a text. `last` is the final
            state of each direction; `padded` the state at the batch's last column, padding or
            not: the common mistake, kept to show what it costs.
        embedding_dropout: share of the vocabulary whose vectors are zero for a whole batch in
            training (Gal and Ghahramani 2016; Merity et al. 2017, section 4.3).
        region_keys: sorted int64 numbers `previous * words + word` of the word pairs that have a
            vector of their own, added to the word's: the one-hot region input of Johnson and
            Zhang 2016, in a form that starts as the plain embedding. None = no regions.
    """

    def __init__(
        self,
        words: int,
        *,
        embedding_size: int = 100,
        hidden_size: int = 128,
        layers: int = 3,
        bidirectional: bool = False,
        pooling: Pooling = "last",
        dropout: float = 0.5,
        embedding_dropout: float = 0.0,
        weight_drop: float = 0.0,
        forget_bias: float = 1.0,
        vectors: Tensor | None = None,
        train_embedding: bool = True,
        region_keys: Tensor | None = None,
    ):
        super().__init__()
        self.pooling, self.dropout, self.embedding_dropout = pooling, dropout, embedding_dropout
        self.embedding = nn.Embedding(words, embedding_size, padding_idx=0)
        if vectors is not None:
            with torch.no_grad():
                self.embedding.weight.copy_(vectors)
        self.embedding.weight.requires_grad_(train_embedding or vectors is None)
        self.regions = None
        if region_keys is not None:
            self.register_buffer("region_keys", region_keys)
            self.regions = nn.Embedding(len(region_keys) + 1, embedding_size, padding_idx=0)
            nn.init.zeros_(self.regions.weight)
        states = hidden_size * (2 if bidirectional else 1)
        self.layers = nn.ModuleList(
            LSTMLayer(size, hidden_size, bidirectional, weight_drop, forget_bias)
            for size in [embedding_size, *[states] * (layers - 1)]
        )
        if pooling == "attention":
            self.project, self.query = nn.Linear(states, states), nn.Linear(states, 1, bias=False)
        self.head = nn.Linear(states, 1)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Word numbers (batch, tokens) and lengths (batch,) -> logits (batch,)."""
        return self.classify(self.embed(ids.T.contiguous()), lengths)

    def embed(self, ids: Tensor) -> Tensor:
        """Word numbers (tokens, batch) -> inputs of the first layer (tokens, batch, embedding)."""
        inputs = self.embedding(ids)  # (tokens, batch, embedding)
        if self.regions is not None:
            inputs = inputs + self.regions(self.region_numbers(ids))
        if self.training and self.embedding_dropout:
            kept = F.dropout(inputs.new_ones(len(self.embedding.weight)), self.embedding_dropout)
            inputs = inputs * kept[ids].unsqueeze(2)
        return inputs

    def region_numbers(self, ids: Tensor) -> Tensor:
        """(tokens, batch): 1 + the row of each word and the one before it; 0 = not among them."""
        previous = torch.cat([torch.zeros_like(ids[:1]), ids[:-1]])
        keys = previous * len(self.embedding.weight) + ids
        rows = torch.searchsorted(self.region_keys, keys).clamp_(max=len(self.region_keys) - 1)
        return torch.where(self.region_keys[rows] == keys, rows + 1, 0)

    def classify(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Inputs of the first layer (tokens, batch, embedding) -> logits (batch,)."""
        states = inputs
        for layer in self.layers:
            states = layer(states, lengths)  # (tokens, batch, states)
            states = states * F.dropout(torch.ones_like(states[:1]), self.dropout, self.training)
        return self.head(self.pool(states, lengths)).squeeze(1)  # (batch,)

    def pool(self, states: Tensor, lengths: Tensor) -> Tensor:
        """States (tokens, batch, states) -> (batch, states)."""
        if self.pooling == "padded":
            return states[-1]
        if self.pooling == "last":
            return self.last(states, lengths)
        step = torch.arange(len(states), device=states.device)[:, None]
        padding = (step >= lengths).unsqueeze(2)  # (tokens, batch, 1)
        if self.pooling == "max":
            return states.masked_fill(padding, -torch.inf).amax(0)
        if self.pooling == "mean":
            return states.masked_fill(padding, 0).sum(0) / lengths.unsqueeze(1)
        scores = self.query(torch.tanh(self.project(states)))  # (tokens, batch, 1)
        weights = scores.masked_fill(padding, -torch.inf).softmax(0)
        return (weights * states).sum(0)

    def last(self, states: Tensor, lengths: Tensor) -> Tensor:
        """The state after each direction's last real word: the text's end, and its start."""
        final = states[lengths - 1, torch.arange(len(lengths), device=states.device)]
        if len(self.layers[-1].directions) == 1:
            return final
        hidden = states.shape[2] // 2
        return torch.cat([final[:, :hidden], states[0, :, hidden:]], dim=1)
