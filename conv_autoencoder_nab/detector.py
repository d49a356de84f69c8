"""An ensemble of autoencoders as a detector: training, scores for each row, saving and loading.

A window's error is the mean absolute difference between it and its restoration. Two scores come
of it for each row of the series:

- causal: the error of the last `recent` rows of the window that ends at the row. It needs nothing
  later, so that it can run on a stream.
- centred: the error of the whole window around the row. It looks half a window ahead.

Each member's scores are divided by their median over the training rows, then averaged.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common import checkpoints, training
from common.batches import Loader, in_order, tensor_loader
from common.device import seed_everything
from common.errors import UserError
from common.progress import History
from common.runs import Run
from common.series import Series
from common.series import windows as windows_of

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conv_autoencoder_nab.data import Parts, Scaler, fit_scaler, seasonal_slots
from conv_autoencoder_nab.evaluation import threshold
from conv_autoencoder_nab.model import ConvAutoencoder, absolute_errors

if TYPE_CHECKING:
    from conv_autoencoder_nab.train import Config

Variant = Literal["causal", "centred"]
VARIANTS: tuple[Variant, ...] = ("causal", "centred")
SCORING_BATCH = 1024
# What scoring a new series depends on; all that a saved detector needs to know.
SAVED = ("window", "channels", "kernel", "stride", "scaling", "season", "recent", "gap")


def make_model(config: "Config") -> ConvAutoencoder:
    return ConvAutoencoder(config.channels, config.kernel, config.stride, config.dropout)


def step(model: nn.Module, batch: tuple[Tensor]) -> tuple[Tensor, int, dict[str, Tensor]]:
    """Mean squared error of the restored windows."""
    (windows,) = batch
    return F.mse_loss(model(windows), windows), len(windows), {}


def fit_members(
    scaled: np.ndarray, parts: Parts, config: "Config", run: Run
) -> tuple[list[nn.Module], list[History]]:
    """Train the members, alike but for their seeds, on windows of training rows alone.

    Args:
        scaled: (rows,), NaN where there is no value.
    """
    values = torch.from_numpy(np.nan_to_num(scaled)).float().to(run.device)
    train = windows_of(values, config.window, 0, parts.train)
    validation = windows_of(values, config.window, parts.train, parts.normal)
    models, histories = [], []
    for member in range(config.members):
        seed = config.seed * 1000 + member
        seed_everything(seed)
        model = make_model(config).to(run.device)
        histories.append(
            training.fit(
                model,
                tensor_loader([train], config.batch_size, shuffle=True, seed=seed),
                tensor_loader([validation], SCORING_BATCH),
                step,
                torch.optim.Adam(
                    training.parameter_groups(model, config.weight_decay), lr=config.lr
                ),
                config,
                run.part(f"member{member + 1}"),
            )
        )
        models.append(model)
    return models, histories


def member_scores(
    model: nn.Module, scaled: np.ndarray, window: int, recent: int
) -> dict[Variant, np.ndarray]:
    """One member's causal and centred scores, (rows,) each.

    Missing values are left out of the means; where most are missing, there is no score (NaN).
    """
    place = next(model.parameters()).device
    values = torch.from_numpy(scaled).float().to(place)
    observed = windows_of(~torch.isnan(values), window)
    windows = windows_of(torch.nan_to_num(values), window)
    loader = Loader(in_order(len(windows), SCORING_BATCH), lambda i: (windows[i], observed[i]))

    def forward(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        errors, observed = absolute_errors(model, batch[0]), batch[1]  # (batch, window) each
        ends = mean_of_observed(errors[:, -recent:], observed[:, -recent:])
        return torch.stack([ends, mean_of_observed(errors, observed)], dim=1)  # (batch, 2)

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


@dataclass
class Detector:
    """Trained members, and what turns their errors into scores and alarms."""

    scaler: Scaler
    spacing_seconds: float
    settings: dict[str, Any]  # those named in SAVED
    models: list[nn.Module]
    medians: dict[Variant, list[float]]  # of each member's scores over the training rows
    thresholds: dict[Variant, float]

    def save(self, path: Path) -> None:
        """Write all of it to one file."""
        state = {
            "spacing_seconds": self.spacing_seconds,
            "centre": torch.tensor(self.scaler.centre),
            "scale": torch.tensor(self.scaler.scale),
            "settings": self.settings,
            "models": [model.state_dict() for model in self.models],
            "medians": self.medians,
            "thresholds": self.thresholds,
        }
        checkpoints.save(path, state)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "Detector":
        """Read what `save` wrote.

        Raises:
            UserError: no such file, damaged, or no detector.
        """
        state = checkpoints.load(path, device)
        try:
            scaler = Scaler(state["centre"].cpu().numpy(), state["scale"].cpu().numpy())
            models = []
            for weights in state["models"]:
                config = state["settings"]
                model = ConvAutoencoder(config["channels"], config["kernel"], config["stride"])
                checkpoints.load_weights(model, weights, str(path))
                models.append(model.to(device))
            rest = [state[key] for key in ("medians", "thresholds")]
            return cls(scaler, state["spacing_seconds"], state["settings"], models, *rest)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{path} is no detector (it lacks {error}): give the detector.pt of a run"
            ) from error

    def scores(self, values: np.ndarray, slots: np.ndarray) -> dict[Variant, np.ndarray]:
        """Scores of a series in its own units, (rows,) for each variant; normal is about 1."""
        scaled = self.scaler.transform(values, slots)
        window, recent = self.settings["window"], self.settings["recent"]
        members = [member_scores(model, scaled, window, recent) for model in self.models]
        return combine(members, self.medians)

    def restore(self, values: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """The members' mean restoration of one window, (window,), in the units of the series."""
        scaled = np.nan_to_num(self.scaler.transform(values, slots))
        place = next(self.models[0].parameters()).device
        window = torch.from_numpy(scaled).float().to(place)[None]  # (1, window)
        with torch.no_grad():
            restored = torch.stack([model(window)[0] for model in self.models]).mean(0)
        return self.scaler.inverse(restored.double().cpu().numpy(), slots)


