"""Where on a picture a network sees a class (Selvaraju et al. 2017, "Grad-CAM", section 3)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from transfer_food11.model import Classifier


def gradcam(model: Classifier, images: Tensor, classes: Tensor) -> Tensor:
    """How much each place of an image speaks for a class: 0 nothing, 1 the most of that image.

    The channels of the last map are added up, each weighted by its mean gradient (equations 1 and
    2). Call it in eval mode, so that no dropout and no other image of the batch has a say.

    Args:
        images: normalised, (batch, 3, h, w).
        classes: int64 (batch,).

    Returns:
        (batch, h, w), from the map's places to pixels by linear interpolation.
    """
    with torch.no_grad():
        maps = model.feature_map(images)  # (batch, channels, h/32, w/32)
    with torch.enable_grad():
        maps.requires_grad_()
        logits = model.head(model.pool(maps))  # (batch, classes)
        chosen = logits.gather(1, classes[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, maps)
    weights = gradient.mean((2, 3), keepdim=True)  # (batch, channels, 1, 1)
    heat = (weights * maps.detach()).sum(1, keepdim=True).relu()  # (batch, 1, h/32, w/32)
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear")[:, 0]  # (batch, h, w)
    highest = heat.amax((1, 2), keepdim=True)
    return heat / highest.clamp(min=torch.finfo(heat.dtype).tiny)
