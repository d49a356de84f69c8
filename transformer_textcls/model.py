"""The Transformer encoder of Vaswani et al. 2017, "Attention Is All You Need", as a classifier.

Sections and equations named here are the paper's. With its published settings (vocabulary
102,016, d_model 100, 4 layers, d_ff 2,048, 4 classes, frozen embedding) the model has 12,012,196
parameters, 1,810,596 of them trainable.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["post", "pre"]
Attention = Literal["written", "fused"]


def positions(tokens: int, d_model: int, device: torch.device | str = "cpu") -> Tensor:
    """Sinusoidal position encodings (section 3.5), (tokens, d_model).

    PE[pos, 2i] = sin(pos / 10000^(2i / d_model)), PE[pos, 2i + 1] = cos of the same angle.
    """
    position = torch.arange(tokens, device=device, dtype=torch.float32)[:, None]
    even = torch.arange(0, d_model, 2, device=device, dtype=torch.float32)
    angle = position * torch.exp(-math.log(10000.0) / d_model * even)  # (tokens, ceil(d_model / 2))
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :d_model]


def is_real(ids: Tensor, lengths: Tensor) -> Tensor:
    """bool (batch, tokens), False on the padding of ids (batch, tokens)."""
    return torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]


def pair_numbers(ids: Tensor, keys: Tensor, words: int) -> Tensor:
    """(batch, tokens): 1 + the row in `keys` of each word and the one before it; 0 = not there.

    A text's first word forms a pair with 0, the padding.
    """
    previous = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], 1)
    wanted = previous * words + ids
    # A binary search for the largest key not above the wanted one: ONNX has no searchsorted.
    rows = torch.zeros_like(wanted)
    for power in reversed(range(len(keys).bit_length())):
        higher = rows + 2**power
        fits = (higher < len(keys)) & (keys[higher.clamp(max=len(keys) - 1)] <= wanted)
        rows = torch.where(fits, higher, rows)
    return torch.where(keys[rows] == wanted, rows + 1, 0)


class MultiHeadAttention(nn.Module):
    """Section 3.2.2: `heads` attentions over parts of d_model / heads, side by side.

    One linear map gives query, key and value: (3 d_model + d_model) (d_model + 1) parameters with
    the output map, 40,400 at d_model 100. attention "written" is equation 1 as it stands and holds
    all weights, memory (batch, heads, tokens, tokens); "fused" is torch's
    scaled_dot_product_attention, equal to rounding.
    """

    def __init__(self, d_model: int, heads: int, attention: Attention = "written"):
        super().__init__()
        if d_model % heads:
            raise ValueError(f"heads ({heads}) must divide d_model ({d_model})")
        self.heads, self.fused = heads, attention == "fused"
        self.query_key_value = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x: (batch, tokens, d_model). real: bool (batch, tokens), False on padding."""
        query, key, value = self.split(x)  # (batch, heads, tokens, d_head) each
        if self.fused:
            mask = real[:, None, None, :]  # (batch, 1, 1, tokens)
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            mixed = self.weights(query, key, real) @ value
        # mixed: (batch, heads, tokens, d_head)
        return self.output(mixed.transpose(1, 2).flatten(2))  # (batch, tokens, d_model)

    def weights(self, query: Tensor, key: Tensor, real: Tensor) -> Tensor:
        """softmax(Q K^T / sqrt(d_head)), (batch, heads, query tokens, key tokens)."""
        scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])
        return scores.masked_fill(~real[:, None, None, :], -math.inf).softmax(-1)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value of each head, (batch, heads, tokens, d_head) each."""
        joined = self.query_key_value(x)  # (batch, tokens, 3 d_model)
        parts = joined.unflatten(-1, (3, self.heads, -1))  # (batch, tokens, 3, heads, d_head)
        return parts.permute(2, 0, 3, 1, 4).unbind(0)


class EncoderLayer(nn.Module):
    """Attention, then the position-wise feed-forward network, each with a residual connection.

    norm "post" is the paper's LayerNorm(x + Sublayer(x)) (section 3.1); "pre" is
    x + Sublayer(LayerNorm(x)) (Xiong et al. 2020). Dropout is on each sub-layer's output
    (section 5.4).
    """

    def __init__(
        self,
        d_model: int,
        heads: int,
        d_ff: int,
        dropout: float = 0.0,
        norm: Norm = "post",
        attention: Attention = "written",
    ):
        super().__init__()
        self.pre = norm == "pre"
        self.attention = MultiHeadAttention(d_model, heads, attention)
        self.expand = nn.Linear(d_model, d_ff)
        self.contract = nn.Linear(d_ff, d_model)
        self.norm_attention = nn.LayerNorm(d_model)
        self.norm_feed_forward = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """x: (batch, tokens, d_model). real: bool (batch, tokens), False on padding."""
        if self.pre:
            x = x + self.dropout(self.attention(self.norm_attention(x), real))
            return x + self.dropout(self.feed_forward(self.norm_feed_forward(x)))
        x = self.norm_attention(x + self.dropout(self.attention(x, real)))
        return self.norm_feed_forward(x + self.dropout(self.feed_forward(x)))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Equation 2; the width in between is d_ff."""
        return self.contract(self.expand(x).relu())

    def attention_weights(self, x: Tensor, real: Tensor) -> Tensor:
        """What `forward` would attend to, (batch, heads, query tokens, key tokens)."""
        query, key, _ = self.attention.split(self.norm_attention(x) if self.pre else x)
        return self.attention.weights(query, key, real)


