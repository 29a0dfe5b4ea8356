"""Every network of the evaluation pools, by the field's names.

    make_network('ConvNetW256', channel=3, num_classes=10)

ConvNet follows Gidaris & Komodakis (CVPR 2018) as used by Zhao et al. (ICLR 2021, arXiv
2006.05929): blocks of 3x3 convolution, norm, activation, 2x2 pooling, then one linear layer. The
other architectures are the CIFAR versions of LeNet, AlexNet, VGG11 and ResNet18. A plain name has
instance norm, ...BN has batch norm, ..._AP pools to downsample.

Shape legend of the whole project: N batch, C channels, H and W size, K classes, I images per class,
D features. `images: (N, C, H, W), normalised` everywhere.
"""

from collections import OrderedDict
from functools import partial

import torch
from torch import nn

from utils import UserError


class Network(nn.Module):
    """A feature extractor and one linear classifier: every network here has this shape."""

    def __init__(self, features: nn.Module, num_features: int, num_classes: int):
        super().__init__()
        self.features, self.embed_size = features, num_features
        self.classifier = nn.Linear(num_features, num_classes)

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the penultimate features (N, D) of images (N, C, H, W)."""
        return self.features(images).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, K) of images (N, C, H, W)."""
        return self.classifier(self.embed(images))


class LayerNorm(nn.LayerNorm):
    """nn.LayerNorm by way of group norm with one group.

    torch's own forward derivative of layer norm forgets, when differentiated again, that mean and
    deviation depend on the inputs.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return inputs (N, C, H, W), normalised over C, H and W."""
        return nn.functional.group_norm(inputs, 1, eps=self.eps) * self.weight + self.bias


# Instance norm is GroupNorm with one channel a group, as in the papers' code: it keeps no running
# statistics.
NORMS = {
    'none': None,
    'batchnorm': lambda channels, size: nn.BatchNorm2d(channels),
    'layernorm': lambda channels, size: LayerNorm((channels, *size)),
    'instancenorm': lambda channels, size: nn.GroupNorm(channels, channels),
    'groupnorm': lambda channels, size: nn.GroupNorm(4, channels),
}
ACTIVATIONS = {
    'sigmoid': nn.Sigmoid,
    'relu': partial(nn.ReLU, inplace=True),
    'leakyrelu': partial(nn.LeakyReLU, negative_slope=0.01),
    'swish': nn.SiLU,
}
POOLINGS = {
    'none': None,
    'maxpooling': partial(nn.MaxPool2d, 2),
    'avgpooling': partial(nn.AvgPool2d, 2),
}


def _conv_block(
    channels_in, channels_out, size, kernel=3, extra_padding=0, norm='none', act='relu'
):
    """Return a convolution that keeps the size (but for extra_padding), norm if any, activation."""
    layers = [nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2 + extra_padding)]
    if NORMS[norm]:
        layers.append(NORMS[norm](channels_out, size))
    return [*layers, ACTIVATIONS[act]()]


def _halved(size):
    return size[0] // 2, size[1] // 2


