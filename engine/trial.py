"""Try a network at the sizes that will occur: what cannot work shows before hours of work."""

import torch

from dataset.data import Data
from networks import has_batchnorm, network_for
from utils import UserError


def last_batch(num: int, batch_size: int) -> int:
    """Return the size of the last batch of num images, the smallest of an epoch."""
    return num % batch_size or batch_size


def check_network(model: str, data: Data, smallest: int, task: str) -> None:
    """Raise UserError if a network cannot see batches of `smallest` of these images in training.

    task: what it is for, as the message says it.
    """
    net = network_for(model, data)
    of_batch, where, other = has_batchnorm(net), '', 'or a larger --im_size'
    if of_batch:
        where, other = f' with a last batch of {smallest}', '--im_size or --batch_train'
    # Norms of an image alone fail at one image, and are 0 without a word in larger batches.
    try:
        with torch.no_grad():
            net(torch.zeros(min(smallest, 2) if of_batch else 1, *data.shape))
    except ValueError as error:
        size = f'{data.shape[1]}x{data.shape[2]}'
        raise UserError(
            f'{task}: {model} cannot be trained on images of {size} pixels{where}, for a norm has '
            f'no statistics of a single value; use another network, {other}'
        ) from error