class TransformerClassifier(nn.Module):
    """Embedding and positions, encoder layers, the mean over real tokens, a linear head.

    vectors: float (words, size) to start the embedding from; where size is not d_model, a linear
    map leads from one to the other. train_embedding: False leaves the embedding as it is.
    pair_keys: sorted int64 numbers `previous * words + word` of the word pairs that have a vector
    of their own, added to the word's (Johnson & Zhang 2016, section 2.1, as a sum of vectors); it
    starts at zero. None = no pairs.
    """

    def __init__(
        self,
        words: int,
        classes: int,
        d_model: int = 100,
        layers: int = 4,
        heads: int = 5,
        d_ff: int = 2048,
        dropout: float = 0.0,
        norm: Norm = "post",
        attention: Attention = "written",
        use_positions: bool = True,
        vectors: Tensor | None = None,
        train_embedding: bool = False,
        pair_keys: Tensor | None = None,
    ):
        super().__init__()
        size = d_model if vectors is None else vectors.shape[1]
        self.use_positions = use_positions
        self.embedding = nn.Embedding(words, size, padding_idx=0)
        self.pairs = None
        if pair_keys is not None:
            self.register_buffer("pair_keys", pair_keys)
            self.pairs = nn.Embedding(len(pair_keys) + 1, size, padding_idx=0)
            nn.init.zeros_(self.pairs.weight)
        self.project = nn.Identity() if size == d_model else nn.Linear(size, d_model)
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, heads, d_ff, dropout, norm, attention) for _ in range(layers)
        )
        # Pre-norm leaves the sum of all residuals unnormalised: one norm more closes it.
        self.norm = nn.LayerNorm(d_model) if norm == "pre" else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(d_model, classes)
        self.reset_parameters(vectors)
        self.embedding.weight.requires_grad_(train_embedding)

    def reset_parameters(self, vectors: Tensor | None) -> None:
        """Glorot's uniform weights, biases zero; the embedding from `vectors`, if given."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                # query, key and value are three square maps, and start as such
                for square in module.weight.chunk(3 if name.endswith("query_key_value") else 1):
                    nn.init.xavier_uniform_(square)
                nn.init.zeros_(module.bias)
        with torch.no_grad():
            if vectors is None:
                nn.init.normal_(self.embedding.weight, std=self.embedding.embedding_dim**-0.5)
            else:
                self.embedding.weight.copy_(vectors)
            self.embedding.weight[0] = 0

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits (batch, classes) of ids (batch, tokens) with `lengths` (batch,) real tokens."""
        real = is_real(ids, lengths)  # (batch, tokens)
        x = self.embed(ids)  # (batch, tokens, d_model)
        for layer in self.layers:
            x = layer(x, real)
        x = self.norm(x)
        mean = (x * real[:, :, None]).sum(1) / lengths[:, None]  # (batch, d_model)
        return self.head(self.dropout(mean))  # (batch, classes)

    def embed(self, ids: Tensor) -> Tensor:
        """Section 3.4: embeddings times sqrt(d_model), plus positions; (batch, tokens, d_model)."""
        x = self.embedding(ids)  # (batch, tokens, size)
        if self.pairs is not None:
            x = x + self.pairs(pair_numbers(ids, self.pair_keys, len(self.embedding.weight)))
        x = self.project(x)
        x = x * math.sqrt(x.shape[-1])
        if self.use_positions:
            x = x + positions(x.shape[1], x.shape[2], x.device).to(x.dtype)
        return self.dropout(x)

    def attention_maps(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """All attention weights, (layers, batch, heads, query tokens, key tokens)."""
        real, x, maps = is_real(ids, lengths), self.embed(ids), []
        for layer in self.layers:
            maps.append(layer.attention_weights(x, real))
            x = layer(x, real)
        return torch.stack(maps)
