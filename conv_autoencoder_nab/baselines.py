"""What the autoencoder is measured against: classical detectors on the same rows."""

from common.series import windows as windows_of

import numpy as np
import torch

from conv_autoencoder_nab.data import Parts, fit_scaler, slot_medians
from conv_autoencoder_nab.detector import at_rows

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
    """Scores of each baseline, causal and centred, (rows,); fitted on training rows alone.

    The last three see the values scaled by the profile, whatever the network sees.
    """
    train = slice(0, parts.train)
    centre = slot_medians(values[train], slots[train], season, np.nanmedian(values[train]))
    scaler = fit_scaler("profile", values[train], slots[train], season)
    scaled = np.nan_to_num(scaler.transform(values, slots))
    windows = windows_of(torch.from_numpy(scaled), window).numpy()
    train_windows = windows[: parts.train - window + 1]
    naive = np.full(len(values), np.nan)
    naive[season:] = np.abs(values[season:] - values[:-season])
    pointwise = {"median profile": np.abs(values - centre[slots]), "seasonal naive": naive}
    return {
        **{name: {"causal": each, "centred": each} for name, each in pointwise.items()},
        "scaled deviation": by_window(np.abs(windows), len(values), recent),
        "PCA": by_window(pca_errors(windows, train_windows), len(values), recent),
        "isolation forest": isolation_forest(windows, train_windows, len(values), seed),
    }


def by_window(errors: np.ndarray, rows: int, recent: int) -> dict[str, np.ndarray]:
    """The autoencoder's own two scores from errors of any kind, (windows, window)."""
    return {
        "causal": at_rows(errors[:, -recent:].mean(axis=1), rows, errors.shape[1], "causal"),
        "centred": at_rows(errors.mean(axis=1), rows, errors.shape[1], "centred"),
    }


def pca_errors(windows: np.ndarray, train_windows: np.ndarray) -> np.ndarray:
    """Absolute errors after projection on the first components of the training windows."""
    from sklearn.decomposition import PCA

    pca = PCA(min(COMPONENTS, *train_windows.shape), svd_solver="full").fit(train_windows)
    return np.abs(pca.inverse_transform(pca.transform(windows)) - windows)


def isolation_forest(
    windows: np.ndarray, train_windows: np.ndarray, rows: int, seed: int
) -> dict[str, np.ndarray]:
    """Liu et al. 2008: how few random cuts part a window from the others."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=200, random_state=seed % 2**32).fit(train_windows)
    strangeness = -forest.score_samples(windows)
    return {
        variant: at_rows(strangeness, rows, windows.shape[1], variant)
        for variant in ("causal", "centred")
    }
