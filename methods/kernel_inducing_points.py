"""KIP, kernel inducing points: learn images from which kernel regression predicts real ones.

Nguyen, Chen & Lee, ICLR 2021, arXiv 2011.00050. The kernel is the NTK of an infinitely wide network
with one hidden layer, so no network is trained (methods/kernel.py).

    python main.py --method KIP --dataset CIFAR10 --ipc 10
    loss = ½ mean (K(real, images) (K(images, images) + ridge)⁻¹ y_images − y_real)²
"""

import torch
import torch.nn.functional as F

from dataset.data import Data
from dataset.parts import say
from engine.device import read_back
from engine.training import load_optimizer, share_right
from experiment.arguments import Arguments
from methods.initial import initial_images, initial_labels
from methods.kernel import ntk, regression
from processes import ranks
from utils import Rng, UserError, plural

CHUNK = 1000  # real images that meet the kernel at once
PROBE_EVERY = 20  # steps after which the accuracy on test images is logged


def centred(labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return the targets (N, K) of classes (N,): 1 for the own one, less the mean 1 / K."""
    return F.one_hot(labels, num_classes).double() - 1 / num_classes


class KernelInducingPoints:
    """KIP. sampler: see methods/sampling.py; ipc, … : the flags of the same names.

    learn_labels: the targets of the images are learned, too. Networks are then trained on the class
    with the largest target. Every class gives as many images to a step as the smallest one
    has, at most batch_real. Raises UserError when the kernel matrix of the first images cannot be
    solved.
    """

    DEFAULTS = {'Iteration': 300, 'lr_img': 0.04, 'batch_real': 500, 'init': 'real'}

    def __init__(
        self, data: Data, sampler, *, ipc: int, lr_img: float, batch_real: int, init: str,
        learn_labels: bool, ridge: float, rng: Rng,
    ):  # fmt: skip
        self.data, self.sampler, self.rng = data, sampler, rng
        # As many of each class: the targets of a step are balanced, whatever the data are.
        self.batch_real = min(batch_real, *map(len, data.indices_class))
        self.ridge, self.learn_labels = ridge, learn_labels
        self.image_syn = initial_images(data, ipc, init, rng)
        self.target_syn = centred(initial_labels(data, ipc), data.num_classes)
        learned = [self.image_syn, self.target_syn] if learn_labels else [self.image_syn]
        self.optimizer = torch.optim.Adam(learned, lr_img)
        self.iteration = 0
        regression(self.image_syn, self.target_syn, ridge)

    @staticmethod
    def check(data: Data, args: Arguments) -> None:
        """Raise UserError if a class has fewer images than were asked for; the default follows."""
        smallest = min(map(len, data.indices_class))
        if args.batch_real <= smallest:
            return
        of_smallest = f'the smallest class of {data.name} has ({plural(smallest, "image")})'
        if 'batch_real' in args.changed:
            raise UserError(
                f'--batch_real {args.batch_real} is more than {of_smallest}; '
                f'use --batch_real {smallest}, or leave it out'
            )
        say(
            data.name,
            f'{args.batch_real} real images of a class are more than {of_smallest}: '
            f'a step sees {smallest}',
        )

    @property
    def synset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised images (K * I, C, H, W), and the class (K * I,) of each."""
        return self.image_syn.detach(), self.target_syn.argmax(1)

    @property
    def stored(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the images, and the targets (K * I, K) of the regression."""
        return self.image_syn.detach(), self.target_syn.detach()

    @staticmethod
    def kernel_accuracy(
        data: Data, args: Arguments, images: torch.Tensor, labels: torch.Tensor
    ) -> float:
        """Return the share of test images that the regression of a set classifies correctly.

        labels: classes (N,), or targets (N, K).
        """
        targets = centred(labels, data.num_classes) if labels.ndim == 1 else labels.double()
        images, targets = images.to(data.device), targets.to(data.device)
        return kernel_test_accuracy(data, images, regression(images, targets, args.ridge))

    def step(self, pause=lambda: False) -> dict:
        """Do one iteration: a step of Adam on the error of the regression for fresh real images.

        Return what to log: `loss`, of the images before the step, `batch_real`, and after every
        PROBE_EVERY-th step `kernel_accuracy`, of the regression on the test images. Raises
        FloatingPointError if loss or images are not finite, UserError for a matrix that cannot be
        solved.
        """
        classes = range(self.data.num_classes)
        index = torch.cat(
            [self.sampler.draw(c, self.batch_real, self.rng, self.iteration) for c in classes]
        )
        loss, self.image_syn.grad, grad = self.differentiate(index)
        if self.learn_labels:
            self.target_syn.grad = grad
            ranks.copy_first(grad)
        ranks.copy_first(loss, self.image_syn.grad)
        self.optimizer.step()
        self.iteration += 1
        (loss,) = read_back(loss[None], self.image_syn, self.target_syn)
        log = {'loss': loss, 'batch_real': len(index) / len(classes)}
        if self.iteration % PROBE_EVERY == 0:
            coefficients = regression(self.image_syn, self.target_syn, self.ridge)
            log['kernel_accuracy'] = kernel_test_accuracy(self.data, self.image_syn, coefficients)
        return log

    def differentiate(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss of the real images at index, and its gradients for images and targets."""
        images = self.image_syn.detach().requires_grad_()
        targets = self.target_syn.detach().requires_grad_()
        solution = regression(images, targets, self.ridge)
        # The coefficients are held while real images pass in chunks: memory does not grow.
        coefficients = solution.detach().requires_grad_()
        num = len(index) * self.data.num_classes
        loss, sums = 0.0, [torch.zeros_like(images), torch.zeros_like(coefficients)]
        for part in index.split(CHUNK):
            wanted = centred(self.data.labels_train[part], self.data.num_classes)
            error = ntk(self.data.images(part), images) @ coefficients - wanted
            value = error.square().sum() / (2 * num)
            loss += value.detach()
            sums = torch._foreach_add(sums, torch.autograd.grad(value, [images, coefficients]))
        # Then the way from the coefficients back to what they were solved from.
        grad, grad_targets = torch.autograd.grad(solution, [images, targets], sums[1])
        return loss, sums[0] + grad, grad_targets

    def state_dict(self) -> dict:
        """Return all that a later process needs to continue exactly here."""
        return {
            'image_syn': self.image_syn,
            'target_syn': self.target_syn,
            'optimizer': self.optimizer.state_dict(),
            'rng': self.rng.state_dict(),
            'iteration': self.iteration,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue from state_dict() of an instance with the same arguments."""
        self.image_syn.copy_(state['image_syn'])
        self.target_syn.copy_(state['target_syn'])
        load_optimizer(self.optimizer, state['optimizer'])
        self.rng.load_state_dict(state['rng'])
        self.iteration = state['iteration']


def kernel_test_accuracy(data: Data, images: torch.Tensor, coefficients: torch.Tensor) -> float:
    """Return the share of test images whose largest prediction is that of their class."""
    return share_right(data, lambda seen: (ntk(seen, images) @ coefficients).argmax(1), CHUNK)
