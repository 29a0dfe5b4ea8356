"""HLR and IOR of a row: how far a set is from all real images, and from random ones.

Both are of DD-Ranking (Li et al., 2025): HLR (hard label recovery) is the accuracy of all real
images minus that of the set, IOR (improvement over random) that of the set minus that of random
real images of the same ipc. Both are in points of accuracy.
"""

from report.pooling import matching, pooled
from report.summary import Row

# Flags without a column that decide how a network is trained and tested, whatever made the set.
JUDGED = 'im_size', 'lr_net', 'batch_train', 'dsa_strategy'
HEADER = 'HLR', 'IOR'


def judged(row: Row) -> dict:
    """Return what two rows must share to be compared: data, network, protocol and its settings."""
    other = dict(part.partition('=')[::2] for part in row.other.split())
    same = {key: row[key] for key in ('dataset', 'network', 'protocol')}
    return same | {key: other.get(key) for key in JUDGED}


def gaps(row: Row, rows: list[Row]) -> tuple[float | None, float | None]:
    """Return HLR and IOR of a row, None where rows have nothing to compare it with.

    Random images are of the same ipc, in images that are stored, and were trained on for as many
    epochs. All real images have epochs of their own. Several rows count as in every table:
    report/pooling.py. Real images themselves have no gap of their own kind.
    """
    alike = [other for other in rows if other['method'] in ('full', 'random')]
    alike = [other for other in alike if judged(other) == judged(row)]
    full = matching(alike, {'method': 'full'})
    random = {'method': 'random', 'ipc': row['ipc'], 'factor': 1, 'epochs': row.epochs}
    base = matching(alike, random)
    is_full, is_random = row['method'] == 'full', row['method'] == 'random'
    hlr = pooled(full)[0] - row.mean if full and not is_full else None
    ior = row.mean - pooled(base)[0] if base and not (is_full or is_random) else None
    return hlr, ior


def gap_texts(row: Row, rows: list[Row]) -> tuple[str, str]:
    """Return HLR and IOR of a row as they stand in tables, a dash for what is not known."""
    return tuple('–' if gap is None else f'{gap:.2f}' for gap in gaps(row, rows))
