"""Grad-CAM, against the case that has an answer on paper."""

import torch
from torch import nn
from torch.nn import functional as F

from transfer_food11.figures import gradcam
from transfer_food11.model import Classifier


def test_equals_the_class_activation_map(shake):
    """With global pooling and one linear layer they are proportional (Zhou et al. 2016)."""
    torch.manual_seed(0)
    model = Classifier("efficientnet_lite0", 5).eval()
    shake(model)
    nn.init.normal_(model.head.weight, mean=0.5)  # so that there is evidence for every class
    images, classes = torch.randn(2, 3, 96, 128), torch.tensor([4, 1])
    with torch.no_grad():
        maps = model.feature_map(images)  # (2, 1280, 3, 4)
        heat = torch.einsum("bc,bchw->bhw", model.head.weight[classes], maps).relu()
        heat = F.interpolate(heat[:, None], (96, 128), mode="bilinear")[:, 0]
        expected = heat / heat.amax((1, 2), keepdim=True)
        found = gradcam(model, images, classes)
    assert found.shape == (2, 96, 128)
    assert not found.requires_grad
    assert found.amax((1, 2)).tolist() == [1, 1]
    assert torch.allclose(found, expected, atol=1e-5)


def test_no_evidence_is_zero_everywhere(shake):
    torch.manual_seed(0)
    model = Classifier("efficientnet_lite0", 2).eval()
    shake(model)
    nn.init.constant_(model.head.weight, -1.0)  # and the maps, after ReLU, are never negative
    found = gradcam(model, torch.randn(1, 3, 64, 64), torch.tensor([0]))
    assert torch.equal(found, torch.zeros(1, 64, 64))


def test_gradient_goes_through_the_hidden_layer():
    """MobileNetV3 has a layer between the map and the head; the frozen network needs no grad."""
    torch.manual_seed(0)
    model = Classifier("mobilenet_v3_large", 2).eval()
    model.freeze(len(model.stages()))
    nn.init.normal_(model.head.weight)
    image, step = torch.randn(1, 3, 64, 64), 1e-3
    with torch.no_grad():
        maps = model.feature_map(image).double()
        model.double()
        slopes = []
        for channel in range(0, maps.shape[1], 320):
            moved = maps.clone()
            moved[:, channel] += step
            rise = model.head(model.pool(moved)) - model.head(model.pool(maps))
            slopes.append(float(rise[0, 1] / step) / 4)  # four places moved at once
    maps.requires_grad_()
    (gradient,) = torch.autograd.grad(model.head(model.pool(maps))[0, 1], maps)
    assert torch.allclose(gradient.mean((2, 3))[0, ::320], torch.tensor(slopes).double(), rtol=0.05)
    heat = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu().detach()
    heat = F.interpolate(heat, (64, 64), mode="bilinear")[:, 0]
    found = gradcam(model, image.double(), torch.tensor([1]))
    expected = heat / heat.max().clamp(min=1e-300)
    assert torch.allclose(found, expected, atol=1e-4)
