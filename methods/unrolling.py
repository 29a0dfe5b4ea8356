"""Steps of gradient descent on images, and the way back through them, in flat memory.

With the gradient g_t = ∇θ ℓ(θ_t, x_t), momentum μ and step sizes η_t:

    v_{t+1} = μ v_t + g_t        θ_{t+1} = θ_t − η_t v_{t+1}

Let λ_t = ∂L/∂v_{t+1} − η_t ∂L/∂θ_{t+1}. The way back over a step needs the gradients of <g_t, λ_t>
alone, a directional derivative (engine/gradients.py). So no graph of more than one step is ever
kept. Networks between the steps are stored at every √T-th and computed again from there.
"""

import math

import torch
from torch import nn

from engine.gradients import Gradients


class Unrolled:
    """Steps of net on images, and derivatives of what follows them.

    num: most images a step; pixels: of an image; momentum: μ; precision: of the steps. The way
    back is in fp32. compile: see engine/gradients.py.
    """

    def __init__(
        self, net: nn.Module, num: int, pixels: int, momentum: float = 0.0,
        precision: str = 'fp32', compile: bool | str = False,
    ):  # fmt: skip
        self.gradients = Gradients(net, num, pixels, compile)
        self.precision = precision
        self.weights, self.momentum = list(net.parameters()), momentum

    @torch.no_grad()
    def differentiate(
        self, images: torch.Tensor, labels: torch.Tensor, batches: list, rates: torch.Tensor, last
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss after the steps, its derivative for images (N, C, H, W), and (T,) slopes.

        labels (N,); batches: the rows of images that each of the T steps sees; rates (T,): η.
        last(): gradients, one tensor a parameter, and loss of the network after the steps. They
        start from its weights as they are. A slope is <g_t, λ_t>. Without momentum it is the
        derivative for log η_t.
        """
        steps = list(zip(batches, rates, strict=True))
        segment = math.isqrt(len(steps) - 1) + 1
        parts = [steps[start : start + segment] for start in range(0, len(steps), segment)]

        # Forward: keep the network before every part.
        self.velocity, stored = self._zeros(), []
        for part in parts:
            stored.append(self._state())
            for rows, rate in part:
                self._descend(images[rows], labels[rows], rate)
        with torch.enable_grad():
            of_weights, loss = last()

        # Back: the networks of a part again, from the last step to the first.
        of_velocity, of_images, slopes = self._zeros(), torch.zeros_like(images), []
        for part, state in zip(reversed(parts), reversed(stored), strict=True):
            states = self._again(images, labels, part, state)
            for (rows, rate), state in zip(reversed(part), reversed(states), strict=True):
                self._load(state)
                direction = torch._foreach_sub(of_velocity, torch._foreach_mul(of_weights, rate))
                with torch.enable_grad():
                    curvature, slope, of_batch = self.gradients.of_both(
                        images[rows], labels[rows], direction
                    )
                of_images.index_add_(0, rows, of_batch)
                of_weights = torch._foreach_add(of_weights, curvature)
                of_velocity = torch._foreach_mul(direction, self.momentum)
                slopes.append(slope)
        return loss, of_images, torch.stack(slopes[::-1])

    def _again(self, images, labels, part, state):
        """Return the states before each step of a part that begins with state."""
        self._load(state)
        states = [state]
        for rows, rate in part[:-1]:
            self._descend(images[rows], labels[rows], rate)
            states.append(self._state())
        return states

    def _descend(self, images, labels, rate):
        """Take one step."""
        with torch.enable_grad():
            grads, _ = self.gradients.of_weights(images, labels, self.precision)
        torch._foreach_mul_(self.velocity, self.momentum)
        torch._foreach_add_(self.velocity, grads)
        torch._foreach_sub_(self.weights, torch._foreach_mul(self.velocity, rate))

    def _zeros(self):
        return [torch.zeros_like(weight) for weight in self.weights]

    def _state(self):
        """Return copies of the weights and of their velocities."""
        return [[tensor.clone() for tensor in part] for part in (self.weights, self.velocity)]

    def _load(self, state):
        """Make a state that of the network."""
        for own, tensors in zip((self.weights, self.velocity), state, strict=True):
            torch._foreach_copy_(own, tensors)
