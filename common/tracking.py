"""The curves of a run for TensorBoard: `--track tensorboard`, then `tensorboard --logdir runs`.

The track lies in the run's own folder. A resumed run goes on with it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.settings import UserError, flag
from common.summary import variants


def require() -> None:
    """Raise UserError where the package is missing, before anything is loaded."""
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: F401
    except ImportError as error:
        raise UserError(
            "--track tensorboard needs a package: python -m pip install tensorboard"
        ) from error


class Tracker:
    """Writes the rows of one training.

    Args:
        folder: of the training: the run's, or that of a part.
        epochs: that an earlier start has finished; what it wrote after them no longer counts.
    """

    def __init__(self, folder: Path, epochs: int):
        require()
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(folder, purge_step=epochs + 1)

    def log(self, row: Mapping[str, Any]) -> None:
        """The numbers of an epoch, at once on disk."""
        for name, value in row.items():
            if name != "epoch" and value is not None:
                self.writer.add_scalar(name, value, row["epoch"])
        self.writer.flush()


def finish(folder: Path, results: Mapping[str, Any]) -> None:
    """Settings, metrics and plots of the whole run."""
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        settings = "\n".join(f"    --{flag(n)} {v}" for n, v in results["settings"].items())
        writer.add_text("settings", f"{results['command']}\n\n{settings}")
        writer.add_text("data", json.dumps(results["dataset"]))
        for variant, metrics in variants(results).items():
            for name, value in metrics.items():
                if isinstance(value, (int, float)):
                    writer.add_scalar("/".join(filter(None, ("result", variant, name))), value)
        for path in sorted(folder.glob("*.png")):
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
            writer.add_image(path.stem, pixels, dataformats="HWC")
