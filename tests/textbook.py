"""Gradient matching as the papers write it: the slow path that the project's own is checked against.

One loss summed over all classes, one backward pass, a DataLoader in the inner loop. The draws (network, real
batches, order, augmentation) come from the same generators in the same order, so results agree to rounding.
"""

import torch
import torch.nn.functional as F

from networks import redraw
from training import train_epoch


def distance(grads_syn, grads_real):
    total = 0
    for syn, real in zip(grads_syn, grads_real, strict=True):
        if syn.ndim < 2:
            continue
        for row_syn, row_real in zip(syn.flatten(1), real.flatten(1), strict=True):
            total = total + 1 - (row_syn @ row_real) / (row_syn.norm() * row_real.norm() + 1e-6)
    return total


def iteration(method):
    """Do one iteration on the images of `method`, a GradientMatching, with its generators; return the logged
    loss."""
    data, net, params, total = method.data, method.net, list(method.net.parameters()), 0.0
    redraw(net, method.rng.device)
    for outer in range(method.outer_loop):
        images = method.image_syn.detach().clone().requires_grad_()
        loss = 0
        for c in range(data.num_classes):
            real = data.images(method.sampler.draw(c, method.batch_real, method.rng))
            syn = images[c * method.ipc : (c + 1) * method.ipc]
            transform = method.augmentation.draw()
            label = torch.full((len(real),), c)
            grads_real = torch.autograd.grad(F.cross_entropy(net(transform(real)), label), params)
            loss_syn = F.cross_entropy(net(transform(syn)), label.new_full((len(syn),), c))
            grads_syn = torch.autograd.grad(loss_syn, params, create_graph=True)
            loss = loss + distance(grads_syn, grads_real)
        loss.backward()
        method.image_syn.grad = images.grad
        method.optimizer_img.step()
        total += loss.item()
        if outer < method.outer_loop - 1:
            for _ in range(method.inner_loop):
                train_epoch(
                    net, method.image_syn, method.label_syn, method.optimizer_net,
                    method.batch_train, method.rng,
                    method.augmentation,
                )  # fmt: skip
    return total / (data.num_classes * method.outer_loop)
