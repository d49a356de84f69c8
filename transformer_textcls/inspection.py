"""What the data is, what a trained classifier looks at, and where it is surely wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from common import plots
from common.progress import History
from common.ragged import pad
from common.runs import Run
from common.vectors import WordVectors

import torch
from torch import Tensor

from transformer_textcls.data import News
from transformer_textcls.model import TransformerClassifier

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4  # texts in the picture
WORDS = 14  # tokens of each


@torch.no_grad()
def attention_picture(model: TransformerClassifier, news: News) -> "Figure":
    """The last layer's attention, mean over its heads, for the first words of a few test texts."""
    model.eval()
    chosen = _one_of_each_class(news.labels["test"], SHOWN)
    tokens = news.tokens["test"].rows(chosen).truncated(WORDS)
    device = next(model.parameters()).device
    ids, lengths = (part.to(device) for part in pad(tokens, torch.arange(len(chosen))))
    maps = model.attention_maps(ids, lengths)[-1].mean(1).cpu().numpy()  # (texts, tokens, tokens)
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


def describe(run: Run, news: News, found: WordVectors | None, batch_size: int) -> None:
    """Print what a reader should know of the data: classes, vocabulary, padding, vectors."""
    size = len(news.classes)
    counts = torch.stack([labels.bincount(minlength=size) for labels in news.labels.values()])
    each = [
        f"{name} {'/'.join(f'{count:,}' for count in row)}"
        for name, row in zip(news.classes, counts.T.tolist(), strict=True)
    ]
    run.print(
        f"classes   {', '.join(each)} (rows in train/val/test)\n"
        f"tokens    {len(news.vocabulary):,} in the vocabulary of the training split, "
        f"{news.unknown():.1%} of the test tokens unknown\n"
        f"          {news.tokens['train'].lengths.float().mean():.1f} a text, "
        f"{news.padding(batch_size):.1%} padding in the batches\n"
        f"vectors   {news.coverage(found)}"
    )


def report(
    run: Run,
    model: TransformerClassifier,
    histories: Sequence[History],
    news: News,
    probabilities: Tensor,
    figures: dict[str, Any],
) -> None:
    """Print the table by class and the surest mistakes; save the plots.

    figures: of `common.metrics.classification`. model: the one whose attention is drawn.
    """
    run.print("\n" + class_table(figures["per_class"]))
    run.print(confident_mistakes(news, probabilities))
    rows = {f"model {number}": history.rows for number, history in enumerate(histories)}
    run.save_plot(plots.curves(rows, ("loss", "accuracy")), "curves.png")
    run.save_plot(plots.confusion(figures["confusion"], news.classes), "confusion.png")
    run.save_plot(attention_picture(model, news), "attention.png")


def class_table(per_class: dict[str, dict[str, float]]) -> str:
    """Precision, recall and F1 of each class, a line each."""
    width = max(map(len, per_class))
    return "\n".join(
        f"{name:<{width}}  precision {row['precision']:.3f}  recall {row['recall']:.3f}  "
        f"F1 {row['f1']:.3f}  {row['support']:,} texts"
        for name, row in per_class.items()
    )


def confident_mistakes(news: News, probabilities: Tensor, count: int = 6) -> str:
    """The wrong test predictions that the model was surest of, a line each."""
    labels = news.labels["test"]
    sure, guessed = probabilities.max(1)
    wrong = (guessed != labels).nonzero()[:, 0]
    worst = wrong[sure[wrong].argsort(descending=True)][:count].tolist()
    lines = [
        f"  {sure[row]:.3f} {news.classes[guessed[row]]}, truly {news.classes[labels[row]]}: "
        f"{_shortened(news.texts['test'][row])}"
        for row in worst
    ]
    return "\n".join(["most confident mistakes:", *lines])


def _one_of_each_class(labels: Tensor, count: int) -> list[int]:
    firsts = [int((labels == label).nonzero()[0]) for label in labels.unique()]
    return sorted(firsts[:count])


def _shortened(text: str, width: int = 110) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."
