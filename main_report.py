"""Print a table of the finished runs below a folder: accuracy, protocol, sets x networks, minutes.

python main_report.py --save_path results
"""

import argparse
import json
from pathlib import Path

import numpy as np

from errors import UserError
from evaluation.judge import protocol
from flags import Parser
from storage import label_of, load_result
from utils import script


def rows_of(folder: Path) -> list[tuple]:
    """Return a row per network that judged the finished run in folder, [] if it is not finished."""
    results = sorted(folder.glob('res_*.pt'))
    if not results:
        return []
    result = load_result(results[0])
    args = result['args']
    records = [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]
    minutes = sum(record.get('seconds', 0) + record.get('judge_seconds', 0) for record in records) / 60
    rows = []
    for model, values in result['accs_all_exps'].items():
        how = protocol(model, Path(args['dataset']).stem, args['dsa_strategy'], args['epoch_eval_train'])
        accuracy = f'{100 * np.mean(values):.2f} ± {100 * np.std(values):.2f}'
        networks = f'{len(result["data"])} x {len(values) // len(result["data"])} {model}'
        iterations = str(args.get('Iteration', '-'))
        epochs = f'{how["protocol"]}, {how["epochs"]} epochs'
        cells = (label_of(args), iterations, accuracy, networks, epochs, f'{minutes:.1f}', folder.name)
        rows.append((Path(args['dataset']).stem, str(args['ipc']), *cells))
    return rows


HEADER = (
    'data',
    'ipc',
    'method',
    'iterations',
    'accuracy %',
    'sets x networks',
    'protocol',
    'minutes',
    'run',
)


@script
def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--save_path', default='results', help='folder of the runs (default: %(default)s)')
    args = parser.parse_args(argv)
    folder = Path(args.save_path)
    if not folder.is_dir():
        raise UserError(f'{folder}: no such folder; pass the --save_path of the runs')
    rows = [row for path in sorted(folder.iterdir()) if path.is_dir() for row in rows_of(path)]
    if not rows:
        raise UserError(f'{folder} holds no finished run')
    rows = [HEADER, *sorted(rows, key=lambda row: (row[0], int(row[1]), row[2]))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == '__main__':
    main()
