"""VGG-16 C and ResNet-18: the papers' sizes, torchvision's outputs, gradients, learning."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from vgg_vs_resnet.model import VGG16C, ResNet18


def small(name):
    models = {
        "vgg": lambda: VGG16C(3, 32, width=4, hidden=32, dropout=0.0),
        "vgg with BatchNorm": lambda: VGG16C(
            3, 32, width=4, hidden=32, dropout=0.0, batch_norm=True
        ),
        "resnet18, ImageNet stem": lambda: ResNet18(3, width=4),
        "resnet18, small stem": lambda: ResNet18(3, "small", width=4),
    }
    return models[name]()


NAMES = ("vgg", "vgg with BatchNorm", "resnet18, ImageNet stem", "resnet18, small stem")


def test_parameters_are_the_papers(parameters):
    with torch.device("meta"):
        assert parameters(VGG16C(1000)) == 133_638_952  # table 2: 134 million
        assert parameters(ResNet18(1000)) == 11_689_512
        assert parameters(VGG16C(3, 64, batch_norm=True)) == 35_186_627  # as the README says
        assert parameters(ResNet18(3, "small")) == 11_170_371


def test_configuration_c(parameters):
    """Thirteen convolutions, of which the third in blocks 3, 4 and 5 is 1 x 1; no bias is lost."""
    kinds = [m for m in VGG16C(3, 32, width=4, hidden=8).features if not isinstance(m, nn.ReLU)]
    words = [m.kernel_size[0] if isinstance(m, nn.Conv2d) else "pool" for m in kinds]
    assert words == [3, 3, "pool"] * 2 + [3, 3, 1, "pool"] * 3
    # Configuration D differs in these three kernels alone.
    with torch.device("meta"):
        d = parameters(torchvision.models.vgg16())
    assert d - 133_638_952 == 8 * (256 * 256 + 2 * 512 * 512)


def test_vgg_equals_torchvision_where_they_agree(copy_in_order):
    """Blocks 1 and 2 are those of torchvision's VGG-16 (configuration D)."""
    ours = VGG16C(5, 32, hidden=8).eval()
    theirs = torchvision.models.vgg.make_layers([64, 64, "M", 128, 128, "M"]).eval()
    copy_in_order(ours.features[:10], theirs)
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(ours.features[:10](images), theirs(images), atol=1e-5)


def test_resnet18_equals_torchvision(shake, copy_in_order):
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18()
    shake(theirs)
    ours = ResNet18(1000)
    copy_in_order(ours, theirs)
    images = torch.randn(2, 3, 64, 64)
    assert torch.allclose(ours.eval()(images), theirs.eval()(images), rtol=1e-4, atol=1e-4)
    loss = [model.train()(images).square().mean() for model in (ours, theirs)]
    for each in loss:
        each.backward()
    norms = [torch.stack([p.grad.norm() for p in m.parameters()]) for m in (ours, theirs)]
    assert torch.allclose(*norms, rtol=1e-3, atol=1e-5)


def test_small_stem_keeps_the_resolution():
    images = torch.zeros(1, 3, 32, 32)
    assert ResNet18(3, "small", width=4).stem(images).shape == (1, 4, 32, 32)
    assert ResNet18(3, "imagenet", width=4).stem(images).shape == (1, 4, 8, 8)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name, unreached):
    torch.manual_seed(0)
    model = small(name)
    loss = F.cross_entropy(model(torch.randn(8, 3, 32, 32)), torch.arange(8) % 3)
    assert not unreached(model, loss)


@pytest.mark.parametrize("name", NAMES)
def test_one_batch_is_overfitted(name, learn):
    torch.manual_seed(0)
    model = small(name)
    images, labels = torch.randn(12, 3, 32, 32), torch.arange(12) % 3
    losses = learn(model, lambda: F.cross_entropy(model(images), labels), 3e-3, 60)
    assert abs(losses[0] - 1.1) < 1.2  # near ln 3: the initialisation neither dies nor explodes
    assert losses[-1] < 0.1
