"""Whether a run is long enough to compile its passes.

Its flags, the kind of device and whether a compiler works decide, so that a resumed run decides the
same.
"""

import torch
from torch.utils.flop_counter import FlopCounterMode

from dataset.data import Data
from engine.gradients import compiled
from engine.graphs import DEVICES
from experiment.arguments import Arguments, num_images
from networks import network_for

# {on a GPU: floating-point operations}; below, compiling costs more than it saves
# (docs/benchmark.md).
WORTH_IT = {False: 3e13, True: 3e15}
# What a typed --compile means to the passes (engine/gradients.py).
MEANING = {'on': True, 'graphs': 'graphs', 'off': False}
ANSWERS = {True: 'yes', False: 'no', 'graphs': 'no, replayed from CUDA graphs'}


def forward_operations(model: str, data: Data) -> int:
    """Return the floating-point operations of `model` for one image forward (matrix units only)."""
    net = network_for(model, data)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(2, *data.shape))  # batch norm has no statistics of one image
    return counter.get_total_flops() // 2


def images_passed(args: Arguments, data: Data, pool: tuple[str, ...]) -> int:
    """Return about how many images pass the networks of a run, repetitions counted.

    A test image, which goes through the network forward only, counts as a third.
    """
    args = vars(args)
    iterations, outer = args.get('Iteration', 0), args.get('outer_loop', 1)
    ipc = num_images(args)
    matched = outer * (args.get('batch_real', 0) + 4 * ipc)
    # Without an outer loop the inner one is unrolled: there twice, and back.
    unrolled = 'inner_loop' in args and 'outer_loop' not in args
    trained = (6 if unrolled else outer - 1) * args.get('inner_loop', 0) * ipc
    times = 2 if 'num_nets' in args else outer - 1  # that IDM, IDC learn from real images
    trained += times * args.get('n_data', 0) // data.num_classes
    evaluations = (
        1 + (iterations - 1) // args['eval_every'] if args.get('eval_every') and iterations else 0
    )
    epochs = args['epoch_eval_train'] or 300
    evaluated = epochs * ipc * data.num_classes + len(data.labels_test) // 3
    evaluated *= (1 + evaluations) * args['num_eval'] * len(pool)
    return args['num_exp'] * (iterations * data.num_classes * (matched + trained) + evaluated)


def settle_compile(
    args: Arguments, data: Data, pool: tuple[str, ...], epochs_on_all: int = 0
) -> Arguments:
    """Return args with `compile` settled to True, False or 'graphs', and say which and why.

    epochs_on_all: epochs that a network is trained on the whole training set first. `auto` compiles
    from WORTH_IT operations on. On a GPU `auto` and `on` replay passes from CUDA graphs, too.
    """
    images = images_passed(args, data, pool) + epochs_on_all * len(data.labels_train)
    work = 3 * forward_operations(args.model, data) * images
    on_gpu = data.device.type in DEVICES
    uncompiled = 'graphs' if on_gpu else False
    why = f'{work:.1e} floating-point operations'
    if args.compile == 'auto':
        settled = True if work > WORTH_IT[on_gpu] else uncompiled
    else:
        settled = MEANING[args.compile]
    if settled == 'graphs' and not on_gpu:
        settled, why = False, 'a CPU has no CUDA graphs'
    if settled is True and not has_compiler(data.device):
        settled, why = uncompiled, 'no working compiler here'
    print(f'compile: {ANSWERS[settled]} ({why})')
    return args.replaced(compile=settled)


def has_compiler(device: torch.device) -> bool:
    """Tell whether the compiler works, by one line."""
    try:
        compiled(torch.sin)(torch.zeros(1, device=device))
    except Exception:  # whatever the tool chain of this machine raises
        return False
    return True
