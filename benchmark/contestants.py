"""The contestants of bench.py, on equal settings.

Each has match() (one step, all classes), inner_epoch(), evaluation_epoch() (of an evaluation
network) and test() (one pass over the test images).
"""

import copy
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dataset.data import Data
from dataset.readers import dsa_strategy
from engine.training import TrainStep, evaluation_optimizer, test_accuracy, train_epoch
from experiment.arguments import flags_of, parse_condensing
from methods import METHODS, SHELF, textbook
from methods.sampling import ClusterSampler, UniformSampler
from processes import ranks
from utils import Rng, UserError


class Ours:
    """The project's own functions."""

    def __init__(self, data: Data, method: str, ipc: int, precision: str, compile: bool | str):
        words = f'--method {method} --ipc {ipc} --outer_loop 1 --inner_loop 1 --init noise'.split()
        args = parse_condensing('', [*words, '--dataset', data.name], SHELF, draw='uniform')
        args = args.replaced(precision=precision, compile=compile)
        sampler = UniformSampler(data)
        # Clusters of the usual size; which images are in them is the same.
        if args.draw != 'uniform':
            parts = [index.tensor_split(20) for index in data.indices_class]
            clusters = [dict(enumerate(part.tolist() for part in of_class)) for of_class in parts]
            sampler = ClusterSampler(data, dict(enumerate(clusters)))
        self.data, self.precision, self.compile = data, precision, compile
        kind, rng = METHODS[args.method], Rng(data.device, 0, 'bench')
        self.method = kind(data, sampler, rng=rng, **flags_of(kind, args))
        self.optimizer = evaluation_optimizer(self.method.net, 0.01)
        self.evaluation_step = TrainStep(self.method.net, self.optimizer, precision, compile)

    def match(self):
        """Take one matching step, all classes."""
        self.method.match()

    def gather(self):
        """Bring together what ranks computed in a step: the gradient of the images."""
        ranks.add_up(torch.zeros_like(self.method.image_syn))

    def inner_epoch(self):
        """Train the network of the method for its inner loop."""
        self.method.train_network()

    def evaluation_epoch(self):
        """Train an evaluation network for one epoch on the synthetic images."""
        method = self.method
        augmentation = method.augmentation if method.augmentation.names else None
        train_epoch(
            self.evaluation_step, method.image_syn, method.label_syn, 256, method.rng, augmentation
        )

    def test(self):
        """Pass once over the test images."""
        test_accuracy(self.method.net, self.data, self.precision, self.compile)


class Textbook(Ours):
    """The papers' algorithm written plainly: methods/textbook.py."""

    def match(self):
        textbook.match(self.method)

    def inner_epoch(self):
        textbook.train_network(self.method)

    def evaluation_epoch(self):
        textbook.train_network(self.method, self.optimizer)

    @torch.no_grad()
    def test(self):
        self.method.net.eval()
        dataset = TensorDataset(self.data.normalise(self.data.pixels_test), self.data.labels_test)
        for images, labels in DataLoader(dataset, 256):
            (self.method.net(images).argmax(1) == labels).sum().item()
        self.method.net.train()


