"""Gradient matching as the papers write it: our own path is checked and timed against this.

One loss summed over all classes, one double backward, float32, a DataLoader in every training
epoch. All functions take a GradientMatching and use its images and generators in the same order, so
results agree to rounding.
"""

import copy

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from networks import redraw


def distance(grads_syn: list[torch.Tensor], grads_real: list[torch.Tensor]) -> torch.Tensor:
    """Sum 1 - cosine over the output nodes of all weights, node by node (DC, equation 10)."""
    total = 0
    for syn, real in zip(grads_syn, grads_real, strict=True):
        if syn.ndim < 2:
            continue
        for row_syn, row_real in zip(syn.flatten(1), real.flatten(1), strict=True):
            total = total + 1 - (row_syn @ row_real) / (row_syn.norm() * row_real.norm() + 1e-6)
    return total


def match(method) -> float:
    """Take one step on the images of method; return the loss summed over classes."""
    data, net, classes = method.data, method.net, []
    params = list(net.parameters())
    stored = method.image_syn.detach().clone().requires_grad_()
    images = method.tiles.decode(stored).chunk(data.num_classes)
    for c in range(data.num_classes):
        real = data.images(method.sampler.draw(c, method.batch_real, method.rng, method.iteration))
        transform = method.augmentation.draw()
        label = torch.full((len(real),), c, device=data.device)
        grads_real = torch.autograd.grad(F.cross_entropy(net(transform(real)), label), params)
        loss_syn = F.cross_entropy(net(transform(images[c])), label.new_full((len(images[c]),), c))
        classes.append((torch.autograd.grad(loss_syn, params, create_graph=True), grads_real))
    loss = compared(method, classes)
    loss.backward()
    method.image_syn.grad = stored.grad
    method.optimizer_img.step()
    return loss.item()


def compared(method, classes: list[tuple]) -> torch.Tensor:
    """Return the loss of (synthetic, real) gradients of all classes, by the level of method."""
    if method.level == 'intra':
        return sum(distance(*pair) for pair in classes)
    num = len(classes)
    mean_syn, mean_real = (
        [sum(grads) / num for grads in zip(*side, strict=True)]
        for side in zip(*classes, strict=True)
    )
    if method.level == 'centred':
        classes = [
            ([g - m for g, m in zip(syn, mean_syn, strict=True)],
             [g - m for g, m in zip(real, mean_real, strict=True)])
            for syn, real in classes
        ]  # fmt: skip
        return sum(distance(*pair) for pair in classes)
    inter = num * distance(mean_syn, mean_real)
    if method.level == 'both':
        return inter + sum(distance(*pair) for pair in classes)
    if method.level != 'inter':
        raise ValueError(f'{method.level} is a schedule of levels')
    return inter


def train_network(method, optimizer=None) -> None:
    """Train the network of method for one epoch on its images (optimizer None: the method's)."""
    optimizer = optimizer or method.inner_loop.optimizer
    dataset = TensorDataset(*copy.deepcopy(method.synset))
    order = torch.randperm(
        len(dataset), generator=method.rng.generator, device=method.data.device
    ).tolist()
    for images, labels in DataLoader(dataset, method.inner_loop.batch_train, sampler=order):
        if method.augmentation.names:
            images = method.augmentation.draw(len(images))(images)
        loss = F.cross_entropy(method.net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def iteration(method) -> float:
    """Do one iteration on the images of method; return the loss as it is logged."""
    redraw(method.net, method.rng.generator)
    method.inner_loop.begin()
    total = 0.0
    for outer in range(method.outer_loop):
        total += match(method)
        if outer < method.outer_loop - 1:
            for _ in range(method.inner_loop.epochs):
                train_network(method)
    return total / (method.data.num_classes * method.outer_loop)
