"""A trained model of vgg_vs_resnet or of resnext_comparison, ready for new pictures."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from common import checkpoints, device, recognition, runs
from common.augmentation import Normalise
from common.recognition import Recogniser

from torch import Tensor, nn

from vgg_vs_resnet import model as models


def make_model(name: str, classes: int, settings: Mapping[str, Any]) -> nn.Module:
    """One of vgg_vs_resnet's models, untrained, from its name and a run's settings."""
    return models.make(name, classes, **{each: settings[each] for each in models.SETTINGS})


def load(
    project: str,
    make: Callable[[str, int, Mapping[str, Any]], nn.Module],
    config: recognition.Config,
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
