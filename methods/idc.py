"""IDC and DREAM: gradient matching in tiles, over networks that learn from real images.

IDC (Kim et al., ICML 2022, arXiv 2205.14959) stores four images in the pixels of one. DREAM (Liu et
al., ICCV 2023, arXiv 2302.14416) is IDC on representative batches: methods/representative.py.

    python main.py --method IDC --dataset CIFAR10 --ipc 1     # published 50.6 ± 0.4 %, by a GPU
    python main.py --method DREAM --dataset CIFAR10 --ipc 1   # published 51.1 ± 0.3 %, by a GPU
    python main.py --method IDC --factor 1                    # IDC-I: without tiles

Between matching steps the network trains on real images (engine/training.py, CutMix). All pixels
are in [0, 1] when an iteration begins. How sets are evaluated: --protocol idc.
"""

import torch

from dataset.composed import Composed
from dataset.data import Data
from engine.trial import check_network, last_batch
from experiment.arguments import Arguments
from methods.gradient_matching import GradientMatching
from methods.inner_loop import RealTraining, images_in_batches
from methods.presets import usual_init
from processes import ranks
from utils import Rng, UserError

OPERATIONS = 'color_crop_cutout'  # all of them, the same for the real and the synthetic batch
GREY = 'MNIST', 'FashionMNIST'  # for which the authors take another distance, and its step size


def usual_distance(flags: dict) -> str:
    """conv_mse, with MNIST and FashionMNIST conv_l1"""
    return 'conv_l1' if flags['dataset'] in GREY else 'conv_mse'


def usual_lr_img(flags: dict) -> float:
    """0.0005 x images per class, with conv_l1 0.00001 x"""
    metric = flags['dis_metric']
    metric = metric(flags) if callable(metric) else metric
    return (1e-5 if metric == 'conv_l1' else 5e-4) * flags['ipc']


def usual_n_data(flags: dict) -> int:
    """500, with CIFAR10 and CIFAR100 2000"""
    return 2000 if flags['dataset'] in ('CIFAR10', 'CIFAR100') else 500


class IDC(GradientMatching):
    """IDC: its stored images are pixels in [0, 1], so learning rates are those of pixels.

    outer_loop: matching steps of a network; n_data: real images that it learns from after each, in
    whole batches of batch_train. Others as in GradientMatching. Raises UserError for whitened data.
    """

    DEFAULTS = {
        'Iteration': 2000,
        'outer_loop': 100,
        'n_data': usual_n_data,
        'lr_img': usual_lr_img,
        'dis_metric': usual_distance,
        'batch_real': 64,
        'batch_train': 64,
        'factor': 2,
        'init': usual_init,
        'protocol': 'idc',
    }
    AUTO = {}
    TRAINED = 'inner_images'

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, outer_loop: int, n_data: int,
        lr_img: float, lr_net: float, batch_real: int, batch_train: int, init: str, factor: int,
        dis_metric: str, precision: str, compile: bool | str, rng: Rng,
    ):  # fmt: skip
        if data.whitening:
            raise UserError('--zca: IDC keeps pixels in [0, 1], whitened images have none; leave '
                            'it out')  # fmt: skip
        super().__init__(
            data, sampler, model=model, ipc=ipc, Iteration=0, outer_loop=outer_loop, inner_loop=0,
            schedule='constant', lr_img=lr_img, lr_net=lr_net, momentum_net=0.0,
            batch_real=batch_real, batch_train=batch_train, init=init, factor=factor,
            dis_metric=dis_metric, reduce='none', mask_quantile=None, level='intra',
            precision=precision, compile=compile, rng=rng,
        )  # fmt: skip
        self.augmentation = Composed(OPERATIONS, data.shape, rng)
        self.inner_loop = RealTraining(
            data, self.net, rng, n_data=n_data, lr_net=lr_net, batch_train=batch_train,
            precision=precision, compile=compile,
        )  # fmt: skip
        self.image_syn.mul_(data.std).add_(data.mean).clamp_(0, 1)

    @staticmethod
    def check(data: Data, args: Arguments) -> None:
        """Raise UserError if the network cannot see a batch of real images that will occur."""
        num = images_in_batches(args.n_data, args.batch_train, data)
        smallest = last_batch(num, args.batch_train)
        check_network(args.model, data, smallest, f'--method {args.method}')

    @staticmethod
    def total_matters(args: Arguments) -> None:
        """Return None: an iteration does not depend on how many there will be."""

    @property
    def stored(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the images are decoded from (K * I, C, H, W), normalised, and labels."""
        return self._normalised(self.image_syn.detach().clamp(0, 1)), self.label_syn

    @property
    def synset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised images (K * I f², C, H, W), class after class, and labels."""
        return self.decoded(self.image_syn.detach().clamp(0, 1), self.label_syn)

    def decoded(self, image_syn, labels):
        """Return what networks see of pixels (N, C, H, W), normalised, and the labels of it."""
        return super().decoded(self._normalised(image_syn), labels)

    def _normalised(self, pixels):
        return (pixels - self.data.mean) / self.data.std

    def step(self, pause=lambda: False) -> dict | None:
        """Do one iteration as GradientMatching does; `inner_images` is of the network's training.

        Pixels are clamped to [0, 1] before it, and may leave it on the way.
        """
        if self.outer == 0:
            self.image_syn.clamp_(0, 1)
        return super().step(pause)

    def match(self):
        """Take one step on the images for each class in turn."""
        self.prepare()
        self.image_syn.grad = torch.zeros_like(self.image_syn)
        for c in range(self.data.num_classes):
            self.match_alone(c)
            # One tensor, as in the paper's code: momentum moves the other classes meanwhile.
            self.optimizer_img.step()
            self.image_syn.grad.zero_()
        # So far every rank is right about the images of its own classes alone.
        self._bring_together()
        self.log.end_step()

    def _bring_together(self):
        """Give every rank the images and the momentum of all classes, from those that own them."""
        if ranks.size() == 1:
            return
        momentum = self.optimizer_img.state[self.image_syn]['momentum_buffer']
        for tensor in (self.image_syn, momentum):
            for c, rows in enumerate(tensor.chunk(self.data.num_classes)):
                if not ranks.owns(c):
                    rows.zero_()
            ranks.add_up(tensor)

    def train_network(self):
        """Train the network on real images."""
        self.inner_epochs += self.inner_loop.train()


class DREAM(IDC):
    """DREAM: IDC on representative batches, twice as large, and from representative images."""

    DEFAULTS = IDC.DEFAULTS | {
        'draw': 'representative',
        'batch_real': 128,
        'init': 'representative',
    }
