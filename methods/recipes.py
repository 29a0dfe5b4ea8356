"""Recipes: settings that belong together. --recipe fills in the flags that are not typed.

fast  past the published accuracy of DC in a minute (docs/time_to_accuracy.md): four images in the
      pixels of one, from K-Means centres; chosen on seed 0
      at 10 images per class: without tiles, from representative images, short inner loops
      IDC: a few points more in two minutes, by networks that see few real images
      CAFE: the same by features of networks that never learn
      IDM: 10 images per class without tiles
      BPTT: without tiles, through the first steps of the training that evaluates
tiles the same for longer; at 10 images per class (CAFE, DM) from representative images
dcc   all classes at once after a warm-up (DCC, Lee et al., ICML 2022, arXiv 2202.02916)
mda   both levels, magnitudes, ever fewer epochs (Jiang et al., arXiv 2208.00311, Ours-MDA)
"""

from methods.idc import usual_lr_img

EVERY_IPC = None


def rate_of_few_steps(flags: dict) -> float:
    """ten times the usual one"""
    return 10 * usual_lr_img(flags)


_CONTRAST = {'level': 'contrast', 'init': 'real'}
_LOOPS = {1: (10, 5), 10: (10, 50), 50: (50, 10)}
DCC = {
    ipc: _CONTRAST | {'outer_loop': outer, 'inner_loop': inner}
    for ipc, (outer, inner) in _LOOPS.items()
}
MDA = {
    EVERY_IPC: {
        'level': 'both',
        'dis_metric': 'angle_magnitude',
        'schedule': 'adaptive',
        'momentum_net': 0.5,
    }
}
# All classes at once, on small batches; compiling would cost a minute.
_TILES = {
    'level': 'inter',
    'batch_real': 16,
    'init': 'centres',
    'factor': 2,
    'compile': 'off',
}
# At ipc 10 networks have to learn between steps. Three epochs with momentum do so in a third of the
# time of fifty without, and the images become better.
_LEARN = {
    'level': 'inter',
    'batch_real': 32,
    'init': 'representative',
    'inner_loop': 3,
    'momentum_net': 0.9,
}
FAST = {1: _TILES | {'Iteration': 40}, 10: _LEARN | {'Iteration': 40}}
TILES = {1: _TILES | {'Iteration': 160}}
# Of real images 16 a class and step, published 64; a network learns from 128 a step, not 2000.
_FEW_REAL = {
    'outer_loop': 10,
    'n_data': 128,
    'batch_real': 16,
    'lr_img': rate_of_few_steps,
    'init': 'centres',
    'compile': 'off',
}
IDC_FAST = {1: _FEW_REAL | {'Iteration': 7}}
IDC_TILES = {1: _FEW_REAL | {'Iteration': 40}}
# Every network is left after one step, as in DM. The mean of several images comes closer to the
# mean of a class than one image can.
_UNTRAINED = {
    'outer_loop': 1,
    'inner_loop': 0,
    'batch_real': 32,
    'lr_img': 0.3,
    'init': 'centres',
    'factor': 2,
    'compile': 'off',
}
CAFE_FAST = {1: _UNTRAINED | {'Iteration': 400}}
CAFE_TILES = {
    1: _UNTRAINED | {'Iteration': 1000},
    10: _UNTRAINED | {'init': 'representative', 'lr_img': 2.0, 'Iteration': 400},
}
# At ipc 10 gradient matching needs networks that learn; distribution matching does not.
_REAL = {'init': 'representative', 'batch_real': 32, 'compile': 'off'}
DM_TILES = {10: _REAL | {'factor': 2, 'Iteration': 300}}

# A queue of few and young networks, which learn from one small batch of real images a step.
_YOUNG = {
    'num_nets': 4,
    'net_every': 100,
    'n_data': 64,
    'ce_weight': 0.3,
    'factor': 1,
}
IDM_FAST = {10: _REAL | _YOUNG | {'Iteration': 500}}

# A network has learned ten class means after five steps. Compiling would cost a minute.
_FIRST_STEPS = {'inner_loop': 6, 'batch_real': 16, 'compile': 'off'}
BPTT_FAST = {1: _FIRST_STEPS | {'Iteration': 100}}

# {recipe: {method: {images per class: {flag: value}}}}
RECIPES = {
    'fast': {'DC': FAST, 'IDC': IDC_FAST, 'IDM': IDM_FAST, 'CAFE': CAFE_FAST, 'BPTT': BPTT_FAST},
    'tiles': {'DC': TILES, 'DM': DM_TILES, 'IDC': IDC_TILES, 'CAFE': CAFE_TILES},
    'dcc': {'DC': DCC, 'DSA': DCC},
    'mda': {'DC': MDA, 'DSA': MDA},
}
