"""The networks: counts, torchvision's own output, frozen stages, strides and padding."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from transfer_food11.model import NETWORKS, Classifier, SameConv2d, class_probabilities

NAMES = tuple(NETWORKS)
COUNTS = {
    "efficientnet_b0": 5_288_548,
    "mobilenet_v3_large": 5_483_032,
    "resnet50": 25_557_032,
    "efficientnet_lite0": 4_652_008,
}


def images(count=2, side=32):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def awake(name, classes):
    """A model whose running statistics fit `images`: a new one's features are all but zero."""
    torch.manual_seed(0)
    model = Classifier(name, classes)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    usual = norms[0].momentum
    for norm in norms:
        norm.momentum = 1.0
    model.train()(images(4))
    for norm in norms:
        norm.momentum = usual
    return model


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_stages(name, parameters):
    model = Classifier(name, 1000)
    assert parameters(model) == NETWORKS[name].parameters == COUNTS[name]
    own = [p for part in (*model.stages(), model.head) for p in part.parameters()]
    assert [id(p) for p in own] == [id(p) for p in model.parameters()]
    assert 4 <= len(model.stages()) <= 8


@pytest.mark.parametrize("name", NAMES[:3])
def test_normalisation_is_that_of_the_published_weights(name):
    published = models.get_model_weights(name).DEFAULT.transforms()
    known = NETWORKS[name]
    assert (known.mean, known.std) == (tuple(published.mean), tuple(published.std))
    assert published.crop_size == [224]


@pytest.mark.parametrize("name", NAMES[:3])
def test_output_is_torchvisions(name):
    torch.manual_seed(0)
    theirs = getattr(models, name)(weights=None)
    theirs.train()(images(4))  # running statistics that are not those of a new network
    theirs.eval()
    ours = Classifier(name, 1000).eval()
    ours.network.load_state_dict(theirs.state_dict())
    seen = []
    head = [module for module in theirs.modules() if isinstance(module, nn.Linear)][-1]
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        expected = theirs(images())
        assert torch.equal(ours(images()), expected)
        assert torch.equal(ours.features(images()), seen[0])


@pytest.mark.parametrize("name", NAMES[2:])
def test_sides_that_are_no_multiple_of_32_are_rounded_up(name):
    model = Classifier(name, 3).eval()
    with torch.no_grad():
        maps = model.feature_map(torch.zeros(1, 3, 70, 33))
    assert maps.shape[2:] == (3, 2)


@pytest.mark.parametrize(
    ("side", "kernel", "padding"),
    [(8, 3, (0, 1)), (8, 5, (1, 2)), (7, 3, (1, 1)), (7, 5, (2, 2)), (1, 3, (1, 1))],
)
def test_same_padding_is_tensorflows(side, kernel, padding):
    """The right and bottom get more: TensorFlow's rule, worked out by hand for each case."""
    conv = SameConv2d(2, 4, kernel, 2, groups=2, bias=False)
    maps = torch.randn(1, 2, side, 8)
    wide = (0, 1) if kernel == 3 else (1, 2)
    expected = F.conv2d(F.pad(maps, (*wide, *padding)), conv.weight, stride=2, groups=2)
    assert torch.equal(conv(maps), expected)
    assert expected.shape[2:] == ((side + 1) // 2, 4)


def test_lite0_has_no_squeeze_and_no_silu():
    kinds = {type(module).__name__ for module in Classifier("efficientnet_lite0", 3).modules()}
    assert {"ReLU6", "SameConv2d", "StochasticDepth"} <= kinds
    assert not {"SiLU", "SqueezeExcitation"} & kinds


def test_strides_move_to_conv1():
    model = Classifier("resnet50", 3).eval()
    with torch.no_grad():
        before = model.feature_map(images(1))
        model.place_strides("conv1")
        after = model.feature_map(images(1))
        model.place_strides("conv2")
        assert torch.equal(model.feature_map(images(1)), before)
    assert before.shape == after.shape
    assert not torch.allclose(before, after)
    built = Classifier("resnet50", 3)
    built.place_strides("conv1")
    assert built.strides == "conv1"
    assert built.network.layer3[0].conv1.stride == (2, 2)
    assert built.network.layer3[0].conv2.stride == (1, 1)
    assert built.network.layer1[0].conv1.stride == (1, 1)


@pytest.mark.parametrize(
    ("name", "stages"),
    [("mobilenet_v3_large", 7), ("efficientnet_lite0", 2)],
)
def test_frozen_stages_stay_bit_for_bit(name, stages):
    """Weights and running statistics, in train mode; everything else moves."""
    model = awake(name, 3)
    model.freeze(stages)
    model.eval().train()
    kept = {
        id(tensor)
        for group in model.stages()[:stages]
        for tensor in [*group.parameters(), *group.buffers()]
    }
    tensors = [*model.named_parameters(), *model.named_buffers()]
    before = {key: tensor.clone() for key, tensor in tensors}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):  # by stochastic depth a block may be left out once
        loss = F.cross_entropy(model(images(4)), torch.tensor([0, 1, 2, 0]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for key, tensor in tensors:
        assert torch.equal(before[key], tensor) == (id(tensor) in kept), key


def test_fixed_statistics_leave_batchnorm_as_in_evaluation():
    model = awake("efficientnet_lite0", 3)
    model.fixed_statistics = True
    model.eval().train()
    statistics = {key: value.clone() for key, value in model.named_buffers()}
    F.cross_entropy(model(images(4)), torch.tensor([0, 1, 2, 0])).backward()
    assert all(torch.equal(statistics[key], value) for key, value in model.named_buffers())
    assert all(p.grad is not None for p in model.parameters())
    model.fixed_statistics = False
    model.train()(images(4))
    assert any(not torch.equal(statistics[key], value) for key, value in model.named_buffers())


def test_freezing_can_be_undone():
    model = Classifier("mobilenet_v3_large", 3).train()
    model.freeze(len(model.stages()))
    assert [p for p in model.parameters() if p.requires_grad] == [*model.head.parameters()]
    model.freeze(0)
    assert all(p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


def test_one_batch_is_learnt(learn):
    torch.manual_seed(0)
    model = Classifier("efficientnet_lite0", 4, dropout=0)
    for module in model.modules():  # all of the network, every time
        if type(module).__name__ == "StochasticDepth":
            module.p = 0.0
    labels = torch.arange(8) % 4
    losses = learn(model, lambda: F.cross_entropy(model(images(8)), labels), 1e-3, 8)
    assert all(p.grad is not None for p in model.parameters())
    assert losses[-1] < 0.3


def test_dropout_lies_before_the_head():
    model = awake("mobilenet_v3_large", 4)
    model.freeze(len(model.stages()))
    model.dropout.p = 0.5
    nn.init.ones_(model.head.weight)
    with torch.no_grad():
        logits = model(images(1).expand(64, -1, -1, -1))[:, 0]
        whole = model.eval()(images(1))[0, 0]
    assert logits.std() > 0
    assert logits.mean() == pytest.approx(float(whole), rel=0.2)


def test_flip_gives_mirror_images_the_same_probabilities():
    model = awake("mobilenet_v3_large", 4).eval()
    nn.init.normal_(model.head.weight)
    with torch.no_grad():
        plain = class_probabilities(model, images(), flip=False)
        assert torch.equal(plain, model(images()).softmax(1))
        both = class_probabilities(model, images(), flip=True)
        mirrored = class_probabilities(model, images().flip(3), flip=True)
    assert torch.allclose(both, mirrored, atol=1e-6)
    assert torch.allclose(both.sum(1), torch.ones(2))
    assert not torch.allclose(both, plain)
