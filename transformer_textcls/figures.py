"""What a trained classifier looks at and where it is wrong: attention maps, classes, mistakes."""

from textwrap import shorten
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common import metrics, plots
from common.summary import format_table
from common.text import pad
from transformer_textcls.data import News
from transformer_textcls.model import TransformerClassifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4  # texts, each of another class
WORDS = 14  # tokens of each


@torch.no_grad()
def attention(model: TransformerClassifier, news: News) -> "Figure":
    """The last layer's attention, mean over its heads, for the first words of a few test texts."""
    model.eval()
    labels = news.labels["test"]
    chosen = sorted(int((labels == label).nonzero()[0]) for label in labels.unique())[:SHOWN]
    tokens = news.tokens["test"].rows(chosen).truncated(WORDS)
    device = next(model.parameters()).device
    ids, lengths = pad(tokens.to(device), torch.arange(len(chosen)))
    maps = model.attention_maps(ids, lengths)[-1].mean(1).cpu().numpy()  # (texts, tokens, tokens)
    predicted = model(ids, lengths).argmax(1).tolist()
    drawn, axes = plots.figure(2, 2, width=11, height=10.5)
    for axis, row, weights, length, guess in zip(
        axes.flat, chosen, maps, lengths.tolist(), predicted, strict=False
    ):
        words = plots.readable(news.vocabulary.split(news.texts["test"][row])[:length])
        axis.imshow(weights[:length, :length], cmap="Blues", vmin=0)
        axis.set_xticks(range(length), words, rotation=60, ha="right", fontsize=8)
        axis.set_yticks(range(length), words, fontsize=8)
        truth, answer = plots.readable([news.classes[labels[row]], news.classes[guess]])
        axis.set(title=f"{truth}, predicted {answer}", xlabel="key", ylabel="query")
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    drawn.suptitle(f"Attention of the last layer, mean over heads, first {WORDS} tokens")
    return drawn


def class_table(per_class: dict[str, dict[str, float]]) -> str:
    """Precision, recall and F1 of each class (`metrics.classification`), a line each."""
    rows = [
        [name, *(f"{row[head]:.3f}" for head in ("precision", "recall", "f1")), str(row["support"])]
        for name, row in per_class.items()
    ]
    return "\n" + format_table(["class", "precision", "recall", "f1", "texts"], rows)


def surest_mistakes(news: News, probabilities: Tensor, count: int = 6) -> str:
    """The wrong predictions of the test split with the highest probabilities, a line each."""
    labels = news.labels["test"]
    surest, predicted = probabilities.max(1)
    lines = [
        f"  {surest[row]:.3f} {news.classes[predicted[row]]}, truly {news.classes[labels[row]]}: "
        f"{shorten(news.texts['test'][row], 110, placeholder=' ...')}"
        for row in metrics.mistakes(labels, probabilities)[:count]
    ]
    return "\n".join(["most confident mistakes:", *lines])
