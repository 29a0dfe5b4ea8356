"""CUDA graphs: a function of tensors is recorded once for each set of shapes, then replayed.

This spares the launch of its kernels one by one.
"""

import functools
from itertools import zip_longest

import torch

DEVICES = ('cuda',)
WARM_UP = 3  # calls before recording, as libraries set themselves up in the first ones


@functools.cache
def streams(device: torch.device):
    """Return the streams of a GPU on which functions warm up and are recorded, always the same two.

    Libraries keep a workspace for every stream that they have seen. The workspace of a recorded
    graph must not be one that was made outside of it.
    """
    return torch.cuda.Stream(device), torch.cuda.Stream(device)


def capture(function, device: torch.device):
    """Record function() on a GPU; return its outputs, and the replay() that overwrites them."""
    with torch.cuda.device(device):
        warm_up, recording = streams(device)
        warm_up.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(warm_up):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(warm_up)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=recording):
            outputs = function()
    return outputs, graph.replay


def copy_all(targets, sources) -> None:
    """Copy sources into targets; what is no tensor is passed over. One launch a dtype."""
    pairs = [pair for pair in zip(targets, sources, strict=True) if torch.is_tensor(pair[0])]
    for dtype in {target.dtype for target, _ in pairs}:
        same = [pair for pair in pairs if pair[0].dtype == dtype]
        torch._foreach_copy_(*map(list, zip(*same, strict=True)))


class Replayed:
    """function(*args) -> list of tensors, recorded at the first call for each set of shapes.

    args: tensors, and plain values that are recorded with them. What else function reads must stay
    in the same memory, and networks in the same mode. changed() lists the tensors that it writes,
    new ones last: recording leaves them as they were, new ones 0.
    """

    def __init__(self, function, device: torch.device, changed=lambda: ()):
        self.function, self.device, self.changed, self.recorded = function, device, changed, {}

    def __call__(self, *args) -> list[torch.Tensor]:
        key = tuple((arg.shape, arg.dtype) if torch.is_tensor(arg) else arg for arg in args)
        if key not in self.recorded:
            self.recorded[key] = self._record(args)
        inputs, outputs, replay = self.recorded[key]
        copy_all(inputs, args)
        replay()
        results = [torch.empty_like(output) for output in outputs]
        copy_all(results, outputs)
        return results

    def _record(self, args):
        inputs = [arg.detach().clone() if torch.is_tensor(arg) else arg for arg in args]
        before = [tensor.detach().clone() for tensor in self.changed()]
        outputs, replay = capture(lambda: self.function(*inputs), self.device)
        with torch.no_grad():
            for tensor, old in zip_longest(self.changed(), before):
                tensor.zero_() if old is None else tensor.copy_(old)
        return inputs, outputs, replay


def replayed(function, compile: bool | str, device: torch.device, changed=lambda: ()):
    """Return function, replayed from CUDA graphs if compile is not False and device has them."""
    return Replayed(function, device, changed) if compile and device.type in DEVICES else function
