"""What every test shares: the repository root and the real data, where it is."""

import os
from pathlib import Path

import pytest

# The models of the tests are tiny: a second thread costs more than it brings, here and in the
# scripts that tests start. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The data root with the real data; skips the test where it is absent."""
    folder = Path(os.environ.get("DATA_DIR") or ROOT / "data")
    if not (folder / "nab" / "nyc_taxi.csv").is_file():
        pytest.skip(f"the real data is not in {folder}")
    return folder
