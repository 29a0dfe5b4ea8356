"""What a run shows while it goes on: scalars and image grids for TensorBoard, in the run's folder.

pip install tensorboard
python main.py --tensorboard … ; tensorboard --logdir results
"""

from pathlib import Path

import torch

from errors import UserError


class Live:
    """Writes the records of a run's log and its pictures as TensorBoard events, each set under its own name.

    Raises UserError if the package is not installed.
    """

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError('--tensorboard needs its package: pip install tensorboard') from error
        self.writer = SummaryWriter(folder)

    def log(self, record: dict) -> None:
        """Write every number of a record of the log; of accuracies, the mean of each network."""
        step = record['iteration']
        for key, value in record.items():
            if isinstance(value, dict):
                for name, part in value.items():
                    mean = sum(part) / len(part) if isinstance(part, list) else part
                    self.writer.add_scalar(f'set{record["exp"]}/{key}/{name}', mean, step)
            elif key not in ('exp', 'iteration'):
                self.writer.add_scalar(f'set{record["exp"]}/{key}', value, step)

    def picture(self, grid: torch.Tensor, record: dict) -> None:
        """Write a grid (C, H, W) in [0, 1] of the set and iteration that record holds."""
        self.writer.add_image(f'set{record["exp"]}/images', grid, record['iteration'])

    def close(self) -> None:
        self.writer.close()
