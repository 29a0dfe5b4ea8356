"""What the matching steps of an iteration log: the distance, and the norms of both gradients.

Everything stays on the device until the end of the iteration. Ranks fill in the rows of their own
classes, so that the sums are the same, to the bit, however many there are.
"""

import torch

from engine.device import read_back
from processes import ranks


class StepLog:
    """Sums over classes and steps; a row a class, and a last one for all classes together.

    An entry is the distance, then the L2 norm of every weight's real gradient, then of every
    weight's synthetic one.
    """

    def __init__(self, net, num_classes: int, device: torch.device):
        self.names = [name for name, param in net.named_parameters() if param.ndim > 1]
        self.totals = torch.zeros(1 + 2 * len(self.names), device=device)
        self.rows = self.totals.new_zeros(num_classes + 1, len(self.totals))

    def add_norms(self, row: int, grads_real: list, grads_syn: list, weight: int = 1) -> None:
        """Log weight x the norm of each weight's gradient, for a class or (row -1) for all."""
        weights = [grad for grad in (*grads_real, *grads_syn) if grad.ndim > 1]
        self.rows[row, 1:] = weight * torch.stack(torch._foreach_norm(weights))

    def add_distance(self, row: int, distance: torch.Tensor) -> None:
        """Log a distance, of a class or (row -1) of all."""
        self.rows[row, 0] += distance

    def end_step(self) -> None:
        """Add the rows of all ranks to the totals."""
        ranks.add_up(self.rows)
        self.totals += self.rows.sum(0)
        self.rows.zero_()

    def read(self, steps: int, images: torch.Tensor) -> dict:
        """Return means over so many steps of classes: the only time that the device is waited for.

        Raises FloatingPointError if the loss or the images are not finite.
        """
        loss, *norms = (total / steps for total in read_back(self.totals, images))
        real, syn = norms[: len(self.names)], norms[len(self.names) :]
        return {
            'loss': loss,
            'grad_norm_real': dict(zip(self.names, real, strict=True)),
            'grad_norm_syn': dict(zip(self.names, syn, strict=True)),
        }
