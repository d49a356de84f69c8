"""What every test shares: the repository, the real data, and scripts started as a user does."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from torch import Tensor, nn

# The models of the tests are tiny: a second thread costs more than it brings, here and in the
# scripts that tests start. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no failure, and fewer cases keep the suite quick.
hypothesis.settings.register_profile("quick", deadline=None, max_examples=40)
hypothesis.settings.load_profile("quick")

ROOT = Path(__file__).resolve().parents[1]

TIMED = {"train_seconds", "seconds_per_epoch", "images_per_second", "predict_images_per_second"}
TIMED |= {"peak_memory_mb"}  # what a run measures of the machine, another each time


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


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the repository, in which `script` starts what it starts."""
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def script(elsewhere: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Starts a script as a user does: script("lstm_airquality/train.py", "--epochs", "2", lr=0.1).

    Settings by name become flags. `text` is its standard input.
    """

    def run(
        path: str,
        *arguments: str,
        text: str | bytes = b"",
        **settings: object,
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / path), *arguments, *flags(settings)]
        given = text.encode() if isinstance(text, str) else text
        done = subprocess.run(
            command, cwd=elsewhere, input=given, capture_output=True, timeout=600, check=False
        )
        printed, complaints = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(command, done.returncode, printed, complaints)

    return run


def flags(settings: dict[str, object]) -> list[str]:
    """The settings as words of a command line; a list or tuple is several."""
    words = []
    for name, value in settings.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    return words


@pytest.fixture(scope="module")
def train_once(script: Callable, elsewhere: Path) -> Callable[..., tuple[Path, str]]:
    """Starts a project's train.py with the data in data/ and the runs in out/ of `elsewhere`.

    Returns the folder of the run, the only one there, and what it printed.
    """

    def train(project: str, *arguments: str, **settings: object) -> tuple[Path, str]:
        where = ("--data-dir", "data", "--out", "out")
        done = script(f"{project}/train.py", *where, *arguments, **settings)
        assert done.returncode == 0, done.stderr
        (folder,) = (elsewhere / "out" / project).iterdir()
        return folder, done.stdout

    return train


@pytest.fixture(scope="session")
def assert_same_run() -> Callable[[Path, Path], None]:
    """Checks that what a run measured, but for times, and its trained weights are another's too."""
    import torch

    def check(run: Path, other: Path) -> None:
        one, two = (json.loads((each / "results.json").read_text()) for each in (run, other))
        assert_same_metrics(one["metrics"], two["metrics"])
        files = list(run.rglob("model.pt"))
        assert files
        for path in files:
            networks = torch.load(path)["weights"]
            others = torch.load(other / path.relative_to(run))["weights"]
            for own, its in zip(networks, others, strict=True):
                assert own.keys() == its.keys()
                assert all(torch.equal(own[key], its[key]) for key in own), path

    return check


def assert_same_metrics(metrics: dict[str, object], others: dict[str, object]) -> None:
    for name in set(metrics) - TIMED:
        if isinstance(metrics[name], dict):
            assert_same_metrics(metrics[name], others[name])
        else:
            assert metrics[name] == others[name], name


BAD_VECTORS = {
    "missing": (None, "no file of word vectors"),
    "short row": ("the 1 2 3\nfilm 1 2\n", "not a whole file of word vectors"),
    "no number": ("the 1 2 3\nfilm 1 x 3\n", "not a whole file of word vectors"),
}


@pytest.fixture(params=BAD_VECTORS.values(), ids=BAD_VECTORS)
def bad_vectors(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """The path of a file of word vectors that cannot be used, and what the user is told of it."""
    content, message = request.param
    if content:
        (tmp_path / "mine.txt").write_text(content)
    return str(tmp_path / "mine.txt"), message


@pytest.fixture(scope="session")
def parameters() -> Callable[["nn.Module"], int]:
    """How many numbers a model learns."""
    return lambda model: sum(p.numel() for p in model.parameters())


@pytest.fixture(scope="session")
def shake() -> Callable[["nn.Module"], None]:
    """Moves BatchNorm's statistics and scales away from 0 and 1, so that a mix-up is seen."""
    from torch import nn

    def shake(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.weight, module.bias, module.running_mean):
                    nn.init.normal_(values, std=0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)

    return shake


@pytest.fixture(scope="session")
def copy_in_order() -> Callable[["nn.Module", "nn.Module"], None]:
    """Gives a model the weights of another with the same layers in the same order."""

    def copy(model: "nn.Module", other: "nn.Module") -> None:
        own, theirs = model.state_dict(), other.state_dict()
        model.load_state_dict(dict(zip(own, theirs.values(), strict=True)))

    return copy


@pytest.fixture(scope="session")
def unreached() -> Callable[["nn.Module", "Tensor"], set[str]]:
    """The names of the parameters that a loss gives no gradient, or one of zeros."""

    def names(model: "nn.Module", loss: "Tensor") -> set[str]:
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        return {name for name, g in gradients.items() if g is None or not g.abs().sum() > 0}

    return names


@pytest.fixture(scope="session")
def learn() -> Callable[..., list[float]]:
    """Trains a model with Adam on one batch; returns the loss before each step."""
    import torch

    def learn(
        model: "nn.Module", loss_now: Callable[[], "Tensor"], lr: float, steps: int
    ) -> list[float]:
        optimizer = torch.optim.Adam(model.parameters(), lr)
        losses = []
        for _ in range(steps):
            loss = loss_now()
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return losses

    return learn


class Killed(BaseException):
    """What `Steps.killed_after` ends a training with; nothing but the test catches it."""


class Steps:
    """Counts the backward passes of this process, and can end it as if it had been killed."""

    def __init__(self, backward: Callable[..., object]):
        self.backward, self.done, self.last = backward, 0, float("inf")

    def __call__(self, *arguments: object) -> object:
        if self.done == self.last:
            raise Killed
        self.done += 1
        return self.backward(*arguments)

    @contextmanager
    def killed_after(self, count: int) -> Iterator[None]:
        """Within, the training ends after `count` more steps."""
        self.last = self.done + count
        with pytest.raises(Killed):
            yield
        self.last = float("inf")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """The training steps of this process; every epoch is saved."""
    from common import training

    counted = Steps(training.backward)
    monkeypatch.setattr(training, "backward", counted)
    monkeypatch.setattr(training, "SAVE_SECONDS", 0.0)
    return counted
