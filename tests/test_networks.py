"""Every network name x image size x channels; counts of parameters; redrawing in place."""

import pytest
import torch
from torch import nn

from networks import NETWORKS, make_network, redraw
from utils import UserError

SIZES = (8, 1), (16, 3), (28, 1), (32, 3), (64, 1), (128, 3)  # pixels a side, channels
# Parameters at 3 x 32 x 32 with 10 classes, as the public implementations of the papers have them.
PARAMETERS = {
    'MLP': 411146, 'LeNet': 62006, 'AlexNet': 1872202, 'AlexNetBN': 1874122, 'VGG11': 9231114,
    'VGG11BN': 9231114, 'ResNet18': 11173962, 'ResNet18BN': 11173962, 'ResNet18_AP': 11250762,
    'ResNet18BN_AP': 11250762,
    'ConvNet': 320010, 'ConvNetD1': 331530, 'ConvNetD2': 233610, 'ConvNetD3': 320010,
    'ConvNetD4': 452490, 'ConvNetW32': 24714, 'ConvNetW64': 86282, 'ConvNetW128': 320010,
    'ConvNetW256': 1229834, 'ConvNetAS': 320010, 'ConvNetAR': 320010, 'ConvNetAL': 320010,
    'ConvNetASwish': 320010, 'ConvNetASwishBN': 320010, 'ConvNetNN': 319242, 'ConvNetBN': 320010,
    'ConvNetLN': 663306, 'ConvNetIN': 320010, 'ConvNetGN': 320010, 'ConvNetNP': 1610250,
    'ConvNetMP': 320010, 'ConvNetAP': 320010,
}  # fmt: skip
PARAMETERS_MNIST = {
    'MLP': 118282, 'LeNet': 61706, 'AlexNet': 1865802, 'VGG11': 9229962, 'ResNet18': 11172810,
    'ResNet18BN_AP': 11213770, 'ConvNet': 317706, 'ConvNetD4': 450186, 'ConvNetLN': 661002,
    'ConvNetNP': 1607946,
}  # fmt: skip


def count(net):
    """Return the number of parameters."""
    return sum(param.numel() for param in net.parameters())


def test_parameter_counts_are_the_published_ones():
    assert {name: count(make_network(name, 3, 10, (32, 32))) for name in NETWORKS} == PARAMETERS
    counts = {name: count(make_network(name, 1, 10, (28, 28))) for name in PARAMETERS_MNIST}
    assert counts == PARAMETERS_MNIST


@pytest.mark.parametrize(('size', 'channel'), SIZES)
@pytest.mark.parametrize('name', NETWORKS)
def test_every_size(name, size, channel):
    if name == 'ConvNetD4' and size == 8:
        with pytest.raises(UserError, match='8x8.*ConvNetD1'):
            make_network(name, channel, 7, (size, size))
        return
    net = make_network(name, channel, 7, (size, size)).eval()
    images = torch.randn(2, channel, size, size)
    if size > 32:  # shapes alone
        net, images = net.to('meta'), images.to('meta')
    with torch.no_grad():
        features = net.embed(images)
        logits = net.classifier(features)
    assert features.shape == (2, net.classifier.in_features) and logits.shape == (2, 7)
    if size <= 32:
        assert torch.isfinite(logits).all()


def test_forward_is_the_classifier_of_the_embedding():
    net, images = make_network('LeNet', 3, 7), torch.randn(2, 3, 32, 32)
    assert torch.equal(net(images), net.classifier(net.embed(images)))


def test_non_square_images():
    assert make_network('ConvNet', 3, 5, (32, 48))(torch.randn(2, 3, 32, 48)).shape == (2, 5)


@pytest.mark.parametrize('name', ['ConvNet', 'ConvNetLN', 'ResNet18BN', 'LeNet'])
def test_redraw_writes_into_the_same_tensors(name):
    net = make_network(name, 3, 10, (32, 32), torch.Generator().manual_seed(1))
    net(torch.randn(4, 3, 32, 32))  # moves the statistics of batch norm
    places = [tensor.data_ptr() for tensor in net.state_dict().values()]
    redraw(net, torch.Generator().manual_seed(2))
    assert places == [tensor.data_ptr() for tensor in net.state_dict().values()]
    fresh = make_network(name, 3, 10, (32, 32), torch.Generator().manual_seed(2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(net.state_dict().values(), fresh.state_dict().values(), strict=True)
    )


def test_weights_have_the_default_distribution_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    weight = make_network('ConvNet', 3, 10).features[3 + 1].weight  # 128 -> 128, 3x3: fan-in 1152
    assert torch.equal(torch.get_rng_state(), before)
    default = nn.Conv2d(128, 128, 3).weight
    bound = 1152**-0.5
    assert weight.abs().max() <= bound and default.abs().max() <= bound
    assert weight.std().item() == pytest.approx(default.std().item(), rel=0.01)
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.01)


def test_unknown_name_lists_the_names():
    with pytest.raises(UserError, match="'ResNet99'.*ConvNetW256"):
        make_network('ResNet99', 3, 10)
