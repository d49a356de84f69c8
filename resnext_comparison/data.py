"""The pictures of vgg_vs_resnet and its splits: all models of the comparison see the same ones."""

from common.downloads import Source
from common.images import ImageSet

from vgg_vs_resnet import data
from vgg_vs_resnet.settings import ImageSettings


def load(config: ImageSettings) -> tuple[Source, ImageSet]:
    """Where the pictures come from, and the pictures as the settings ask for them.

    Raises:
        UserError: the set cannot be had, or an image folder is not usable.
    """
    return data.load(**config.chosen(data.SETTINGS))