def _padding_to_32(im_size):
    """Return the zeros to add on each side so that no side is below the 32 pixels of CIFAR."""
    return max(0, (33 - min(im_size)) // 2)


def _padded(im_size, padding):
    return im_size[0] + 2 * padding, im_size[1] + 2 * padding


def convnet(
    channel, num_classes, im_size, width=128, depth=3, act='relu', norm='instancenorm',
    pooling='avgpooling',
):  # fmt: skip
    """Build a ConvNet of `depth` blocks; the first pads 28x28 to 32x32, as published."""
    padding = 2 if min(im_size) == 28 else 0
    # Else the third norm would see 2x2 pixels, and the images learn nothing.
    if depth == 3 and min(im_size) < 16:
        padding = (17 - min(im_size)) // 2
    size, layers = _padded(im_size, padding), []
    for block in range(depth):
        channels, extra = (width, 0) if block else (channel, padding)
        layers += _conv_block(channels, width, size, extra_padding=extra, norm=norm, act=act)
        if POOLINGS[pooling]:
            layers.append(POOLINGS[pooling]())
            size = _halved(size)
    if min(size) == 0:
        pixels = f'{im_size[0]}x{im_size[1]} pixels'
        raise UserError(
            f'a ConvNet of depth {depth} halves the image {depth} times, too often for {pixels}; '
            'use a shallower one (ConvNetD1, ConvNetD2, …) or a larger --im_size'
        )
    return Network(nn.Sequential(*layers), width * size[0] * size[1], num_classes)


def mlp(channel, num_classes, im_size):
    """Build two hidden layers of 128 units."""
    hidden = [
        nn.Flatten(),
        nn.Linear(channel * im_size[0] * im_size[1], 128), nn.ReLU(inplace=True),
        nn.Linear(128, 128), nn.ReLU(inplace=True),
    ]  # fmt: skip
    return Network(nn.Sequential(*hidden), 128, num_classes)


def lenet(channel, num_classes, im_size):
    """Build LeNet-5 for 32x32 inputs (smaller ones are padded) with ReLU and max pooling."""
    padding = _padding_to_32(im_size)
    height, width = (((side + 2 * padding - 4) // 2 - 4) // 2 for side in im_size)
    layers = [
        nn.Conv2d(channel, 6, 5, padding=padding), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * height * width, 120), nn.ReLU(inplace=True),
        nn.Linear(120, 84), nn.ReLU(inplace=True),
    ]  # fmt: skip
    return Network(nn.Sequential(*layers), 84, num_classes)


def alexnet(channel, num_classes, im_size, norm='none'):
    """Build the CIFAR AlexNet of the papers: five convolutions, three max pools."""
    padding = _padding_to_32(im_size)
    size, layers, channels = _padded(im_size, padding), [], channel
    blocks = [(128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True)]
    for block, (width, kernel, pool) in enumerate(blocks):
        layers += _conv_block(channels, width, size, kernel, 0 if block else padding, norm)
        channels = width
        if pool:
            layers.append(nn.MaxPool2d(2))
            size = _halved(size)
    return Network(nn.Sequential(*layers), channels * size[0] * size[1], num_classes)


def vgg11(channel, num_classes, im_size, norm='instancenorm'):
    """Build VGG11 (Simonyan & Zisserman, ICLR 2015) for 32x32 inputs (smaller ones are padded)."""
    padding = _padding_to_32(im_size)
    size, layers, channels = _padded(im_size, padding), [], channel
    blocks = [
        (64, True), (128, True), (256, False), (256, True),
        (512, False), (512, True), (512, False), (512, True),
    ]  # fmt: skip
    for block, (width, pool) in enumerate(blocks):
        layers += _conv_block(channels, width, size, 3, 0 if block else padding, norm)
        channels = width
        if pool:
            layers.append(nn.MaxPool2d(2))
            size = _halved(size)
    return Network(nn.Sequential(*layers), channels * size[0] * size[1], num_classes)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al., CVPR 2016).

    stride 2 halves the size: in the first convolution, or by average_pool after it.
    """

    def __init__(self, channels_in, channels_out, stride, norm, average_pool):
        super().__init__()
        conv_stride = 1 if average_pool else stride
        pool = [nn.AvgPool2d(2)] if average_pool and stride == 2 else []
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, conv_stride, padding=1, bias=False)
        self.bn1 = NORMS[norm](channels_out, None)
        self.pool = nn.Sequential(*pool)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.bn2 = NORMS[norm](channels_out, None)
        self.downsample = nn.Sequential()
        if stride == 2 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, conv_stride, bias=False),
                *pool,
                NORMS[norm](channels_out, None),
            )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return features (N, channels_out, H / stride, W / stride) of inputs (N, C, H, W)."""
        outputs = self.pool(torch.relu(self.bn1(self.conv1(inputs))))
        return torch.relu(self.bn2(self.conv2(outputs)) + self.downsample(inputs))


def resnet18(channel, num_classes, im_size, norm='instancenorm', average_pool=False):
    """Build ResNet18 with the CIFAR stem (3x3, no max pool), named as in torchvision."""
    layers = OrderedDict(
        conv1=nn.Conv2d(channel, 64, 3, padding=1, bias=False),
        bn1=NORMS[norm](64, None),
        relu=nn.ReLU(inplace=True),
    )
    channels, size = 64, im_size
    for stage, width in enumerate([64, 128, 256, 512]):
        stride = 2 if stage else 1
        layers[f'layer{stage + 1}'] = nn.Sequential(
            BasicBlock(channels, width, stride, norm, average_pool),
            BasicBlock(width, width, 1, norm, average_pool),
        )
        channels = width
        if stride == 2:
            size = _halved(size) if average_pool else ((size[0] + 1) // 2, (size[1] + 1) // 2)
    if average_pool:  # the AP variants keep the last map, as published
        if 0 in size:
            raise UserError(
                f'ResNet18_AP halves images three times; {im_size[0]}x{im_size[1]} are too small'
            )
        return Network(nn.Sequential(layers), channels * size[0] * size[1], num_classes)
    layers['avgpool'] = nn.AdaptiveAvgPool2d(1)
    return Network(nn.Sequential(layers), channels, num_classes)


NETWORKS = {
    'MLP': mlp,
    'LeNet': lenet,
    'AlexNet': alexnet,
    'AlexNetBN': partial(alexnet, norm='batchnorm'),
    'VGG11': vgg11,
    'VGG11BN': partial(vgg11, norm='batchnorm'),
    'ResNet18': resnet18,
    'ResNet18BN': partial(resnet18, norm='batchnorm'),
    'ResNet18_AP': partial(resnet18, average_pool=True),
    'ResNet18BN_AP': partial(resnet18, norm='batchnorm', average_pool=True),
    'ConvNet': convnet,
    **{f'ConvNetD{depth}': partial(convnet, depth=depth) for depth in (1, 2, 3, 4)},
    **{f'ConvNetW{width}': partial(convnet, width=width) for width in (32, 64, 128, 256)},
    'ConvNetAS': partial(convnet, act='sigmoid'),
    'ConvNetAR': partial(convnet, act='relu'),
    'ConvNetAL': partial(convnet, act='leakyrelu'),
    'ConvNetASwish': partial(convnet, act='swish'),
    'ConvNetASwishBN': partial(convnet, act='swish', norm='batchnorm'),
    'ConvNetNN': partial(convnet, norm='none'),
    'ConvNetBN': partial(convnet, norm='batchnorm'),
    'ConvNetLN': partial(convnet, norm='layernorm'),
    'ConvNetIN': partial(convnet, norm='instancenorm'),
    'ConvNetGN': partial(convnet, norm='groupnorm'),
    'ConvNetNP': partial(convnet, pooling='none'),
    'ConvNetMP': partial(convnet, pooling='maxpooling'),
    'ConvNetAP': partial(convnet, pooling='avgpooling'),
}


BATCHNORMS = nn.BatchNorm1d, nn.BatchNorm2d
PLAIN_NORMS = nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm


def has_batchnorm(net: nn.Module) -> bool:
    """Tell whether the network looks at the other images of a batch."""
    return any(isinstance(module, BATCHNORMS) for module in net.modules())


def is_drawn(module: nn.Module) -> bool:
    """Tell whether redraw() knows how to draw the module's own weights."""
    return isinstance(module, (nn.Conv2d, nn.Linear)) or hasattr(module, 'reset_parameters')


@torch.no_grad()
def redraw(net: nn.Module, generator: torch.Generator) -> None:
    """Write fresh random weights into the tensors of `net`, with PyTorch's default distributions.

    Convolutions and linear layers: weight and bias uniform in ±1/sqrt(fan-in). Norm layers: scale
    1, shift 0, running statistics cleared. Other modules, of a user's network, draw as they do
    themselves. `generator` is on the device of `net`.
    """
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bound = module.weight[0].numel() ** -0.5
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, PLAIN_NORMS):
            module.reset_parameters()
        elif hasattr(module, 'reset_parameters'):
            # It draws from the global generator: seeded by ours, and left as it was.
            device = generator.device
            seed = int(torch.randint(2**31, (), generator=generator, device=device))
            with torch.random.fork_rng([device] if device.type == 'cuda' else ()):
                torch.manual_seed(seed)
                module.reset_parameters()


def make_network(
    name: str,
    channel: int,
    num_classes: int,
    im_size: tuple[int, int] = (32, 32),
    generator: torch.Generator | None = None,
) -> Network:
    """Make a network by its name with random weights.

    channel: C of the images; im_size: (H, W) in pixels; generator: the source of the
    weights, which also decides the device (None: on the CPU, seed 0). Raises UserError for an
    unknown name or a network too deep for im_size.
    """
    if name not in NETWORKS:
        raise UserError(f'unknown network {name!r}; there are: {", ".join(NETWORKS)}')
    generator = generator or torch.Generator().manual_seed(0)
    with torch.device('meta'):  # no memory, and no draw from the global generator
        net = NETWORKS[name](channel, num_classes, im_size)
    # A user's network is whole already: it may have constants beside its weights.
    whole = not any(param.is_meta for param in net.parameters())
    net = net.to(generator.device) if whole else net.to_empty(device=generator.device)
    redraw(net, generator)
    return net


def network_for(name: str, data, generator: torch.Generator | None = None) -> Network:
    """Make a network for the images and classes of data: .shape (C, H, W), .num_classes."""
    return make_network(name, data.shape[0], data.num_classes, data.shape[1:], generator)
