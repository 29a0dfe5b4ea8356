"""From flags to data on a device: the first that a script does with its arguments."""

from dataset.data import Data, load_dataset
from engine.device import set_up_device
from experiment.arguments import Arguments


def load_data(args: Arguments) -> Data:
    """Set up the device and load the data set that the flags name.

    Raises UserError for a device that is not there, and for data that cannot be used.
    """
    device = set_up_device(args.device, args.precision)
    return load_dataset(
        args.dataset, args.data_path, args.im_size, device, args.resize, args.zca,
        data_device=args.data_device,
    )  # fmt: skip
