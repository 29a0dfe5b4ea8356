"""The page of main_report.py --html: the runs of a folder, their sets, curves and commands.

It is one file that needs nothing else. What cannot be drawn of a run is said in its place.
"""

import io
from pathlib import Path

from PIL import Image

from experiment.layouts import hard
from experiment.result import REAL, load_result
from figures.curves import FIGURES, LOGGED, group, iterations, read_records, with_logged
from figures.grid import draw_grid, panel
from figures.markup import Html, document, escaped, picture, table, tag
from figures.style import picture_of
from report.gaps import HEADER as GAPS
from report.gaps import gap_texts, gaps
from report.kept import shorts_of
from report.summary import Row, result_in
from utils import UserError, plural

IMAGES, CLASSES = 10, 20  # at most: images of a class, classes
# Of a picture of a set: 50 of them, and their curves, are below 5 MB.
MOST, QUALITIES = 35_000, (85, 70, 50, 30, 10)
WINDOW = 25  # iterations that a curve of the loss averages over
CURVES = {
    'loss': f'Matching loss over iterations, mean of {WINDOW}',
    'accuracy': 'Accuracy over minutes of condensing, ± std over networks',
}
HEADER = (
    'method', 'accuracy, %', 'data', 'ipc', 'iterations', 'start, %', *GAPS, 'sets x networks',
    'protocol', 'minutes', 'seed',
)  # fmt: skip
NOTE = (
    'Accuracies are ± the population standard deviation over networks. Start is that of the set '
    'before the first step. HLR is the accuracy of all real images minus that of the set. IOR is '
    'that of the set minus that of random images. An ipc of 1 x 2² means one stored image of 2 x 2 '
    'tiles.'
)
FAILURES = UserError, OSError


def page(
    folder: Path,
    rows: list[Row],
    found: list[Row],
    unfinished: list[str],
    broken: list[str],
    studies: dict[str, list[str]],
) -> str:
    """Return the page of a folder of runs.

    rows: of all runs, also of those whose folders are gone; found: of those that are there;
    unfinished, broken: a line a run, as report.summary.collect gives them; studies: {study: lines}.
    """
    anchors = {run: f'run-{n}' for n, run in enumerate(dict.fromkeys(row.run for row in rows), 1)}
    there = {row.run for row in found}
    parts = [tag('h1', f'Runs of {folder}'), tag('p', NOTE, class_='note')]
    parts += [overview(rows, anchors)] if rows else [tag('p', 'No run is finished yet.')]
    lists = {'Unfinished': unfinished, 'Cannot be read, left out': broken}
    parts += [named(title, lines) for title, lines in lists.items() if lines]
    places = {}
    for row in rows:
        of_place = places.setdefault((row['dataset'], row['ipc']), {})
        of_place.setdefault(row.run, []).append(row)
    for (dataset, ipc), runs in places.items():
        # All real images are of no ipc that sets have.
        is_full = all(row['method'] == 'full' for of_run in runs.values() for row in of_run)
        many = f'{plural(ipc, "image")} per class'
        parts.append(tag('h2', f'{dataset}, {"all real images" if is_full else many}'))
        parts.append(charts([folder / run for run in runs if run in there]))
        cards = (
            card(folder / run, of_run, rows, anchors[run], run in there)
            for run, of_run in runs.items()
        )
        parts.append(tag('div', *cards, class_='cards'))
    for name, (first, *rest) in studies.items():
        content = [tag('p', first)]  # a note
        if rest:  # a command and its table
            lines = tag('pre', Html('\n'.join(map(escaped, rest))), tabindex=0)
            content = [tag('p', tag('code', first), class_='command'), lines]
        parts.append(tag('section', tag('h2', f'Study {name}'), *content))
    return document(f'Runs of {folder}', *parts)


def overview(rows: list[Row], anchors: dict[str, str]) -> Html:
    """Return the table of all rows, each with a link to its run."""
    lines = []
    for row in rows:
        numbers = zip(gap_texts(row, rows), gaps(row, rows), strict=True)
        start = '–' if row.start is None else f'{row.start:.2f}'
        link = tag('a', name_of(row), href=f'#{anchors[row.run]}')
        steps = row['Iteration']
        lines.append((
            link,
            (row.accuracy, row.mean),
            row['dataset'],
            (row.stored, row['ipc'] * row['factor'] ** 2),
            ('–' if steps is None else steps, steps),
            (start, row.start),
            *numbers,
            f'{row.sets_x_networks} {row.network}',
            row.how,
            (f'{row.minutes:.1f}', row.minutes),
            (row['seed'], row['seed']),
        ))  # fmt: skip
    return table(HEADER, lines, class_='runs')


