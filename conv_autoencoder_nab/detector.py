"""Trained autoencoders as a detector: a score for each row of a series, and alarms.

A window's error is the mean absolute difference between it and its restoration. Two scores come
of it for each row of the series:

- causal: the error of the last `recent` rows of the window that ends at the row. It needs nothing
  later, so that it can run on a stream.
- centred: the error of the `around` rows about the middle of the window around the row. It looks
  half a window ahead.

Each member's scores are divided by their median over the training rows, then averaged.
"""

from bisect import bisect
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from common import checkpoints, training
from common.batches import Loader, in_order
from common.series import windows as windows_of
from common.settings import UserError
from common.trained import Trained
from conv_autoencoder_nab.data import Scaler
from conv_autoencoder_nab.model import ConvAutoencoder, absolute_errors

Variant = Literal["causal", "centred"]
VARIANTS: tuple[Variant, ...] = ("causal", "centred")
Scores = dict[Variant, np.ndarray]  # (rows,) each; NaN = no score
Rule = Literal["events", "quantile", "pot"]
TAIL = 0.02  # fraction of the training scores that a tail is fitted to
SCORING_BATCH = 1024
ROUNDING = 1.001  # equal rows have scores that differ by rounding: not above a level between them


def member_scores(
    model: nn.Module, scaled: np.ndarray, window: int, recent: int, around: int
) -> Scores:
    """One member's scores of scaled values, (rows,).

    Missing values are left out of the means; where most are missing, there is no score.
    """
    place = next(model.parameters()).device
    values = torch.from_numpy(scaled).float().to(place)
    observed = windows_of(~torch.isnan(values), window)
    windows = windows_of(torch.nan_to_num(values), window)
    loader = Loader(in_order(len(windows), SCORING_BATCH), lambda i: (windows[i], observed[i]))
    first = (window - around) // 2
    averaged = (slice(window - recent, window), slice(first, first + around))  # as VARIANTS

    def forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        errors, observed = absolute_errors(model, batch[0]), batch[1]  # (batch, window) each
        means = [mean_of_observed(errors[:, r], observed[:, r]) for r in averaged]
        return torch.stack(means, dim=1)  # (batch, 2)

    # The errors are small differences, finer than bfloat16.
    scores = training.predict(model, loader, forward, "float32").double().numpy()
    return {
        variant: at_rows(scores[:, column], len(scaled), window, variant)
        for column, variant in enumerate(VARIANTS)
    }


def mean_of_observed(errors: Tensor, observed: Tensor) -> Tensor:
    """Mean of each row's observed errors, (batch, rows) -> (batch,); NaN if most are missing."""
    count = observed.sum(1)
    mean = (errors * observed).sum(1) / count
    return mean.masked_fill(2 * count < observed.shape[1], torch.nan)


def at_rows(window_scores: np.ndarray, rows: int, window: int, variant: Variant) -> np.ndarray:
    """Give each window's score, (windows,), to its last or its middle row; NaN elsewhere."""
    scores = np.full(rows, np.nan)
    first = window - 1 - look_ahead(window, variant)
    scores[first : first + len(window_scores)] = window_scores
    return scores


def look_ahead(window: int, variant: Variant) -> int:
    """How many rows after its own a score depends on."""
    return (window - 1) // 2 if variant == "centred" else 0


def threshold(
    normal: np.ndarray, rule: Rule, *, rate: float = 0.001, tolerated: int = 0, gap: int = 0
) -> float:
    """The score above which a row is an alarm, from the scores of normal rows alone.

    events: the least at which the normal rows have at most `tolerated` events (alarms no more than
    `gap` rows apart), so that about as many false ones are to be expected in as many rows more.
    quantile: the fraction `rate` of the normal rows lies above it. pot: peaks over threshold, a
    generalised Pareto distribution fitted to the highest scores, which reaches beyond them for
    small rates (Siffer et al. 2017, section 3.2).

    Raises:
        UserError: no finite score among them.
    """
    scores = normal[np.isfinite(normal)]
    if not len(scores):
        raise UserError(
            "no training row has a score: lower --window, or give more rows to learn from"
        )
    if rule == "events":
        return least_level(normal, tolerated, gap)
    if rule == "quantile" or np.ptp(scores) == 0:
        return float(np.quantile(scores, 1 - rate))
    from scipy.stats import genpareto

    start = np.quantile(scores, 1 - TAIL)
    excess = scores[scores > start] - start
    shape, _, scale = genpareto.fit(excess, floc=0)
    return float(start + genpareto.isf(rate * len(scores) / len(excess), shape, 0, scale))


