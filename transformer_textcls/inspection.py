"""What a trained classifier looks at, and where it is surely wrong."""

from common import plots
from common.ragged import pad

import torch
from matplotlib.figure import Figure
from torch import Tensor

from transformer_textcls.data import News
from transformer_textcls.model import TransformerClassifier

SHOWN = 4  # texts in the picture
WORDS = 14  # tokens of each


@torch.no_grad()
def attention_picture(model: TransformerClassifier, news: News) -> Figure:
    """The last layer's attention, mean over its heads, for the first words of a few test texts."""
    model.eval()
    chosen = _one_of_each_class(news.labels["test"], SHOWN)
    tokens = news.tokens["test"].rows(chosen).truncated(WORDS)
    device = next(model.parameters()).device
    ids, lengths = (part.to(device) for part in pad(tokens, torch.arange(len(chosen))))
    maps = model.attention_maps(ids, lengths)[-1].mean(1).cpu()  # (texts, tokens, tokens)
    guessed = model(ids, lengths).argmax(1).tolist()
    figure, axes = plots.figure(2, 2, width=11, height=10.5)
    for axis, row, weights, length, guess in zip(
        axes.flat, chosen, maps, lengths.tolist(), guessed, strict=False
    ):
        words = news.vocabulary.split(news.texts["test"][row])[:length]
        axis.imshow(weights[:length, :length], cmap="Blues", vmin=0)
        axis.set_xticks(range(length), words, rotation=60, ha="right", fontsize=8)
        axis.set_yticks(range(length), words, fontsize=8)
        truth = news.classes[int(news.labels["test"][row])]
        axis.set(title=f"{truth}, taken for {news.classes[guess]}", xlabel="asked", ylabel="asking")
    for axis in axes.flat[len(chosen) :]:
        axis.set_visible(False)
    figure.suptitle(f"Attention of the last layer, mean over heads, first {WORDS} tokens")
    return figure


def confident_mistakes(news: News, probabilities: Tensor, count: int = 6) -> list[str]:
    """The wrong test predictions that the model was surest of, a line each."""
    labels = news.labels["test"]
    sure, guessed = probabilities.max(1)
    wrong = (guessed != labels).nonzero()[:, 0]
    worst = wrong[sure[wrong].argsort(descending=True)][:count].tolist()
    return [
        f"{sure[row]:.3f} {news.classes[guessed[row]]}, truly {news.classes[labels[row]]}: "
        f"{_shortened(news.texts['test'][row])}"
        for row in worst
    ]


def _one_of_each_class(labels: Tensor, count: int) -> list[int]:
    firsts = [int((labels == label).nonzero()[0]) for label in labels.unique()]
    return sorted(firsts[:count])


def _shortened(text: str, width: int = 110) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."
