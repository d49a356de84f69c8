"""What every test shares: the repository root and the real data, where it is."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

# The models of the tests are tiny: a second thread costs more than it brings, here and in the
# scripts that tests start. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no failure, and fewer cases keep the suite quick.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=40)
hypothesis.settings.load_profile("quick")

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


class Killed(BaseException):
    """What `Steps.killed_after` ends a training with; nothing but the test catches it."""


class Steps:
    """Counts the training steps of this process, and can end it as if it had been killed."""

    def __init__(self, train_step: Callable[..., object]):
        self.train_step, self.done, self.last = train_step, 0, float("inf")

    def __call__(self, *arguments: object) -> object:
        if self.done == self.last:
            raise Killed
        self.done += 1
        return self.train_step(*arguments)

    @contextmanager
    def killed_after(self, count: int) -> Iterator[None]:
        """Within, the training ends after `count` more steps."""
        self.last = self.done + count
        with pytest.raises(Killed):
            yield
        self.last = float("inf")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """The training steps of this process; a run with `save_seconds` 0 saves itself at each."""
    from common import progress, training

    counted = Steps(training.train_step)
    monkeypatch.setattr(training, "train_step", counted)
    monkeypatch.setattr(progress, "SHARE_OF_SAVING", float("inf"))  # save whenever asked to
    return counted