def least_level(scores: np.ndarray, tolerated: int, gap: int) -> float:
    """The least level above which `scores`, (rows,), have no more events than are tolerated.

    It sinks from the highest score past one row after another, until there are more: a row begins
    an event, joins one, or joins two to one.
    """
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
    above: list[int] = []  # rows above the level, in order
    count = 0
    for row in order[: np.isfinite(scores).sum()].tolist():
        place = bisect(above, row)
        left = row - above[place - 1] if place > 0 else gap + 1
        right = above[place] - row if place < len(above) else gap + 1
        is_within = left + right <= gap  # of an event
        count += 1 - (left <= gap) - (right <= gap) + is_within
        if count > tolerated:
            break
        above.insert(place, row)
    return float(scores[row]) * ROUNDING


@dataclass
class Detector:
    """Trained members, and what turns their errors into scores and alarms."""

    models: list[nn.Module]
    scaler: Scaler
    step: int  # nanoseconds from row to row
    season: int
    window: int
    recent: int
    around: int
    gap: int  # alarms at most so many rows apart are one event
    medians: dict[str, list[float]] = field(default_factory=dict)  # see `calibrate`
    thresholds: dict[str, float] = field(default_factory=dict)  # by variant
    column: str = ""  # that was learned from; "" = it is not known

    def calibrate(self, values: np.ndarray, slots: np.ndarray, train: int) -> Scores:
        """Learn each member's median over the first `train` rows; returns the scores of all."""
        members = self.member_scores(values, slots)
        for variant in VARIANTS:
            known = slice(0, train - look_ahead(self.window, variant))
            self.medians[variant] = [median_of(scores[variant][known]) for scores in members]
        return self.average(members)

    def scores(self, values: np.ndarray, slots: np.ndarray) -> Scores:
        """Scores of a series in its own units, (rows,) for each variant; normal is about 1."""
        return self.average(self.member_scores(values, slots))

    def member_scores(self, values: np.ndarray, slots: np.ndarray) -> list[Scores]:
        scaled = self.scaler.transform(values, slots)
        lengths = (self.window, self.recent, self.around)
        return [member_scores(model, scaled, *lengths) for model in self.models]

    def average(self, members: list[Scores]) -> Scores:
        """The mean of the members' scores, each divided by its median."""
        units = {v: zip(members, self.medians[v], strict=True) for v in VARIANTS}
        return {v: np.mean([m[v] / unit for m, unit in units[v]], axis=0) for v in VARIANTS}

    def restore(self, values: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """The members' mean restoration of one window, (window,), in the units of the series."""
        scaled = np.nan_to_num(self.scaler.transform(values, slots))
        place = next(self.models[0].parameters()).device
        window = torch.from_numpy(scaled).float().to(place)[None]  # (1, window)
        with torch.no_grad():
            restored = torch.stack([model(window)[0] for model in self.models]).mean(0)
        return self.scaler.inverse(restored.double().cpu().numpy(), slots)

    def preprocessing(self) -> dict[str, Any]:
        """All but the networks, as `run.save_model` keeps it."""
        rest = {name: value for name, value in vars(self).items() if name != "models"}
        scaler = rest.pop("scaler")
        rest["centre"], rest["scale"] = torch.tensor(scaler.centre), torch.tensor(scaler.scale)
        return rest

    @classmethod
    def of(cls, trained: Trained, device: torch.device) -> "Detector":
        """The detector in a run's model.pt.

        Raises:
            UserError: it is of another version of this script.
        """
        try:
            shape = {name: trained.settings[name] for name in ("channels", "kernel", "stride")}
            models: list[nn.Module] = [ConvAutoencoder(**shape) for _ in trained.weights]
            rest = dict(trained.preprocessing)
            scaler = Scaler(rest.pop("centre").numpy(), rest.pop("scale").numpy())
            detector = cls(models, scaler, **rest)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{trained.folder} holds no detector of this version ({error}): train again"
            ) from error
        for model, weights in zip(models, trained.weights, strict=True):
            checkpoints.load_weights(model, weights, str(trained.folder))
            model.to(device)
        return detector


def median_of(scores: np.ndarray) -> float:
    """The median of the scores there are; never zero, for other scores are divided by it."""
    known = scores[np.isfinite(scores)]
    return max(float(np.median(known)), 1e-12) if len(known) else np.nan