def fit_detector(
    series: Series,
    values: np.ndarray,
    parts: Parts,
    config: "Config",
    run: Run,
    calibration: int = 0,
) -> tuple[Detector, dict[Variant, np.ndarray], list[History]]:
    """Scale, train, and set medians and thresholds: all by training rows alone.

    Args:
        calibration: the thresholds are of the first so many rows instead.

    Returns:
        the detector, the scores of all rows of the series, and the members' histories.
    """
    slots = seasonal_slots(series, config.season)
    rows = slice(0, parts.train)
    scaler = fit_scaler(config.scaling, values[rows], slots[rows], config.season)
    scaled = scaler.transform(values, slots)
    models, histories = fit_members(scaled, parts, config, run)
    members = [member_scores(model, scaled, config.window, config.recent) for model in models]
    medians = {
        variant: [
            float(np.nanmedian(member[variant][known_rows(parts.train, config.window, variant)]))
            for member in members
        ]
        for variant in VARIANTS
    }
    scores = combine(members, medians)
    last = calibration or parts.train
    thresholds = {
        variant: threshold(
            scores[variant][known_rows(last, config.window, variant)], config.rule, config.rate
        )
        for variant in VARIANTS
    }
    settings = config.chosen(SAVED)
    seconds = series.spacing.total_seconds()
    return Detector(scaler, seconds, settings, models, medians, thresholds), scores, histories


def combine(
    members: list[dict[Variant, np.ndarray]], medians: dict[Variant, list[float]]
) -> dict[Variant, np.ndarray]:
    """The mean of the members' scores, each divided by its median over the training rows."""
    return {
        variant: np.mean(
            [m[variant] / median for m, median in zip(members, medians[variant], strict=True)],
            axis=0,
        )
        for variant in VARIANTS
    }


def known_rows(last: int, window: int, variant: Variant) -> slice:
    """The rows whose scores depend on the first `last` rows alone."""
    return slice(0, last - look_ahead(window, variant))
