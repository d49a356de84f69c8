"""VGG-Deep: its sizes, what the variants share, how each is initialised."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vanishing_gradients.model import NORMED, VARIANTS, Block, VGGDeep

DEPTHS = (8, 12, 16, 24, 40, 56)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_those_of_the_docstring(variant, parameters):
    with torch.device("meta"):
        model = VGGDeep(3, variant=variant)
    assert parameters(model) == (350_931 if variant in NORMED else 349_683)
    extra = 2 if variant in NORMED else 1  # a bias, or BatchNorm's scale and shift
    convolutions = sum(
        9 * c.in_channels * c.out_channels + extra * c.out_channels for c in model.convolutions()
    )
    assert parameters(model) == convolutions + 32 * 3 + 3


@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_counts_the_convolutions_and_variants_share_them(depth):
    with torch.device("meta"):
        models = [VGGDeep(3, depth, 4, variant) for variant in VARIANTS]
    shapes = [[tuple(c.weight.shape) for c in model.convolutions()] for model in models]
    assert len(shapes[0]) == depth
    assert all(other == shapes[0] for other in shapes)
    assert all(shape[2:] == (3, 3) for shape in shapes[0])
    assert not any(isinstance(m, nn.BatchNorm2d) for m in models[0].modules())


def test_a_residual_block_without_its_branch_is_the_identity():
    block = Block(4, 6, "residual")
    nn.init.zeros_(block.conv2.weight)
    nn.init.zeros_(block.conv2.bias)
    maps = torch.rand(2, 4, 5, 5)  # what leaves a block is never negative
    assert torch.equal(block(maps), F.pad(maps, (0, 0, 0, 0, 0, 2)))
    plain = Block(4, 6, "plain")
    plain.load_state_dict(block.state_dict())
    assert not plain(maps).any()


def test_resnets_block_is_torchvisions():
    """With equal channels, where its shortcut too is the identity."""
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    own, oracle = Block(6, 6, "resnet"), BasicBlock(6, 6)
    oracle.load_state_dict(dict(zip(oracle.state_dict(), own.state_dict().values(), strict=True)))
    maps = torch.rand(4, 6, 5, 5)
    torch.testing.assert_close(own(maps), oracle(maps))


@pytest.mark.parametrize(("variant", "first", "second"), [
    ("plain", 1 / 3, 1 / 3), ("glorot", 1, 1), ("kaiming", 2, 2), ("batch_norm", 2, 2),
    ("residual", 2, 2 / 8), ("resnet", 2, 2),
])  # fmt: skip
def test_variance_of_the_weights_at_the_start(variant, first, second):
    """In units of 1 / fan-in; 16 convolutions are 8 residual branches."""
    torch.manual_seed(0)
    model = VGGDeep(3, 16, 32, variant)
    for number, convolution in enumerate(model.convolutions()[4:], 4):  # as many channels out as in
        expected = (second if number % 2 else first) / (9 * convolution.in_channels)
        assert convolution.weight.var().item() == pytest.approx(expected, rel=0.1)
        if variant in ("plain", "glorot"):
            expected = 1 / (3 * 9 * convolution.in_channels)
            assert convolution.bias.var().item() == pytest.approx(expected, rel=0.5)
        elif convolution.bias is not None:
            assert not convolution.bias.any()


@pytest.mark.parametrize("variant", ["plain", "glorot"])
def test_bias_scale_changes_the_biases_alone(variant):
    models = []
    for scale in (1.0, 0.0, 3.0):
        torch.manual_seed(0)
        models.append(VGGDeep(3, 8, 4, variant, scale))
    for one, none, three in zip(*(model.convolutions() for model in models), strict=True):
        assert torch.equal(one.weight, none.weight)
        assert not none.bias.any()
        assert torch.equal(3 * one.bias, three.bias)


@pytest.mark.parametrize("variant", ["kaiming", "glorot"])
def test_without_biases_every_layer_has_the_same_product_of_weights_and_gradient(variant):
    """A network of ReLU layers that are all homogeneous is balanced (Du et al. 2018): a layer's
    weights times their gradient sum to the same for all. So biases are what lets the gradients of
    plain and glorot differ by layer as they do."""
    torch.manual_seed(0)
    model = VGGDeep(3, 24, 8, variant, bias_scale=0.0).double()
    images, labels = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.arange(4) % 3
    F.cross_entropy(model(images), labels).backward()
    products = [(c.weight * c.weight.grad).sum().item() for c in model.convolutions()]
    assert products == pytest.approx([products[0]] * 24, rel=1e-9)


@pytest.mark.parametrize("variant", ["kaiming", "batch_norm", "residual", "resnet"])
def test_gradient_reaches_every_parameter_and_one_batch_is_learned(variant, unreached, learn):
    torch.manual_seed(0)
    model = VGGDeep(3, 8, 8, variant)
    images, labels = torch.randn(12, 3, 16, 16), torch.arange(12) % 3
    assert not unreached(model, F.cross_entropy(model(images), labels))
    losses = learn(model, lambda: F.cross_entropy(model(images), labels), 5e-3, 60)
    assert losses[-1] < 0.1
