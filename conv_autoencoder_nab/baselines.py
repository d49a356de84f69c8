"""What the autoencoder is measured against: classical detectors on the same rows.

They see the values scaled by the profile, whatever the network sees, in windows half as long as
its own: of the two lengths this is the better one for them on the NYC taxi series.
"""

from common.series import windows as windows_of

import numpy as np
import torch

from conv_autoencoder_nab.data import Parts, fit_scaler
from conv_autoencoder_nab.detector import VARIANTS, at_rows

COMPONENTS = 10


def scores(
    values: np.ndarray,
    slots: np.ndarray,
    parts: Parts,
    *,
    window: int,
    recent: int,
    season: int,
    seed: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Scores of each baseline, (rows,), by variant; fitted on training rows alone.

    The first two are of single rows: their one score stands as causal.
    """
    rows, window = len(values), max(window // 2, 1)
    recent = min(recent, window)
    scaler = fit_scaler("profile", values[: parts.train], slots[: parts.train], season)
    naive = np.full(rows, np.nan)
    naive[season:] = np.abs(values[season:] - values[:-season])
    scaled = np.nan_to_num(scaler.transform(values, slots))
    windows = windows_of(torch.from_numpy(scaled), window).numpy()
    train_windows = windows[: max(parts.train - window + 1, 1)]
    isolation = isolation_scores(windows, train_windows, seed)
    return {
        "median profile": {"causal": np.abs(values - scaler.centre[slots])},
        "seasonal naive": {"causal": naive},
        "scaled deviation": by_window(np.abs(windows), rows, recent),
        "PCA": by_window(pca_errors(windows, train_windows), rows, recent),
        "isolation forest": {v: at_rows(isolation, rows, window, v) for v in VARIANTS},
    }


def by_window(errors: np.ndarray, rows: int, recent: int) -> dict[str, np.ndarray]:
    """The autoencoder's own two scores from errors of any kind, (windows, window)."""
    return {
        "causal": at_rows(errors[:, -recent:].mean(axis=1), rows, errors.shape[1], "causal"),
        "centred": at_rows(errors.mean(axis=1), rows, errors.shape[1], "centred"),
    }


def pca_errors(windows: np.ndarray, train_windows: np.ndarray) -> np.ndarray:
    """Squared errors after projection on the first components of the training windows."""
    from sklearn.decomposition import PCA

    pca = PCA(min(COMPONENTS, *train_windows.shape), svd_solver="full").fit(train_windows)
    return (pca.inverse_transform(pca.transform(windows)) - windows) ** 2


def isolation_scores(windows: np.ndarray, train_windows: np.ndarray, seed: int) -> np.ndarray:
    """How few random cuts part each window from the others (Liu et al. 2008), (windows,)."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=200, random_state=seed % 2**32).fit(train_windows)
    return -forest.score_samples(windows)