def reference_modules(folder: Path) -> ModuleType:
    """Import utils.py (and its networks.py) of the public reference implementation from folder."""
    if not (folder / 'utils.py').is_file() or not (folder / 'networks.py').is_file():
        raise UserError(
            f'{folder} holds no utils.py and networks.py of the public reference implementation'
        )
    import scipy.ndimage

    # Its import of 2019; today's SciPy has rotate one level up.
    sys.modules.setdefault('scipy.ndimage.interpolation', scipy.ndimage)
    own = {name: sys.modules.pop(name) for name in ('utils', 'networks') if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        code = importlib.import_module('utils')
        missing = [name for name in REFERENCE_NAMES if not hasattr(code, name)]
        if missing:
            raise ImportError(f'utils.py lacks {", ".join(missing)}')
        return code
    except Exception as error:  # whatever its imports raise here
        raise UserError(f'{folder} is not the public reference implementation ({error})') from error
    finally:
        sys.path.remove(str(folder))
        for name in ('utils', 'networks'):
            sys.modules.pop(name, None)
        sys.modules.update(own)


REFERENCE_NAMES = (
    'ParamDiffAug', 'get_network', 'match_loss', 'DiffAugment', 'TensorDataset', 'epoch',
)  # fmt: skip


class Reference:
    """The public reference implementation, called from outside with its own settings."""

    def __init__(self, data: Data, method: str, ipc: int, folder: Path):
        self.code, self.data, self.ipc, device = reference_modules(folder), data, ipc, data.device
        strategy = dsa_strategy(data.name) if method == 'DSA' else 'None'
        self.args = SimpleNamespace(
            device=device, dis_metric='ours', batch_train=256, dsa=method == 'DSA',
            dsa_strategy=strategy, dsa_param=self.code.ParamDiffAug(), dc_aug_param=None,
        )  # fmt: skip
        self.net = self.code.get_network(
            'ConvNet', data.shape[0], data.num_classes, data.shape[1:]
        ).to(device)
        self.criterion = nn.CrossEntropyLoss().to(device)
        self.images = data.normalise(data.pixels_train).contiguous()
        self.image_syn = torch.randn(
            data.num_classes * ipc, *data.shape, device=device, requires_grad=True
        )
        self.label_syn = torch.arange(data.num_classes, device=device).repeat_interleave(ipc)
        self.optimizer_img = torch.optim.SGD([self.image_syn], 0.1, momentum=0.5)
        self.optimizer_net = torch.optim.SGD(self.net.parameters(), 0.01)
        self.optimizer = evaluation_optimizer(self.net, 0.01)
        test = TensorDataset(data.normalise(data.pixels_test).contiguous(), data.labels_test)
        self.testloader = DataLoader(test, 256, shuffle=False, num_workers=0)

    def match(self):
        """Take one matching step, all classes."""
        loss = torch.tensor(0.0, device=self.data.device)
        params = list(self.net.parameters())
        for c, members in enumerate(self.data.indices_class):
            real = self.images[members[torch.randperm(len(members), device=members.device)[:256]]]
            syn = self.image_syn[c * self.ipc : (c + 1) * self.ipc]
            if self.args.dsa:
                real, syn = self._augment(real, c), self._augment(syn, c)
            label_real, label_syn = (
                torch.full((len(batch),), c, device=self.data.device) for batch in (real, syn)
            )
            grads_real = torch.autograd.grad(self.criterion(self.net(real), label_real), params)
            grads_real = [grad.detach().clone() for grad in grads_real]
            loss_syn = self.criterion(self.net(syn), label_syn)
            grads_syn = torch.autograd.grad(loss_syn, params, create_graph=True)
            loss = loss + self.code.match_loss(grads_syn, grads_real, self.args)
        self.optimizer_img.zero_grad()
        loss.backward()
        self.optimizer_img.step()
        loss.item()

    def _augment(self, batch, c):
        # Its way to share parameters, a[:] = a[0], torch no longer allows for one image, which
        # needs none.
        seed = c if len(batch) > 1 else -1
        return self.code.DiffAugment(
            batch, self.args.dsa_strategy, seed=seed, param=self.args.dsa_param
        )

    def _epoch(self, optimizer):
        images, labels = copy.deepcopy(self.image_syn.detach()), copy.deepcopy(self.label_syn)
        loader = DataLoader(
            self.code.TensorDataset(images, labels), 256, shuffle=True, num_workers=0
        )
        self.code.epoch(
            'train', loader, self.net, optimizer, self.criterion, self.args, aug=self.args.dsa
        )

    def inner_epoch(self):
        """Train the network for one epoch on the synthetic images."""
        self._epoch(self.optimizer_net)

    def evaluation_epoch(self):
        """Train an evaluation network for one epoch on the synthetic images."""
        self._epoch(self.optimizer)

    def test(self):
        """Pass once over the test images."""
        self.code.epoch(
            'test', self.testloader, self.net, None, self.criterion, self.args, aug=False
        )
        self.net.train()
