"""What the autoencoder is measured against: classical detectors on the same rows.

They see the values scaled by the profile, whatever the network sees, in windows of 48 rows: of the
lengths 48 and 96 the better one for them on the NYC taxi series.
"""

import numpy as np
import torch

from common.series import windows as windows_of
from conv_autoencoder_nab.data import Labelled, Parts, fit_scaler, seasonal_slots
from conv_autoencoder_nab.detector import VARIANTS, Variant, at_rows

WINDOW = 48
COMPONENTS = 10
Scores = dict[str, tuple[Variant, np.ndarray]]


def scores(labelled: Labelled, parts: Parts, recent: int, season: int, seed: int) -> Scores:
    """Variant and scores, (rows,), of each baseline; fitted on training rows alone.

    The first two are of single rows: their one score stands as causal.
    """
    values, slots = labelled.values, seasonal_slots(labelled.series, season)
    rows, train = len(values), parts.train
    scaler = fit_scaler("profile", values[:train], slots[:train], season)
    naive = np.full(rows, np.nan)
    naive[season:] = np.abs(values[season:] - values[:-season])
    scaled = np.nan_to_num(scaler.transform(values, slots))
    windows = windows_of(torch.from_numpy(scaled), WINDOW).numpy()
    train_windows = windows[: max(train - WINDOW + 1, 1)]
    isolation = isolation_scores(windows, train_windows, seed)
    return {
        "median profile": ("causal", np.abs(values - scaler.centre[slots])),
        "seasonal naive": ("causal", naive),
        **by_window("scaled deviation", np.abs(windows), rows, recent),
        **by_window("PCA", pca_errors(windows, train_windows), rows, recent),
        **{f"isolation forest, {v}": (v, at_rows(isolation, rows, WINDOW, v)) for v in VARIANTS},
    }


def by_window(name: str, errors: np.ndarray, rows: int, recent: int) -> Scores:
    """The autoencoder's own two scores from errors of any kind, (windows, window)."""
    means = {"causal": errors[:, -recent:].mean(axis=1), "centred": errors.mean(axis=1)}
    return {f"{name}, {v}": (v, at_rows(means[v], rows, WINDOW, v)) for v in VARIANTS}


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
