"""What a run shows while it works: scalars and image grids for TensorBoard, in its folder.

pip install tensorboard
python main.py --tensorboard … ; tensorboard --logdir results
"""

from pathlib import Path

import numpy as np

from utils import UserError


def summary_writer() -> type:
    """Return the package's writer; raise UserError if it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError('--tensorboard needs its package: pip install tensorboard') from error
    return SummaryWriter


class TensorBoard:
    """Writes records of a run's log and its pictures as TensorBoard events, each set by its name.

    Raises UserError if the package is not installed.
    """

    def __init__(self, folder: Path):
        self.writer = summary_writer()(folder)

    def log(self, record: dict) -> None:
        """Write every number of a record of the log; of accuracies, the mean of each network."""
        step = record['iteration']
        for key, value in record.items():
            if isinstance(value, list):  # CAFE's losses by tap, DD's learning rates
                value = dict(enumerate(value))
            if isinstance(value, dict):
                for name, part in value.items():
                    mean = sum(part) / len(part) if isinstance(part, list) else part
                    self.writer.add_scalar(f'set{record["exp"]}/{key}/{name}', mean, step)
            elif key not in ('exp', 'iteration'):
                self.writer.add_scalar(f'set{record["exp"]}/{key}', value, step)

    def picture(self, grid: np.ndarray, exp: int, iteration: int) -> None:
        """Write a grid (H, W, 3) in [0, 1] of set number exp."""
        self.writer.add_image(f'set{exp}/images', grid, iteration, dataformats='HWC')

    def close(self) -> None:
        """Write what is still in memory."""
        self.writer.close()
