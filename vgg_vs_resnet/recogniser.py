"""A trained model of vgg_vs_resnet or of resnext_comparison, ready for new pictures."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from common import checkpoints, device, recognition, runs
from common.augmentation import Normalise
from common.recognition import Recogniser

from torch import Tensor, nn


def load(
    project: str,
    config: recognition.Config,
    make: Callable[[str, int, Mapping[str, Any]], nn.Module],
) -> Recogniser:
    """The model that the settings name.

    Args:
        make: an untrained model from its name, the number of classes and the run's settings.

    Raises:
        UserError: there is no such run, or it has no such model.
    """
    run = runs.find_trained(project, config.run, config.out, "results.json")
    name, folder = recognition.choose_model(run, config.model)
    place = device.choose(config.device)
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    kept = checkpoints.load(run / "images.pt")
    normalise = Normalise(kept["mean"].to(place), kept["std"].to(place))
    model = make(name, len(kept["classes"]), settings)
    path = folder / "best.pt"
    checkpoints.load_weights(model, checkpoints.load(path)["model"], str(path))
    model.to(place).eval()

    def probabilities(pixels: Tensor) -> Tensor:
        return model(normalise(pixels.to(place))).softmax(1)

    return Recogniser(kept["classes"], settings["size"], probabilities)