def name_of(row: Row) -> str:
    """Return what the page calls an experiment: its label, clusters, and other flags."""
    return ', '.join([row.label, *shorts_of(row)]) + (f' ({row.other})' if row.other else '')


def named(title: str, lines: list[str]) -> Html:
    """Return a list of runs that have no row, under a title."""
    return tag('section', tag('h2', title), tag('ul', *(tag('li', line) for line in lines)))


def charts(runs: list[Path]) -> Html:
    """Return the curves of runs of one data set and ipc, all in one chart a kind."""
    drawn = []
    for kind, caption in CURVES.items():
        logged = [run for run in runs if has_logged(run, kind)]
        if not logged:
            continue
        try:
            groups = group(logged, None)
            groups = with_logged(groups, kind) if kind in LOGGED else groups
            content = picture_of(FIGURES[kind](groups, WINDOW), caption, 'png', dpi=110)
            shown = picture(content, 'png', f'{caption}: {", ".join(groups)}')
        except FAILURES as error:
            shown = tag('p', f'Not drawn: {error}', class_='note')
        drawn.append(tag('figure', shown, tag('figcaption', caption)))
    return tag('div', *drawn, class_='charts')


def has_logged(run: Path, kind: str) -> bool:
    """Tell whether a run condensed a set, and logged what this chart shows."""
    try:
        args, sets = read_records(run)
    except FAILURES:
        return False
    if args.get('made_by') is not None:  # an evaluation: it has no curve of its own
        return False
    if kind == 'accuracy':
        return all(any('accs' in record for record in records) for records in sets.values())
    steps = [iterations(records) for records in sets.values()]
    whole = all(record.get('loss') is not None for records in steps for record in records)
    return whole and all(steps)


def card(run: Path, of_run: list[Row], rows: list[Row], anchor: str, there: bool) -> Html:
    """Return what the page shows of one run: its set, numbers, provenance and command."""
    row, facts = of_run[0], {}
    for one in of_run:
        facts[f'accuracy, {one.network}'] = f'{one.accuracy} %'
        known = zip(GAPS, gap_texts(one, rows), strict=True)
        facts |= {f'{name}, {one.network}': text for name, text in known if text != '–'}
    facts |= {
        'protocol': f'{row.how}; {row.sets_x_networks} (sets x networks)',
        'iterations': '–' if row['Iteration'] is None else row['Iteration'],
        'minutes': f'{row.condense_minutes:.1f} + {row.evaluate_minutes:.1f} to evaluate',
        'seed': row['seed'],
        'precision': row['precision'],
        'device': row.device,
        'commit': row.commit,
        'started': row.started.replace('T', ' '),
        'folder': row.run,
    }
    pairs = (part for name, text in facts.items() for part in (tag('dt', name), tag('dd', text)))
    shown = grid_of(run) if there else missing('The folder of this run is not here.')
    return tag(
        'article',
        tag('h3', f'{name_of(row)}, ipc {row.stored}'),
        tag('div', shown, tag('dl', *pairs), class_='run'),
        tag('p', tag('code', row.command), class_='command'),
        id=anchor,
    )


def packed(content: bytes) -> bytes:
    """Return a picture as WebP, of the best quality that makes it no larger than MOST bytes."""
    image = Image.open(io.BytesIO(content)).convert('RGB')
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, 'webp', quality=quality)
        if buffer.tell() <= MOST:
            break
    return buffer.getvalue()


def missing(why: str) -> Html:
    """Return what stands in place of a picture."""
    return tag('figure', tag('figcaption', why))


def grid_of(run: Path) -> Html:
    """Return the picture of a run's first set, or why there is none."""
    try:
        path = result_in(run)
        if not path:
            return missing('No picture: its result file is gone.')
        result = load_result(path)
        if result['args'].get('synset') == 'full':
            return missing(f'{REAL["full"].capitalize()}: no set to show.')
        images, labels = result['data'][0]
        labels = hard(labels)
        classes = labels.unique()
        chosen = (labels[:, None] == classes[:CLASSES]).any(1)
        shown, _, names = panel(
            path, result | {'data': [[images[chosen], labels[chosen]]]}, IMAGES, None
        )
        content = packed(picture_of(draw_grid([(shown, '', names)]), path.name, 'png', dpi=100))
    except FAILURES as error:
        return missing(f'No picture: {error}')
    caption = f'The first {len(names)} of {len(classes)} classes' if len(classes) > CLASSES else ''
    alt = f'Images of the first set, a row a class: {", ".join(names)}'
    return tag('figure', picture(content, 'webp', alt), tag('figcaption', caption))
