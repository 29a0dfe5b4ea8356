"""Representative images: of each K-Means cluster of a class the one nearest to its centre (DREAM).

Liu et al., ICCV 2023, arXiv 2302.14416. Features are those of the network that is matched, as it is
at the time, so batches are drawn again at every tenth step of a network. There are as many clusters
as images.

    python main.py --method DC --draw representative --batch_real 64
"""

import torch

from dataset.data import Data
from dataset.parts import say_small
from engine.gradients import embed, largest_chunk
from features.kmeans import check_packages, nearest_to_centres
from processes import ranks
from utils import Rng

EVERY = 10  # steps of a network that a batch is kept for


def candidates(num: int) -> int:
    """Return how many images of a class are clustered for num images: more would take too long."""
    return max(1000, 8 * num)


@torch.no_grad()
def features_of(net, data: Data, index: torch.Tensor, precision: str) -> torch.Tensor:
    """Return the penultimate features (N, D) by net of training images, on the CPU."""
    chunk = largest_chunk(net, data.shape[1] * data.shape[2])
    parts = [embed(net, data.images(part), precision) for part in index.split(chunk)]
    return torch.cat(parts).cpu()


def representatives(
    net, data: Data, c: int, num: int, rng: Rng, precision: str, own: bool = True
) -> torch.Tensor | None:
    """Return num positions of images of class c: the nearest to the centres of as many clusters.

    own: False only takes from rng what is needed, and returns None. Raises FloatingPointError for a
    network that has diverged.
    """
    members = data.indices_class[c]
    order = torch.randperm(len(members), generator=rng.generator, device=members.device)
    seed = int(torch.randint(2**31, (), generator=rng.host_generator))
    if not own:
        return None
    index = members[order[: candidates(num)]]
    features = features_of(net, data, index, precision)
    if not features.isfinite().all():
        raise FloatingPointError('features that are not finite')
    return index[nearest_to_centres(features, num, seed, n_init=1).to(index.device)]


class RepresentativeSampler:
    """A sampler (methods/sampling.py) that looks at the network, so it keeps a state.

    num: images of a batch; a smaller class gives all that it has, and a line says so. Raises
    UserError without scikit-learn.
    """

    def __init__(self, data: Data, num: int):
        check_packages(balanced=False)
        say_small(data, num, 'gives all that it has to a step')
        # Every image needs a cluster.
        self.data, self.sizes = data, [min(num, len(own)) for own in data.indices_class]
        shape = data.num_classes, max(self.sizes)
        self.batches = torch.zeros(shape, dtype=torch.int64, device=data.device)

    def look(self, net, step: int, rng: Rng, precision: str) -> None:
        """Draw batches by the features of net, if they are due at this step of it, from 0."""
        if step % EVERY:
            return
        self.batches.zero_()
        # Classes are shared among ranks; all take the same random numbers.
        for c, num in enumerate(self.sizes):
            chosen = representatives(net, self.data, c, num, rng, precision, own=ranks.owns(c))
            if chosen is not None:
                self.batches[c, :num] = chosen
        ranks.add_up(self.batches)

    def draw(self, c: int, num: int, rng: Rng, iteration: int = 0) -> torch.Tensor:
        """Return the positions of the images of class c that were drawn last."""
        return self.batches[c, : self.sizes[c]]


def look(sampler, net, step: int, rng: Rng, precision: str) -> None:
    """Show the network to a sampler that follows it."""
    if isinstance(sampler, RepresentativeSampler):
        sampler.look(net, step, rng, precision)


def state_of(sampler) -> dict:
    """Return what a checkpoint needs of a sampler: nothing, unless it follows the network."""
    return {'batches': sampler.batches} if isinstance(sampler, RepresentativeSampler) else {}


def load_state(sampler, state: dict) -> None:
    """Let a sampler go on from a state that holds what state_of() gave."""
    if isinstance(sampler, RepresentativeSampler):
        sampler.batches.copy_(state['batches'])
