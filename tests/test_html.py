"""The page of runs: whole, alone, escaped, and never broken by a run."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

import main_report
from figures.markup import VOID, Html, document, tag
from figures.page import page
from report.summary import collect
from report.summary_file import write_summary
from tests.test_hostile_reports import RESULT, STEP, fails, logged, save, write_run
from tests.test_report import row_of

NASTY = '<script>alert(1)</script>"\'&<img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """What a page holds; a tag that is not closed, or closed twice, is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], ''
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.tags.append((name, dict(attributes)))
        self.open += [name] if name not in VOID else []

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, text):
        self.text += text if self.open[-1:] not in (['script'], ['style']) else ''

    def all(self, name, key):
        """Return the values of an attribute of all tags of a name."""
        return [own[key] for tag, own in self.tags if tag == name and key in own]


def written(folder, tmp_path, *flags):
    """Return the page that the script writes of a folder."""
    out = tmp_path / 'page.html'
    main_report.main(['--results', str(folder), '--html', str(out), *flags])
    return Page(out.read_text())


def pictures(shown):
    """Return the pictures of a page, decoded."""
    sources = [source.partition(';base64,') for source in shown.all('img', 'src')]
    assert all(kind in ('data:image/png', 'data:image/webp') for kind, _, _ in sources)
    return [Image.open(io.BytesIO(base64.b64decode(content))) for _, _, content in sources]


def test_the_page_shows_a_run_and_leaves_its_folder_alone(tmp_path):
    write_run(tmp_path / 'runs' / 'one')
    shown = written(tmp_path / 'runs', tmp_path)
    for text in ('50.00 ± 25.00', '1 x 2 MLP', 'python main.py --ipc 1', 'abcdef1', 'fp32',
                 '2026-01-01 00:00:00', 'a CPU', 'Digits, 1 image per class'):  # fmt: skip
        assert text in shown.text
    assert [image.format for image in pictures(shown)] == ['PNG', 'PNG', 'WEBP']
    assert all(image.size[0] > 100 for image in pictures(shown))
    assert sorted(path.name for path in (tmp_path / 'runs').iterdir()) == ['one']
    # With the tables of the study it is a report, which keeps what it read.
    written(tmp_path / 'runs', tmp_path, '--out', str(tmp_path / 'page.md'))
    assert (tmp_path / 'runs' / 'summary.csv').exists()


def test_the_page_needs_nothing_else_and_every_link_has_its_end(tmp_path):
    for name in ('one', 'two'):
        write_run(tmp_path / 'runs' / name)
    shown = written(tmp_path / 'runs', tmp_path)
    ids = [own['id'] for _, own in shown.tags if 'id' in own]
    assert len(ids) == len(set(ids)) == 2
    assert {*shown.all('a', 'href')} == {f'#{name}' for name in ids}
    assert not shown.all('script', 'src') and not [t for t, _ in shown.tags if t == 'link']
    text = (tmp_path / 'page.html').read_text()
    assert 'http' not in re.sub(r'http-equiv', '', text) and '@import' not in text
    policy = shown.all('meta', 'content')[0]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert len(shown.all('th', 'scope')) == 12
    assert shown.all('td', 'data-value').count('50.0') == 2


def test_whatever_files_say_is_text(tmp_path):
    run = write_run(tmp_path / 'runs' / 'one', command=['main.py', NASTY], started=NASTY,
                    environment={'device': NASTY, 'commit': '<b>x'}, method=NASTY)  # fmt: skip
    shutil.copytree(run, tmp_path / 'runs' / NASTY.replace('/', ''))
    broken = write_run(tmp_path / 'runs' / '<u>broken')
    (broken / 'args.json').write_text('{')
    begun = write_run(tmp_path / 'runs' / '<i>begun')
    (begun / RESULT).unlink()
    shown = written(tmp_path / 'runs', tmp_path)
    assert len(shown.all('img', 'src')) == len(pictures(shown)) == 4
    assert [name for name, _ in shown.tags if name in ('b', 'u', 'i')] == []
    assert [own for _, own in shown.tags if any(key.startswith('on') for key in own)] == []
    assert [name for name, _ in shown.tags].count('script') == 1
    for text in ('<script>alert(1)', '<u>broken', '<i>begun', 'Unfinished', 'left out'):
        assert text in shown.text


def test_tags_escape_parts_and_attributes_alike():
    made = tag('p', '<b>', tag('i', '&'), class_='"x"', data_value=1)
    assert made == '<p class="&quot;x&quot;" data-value="1">&lt;b&gt;<i>&amp;</i></p>'
    assert isinstance(made, Html) and '<h1>' in document('t', tag('h1', 'a'))


@pytest.mark.parametrize(
    ('damage', 'words', 'left'),
    [
        (lambda run: save(run / RESULT, data=[[torch.zeros(10, 2, 8, 8), torch.arange(10)]],
                          mean=None, std=None), 'No picture: ', 2),
        (lambda run: save(run / RESULT, data=[[torch.full((1, 1, 8, 8), 1e38), torch.zeros(1)]],
                          std=[1e38]), 'left out', 0),
        (logged({k: v for k, v in STEP.items() if k != 'loss'}), 'MLP', 1),
        (logged({'exp': 0, 'iteration': 0, 'accs': {'MLP': [0.5]}}), 'MLP', 2),
        (lambda run: (run / 'log.jsonl').write_text(''), 'MLP', 1),
        (lambda run: (run / 'log.jsonl').unlink(), 'no such log', 0),
        (lambda run: (run / RESULT).write_bytes(b'PK'), 'left out', 0),
        (lambda run: shutil.copy(run / RESULT, run / 'res_2.pt'), '2 result files', 0),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_drawn_never_breaks_the_page(damage, words, left, tmp_path):
    damage(write_run(tmp_path / 'runs' / 'one'))
    write_run(tmp_path / 'runs' / 'two', dataset='Other')
    shown = written(tmp_path / 'runs', tmp_path)
    assert words in shown.text and len(pictures(shown)) == left + 3


def test_a_run_that_vanishes_meanwhile_is_named(tmp_path):
    write_run(tmp_path / 'one')
    rows, *others = collect(tmp_path)
    shutil.rmtree(tmp_path / 'one')
    shown = Page(page(tmp_path, rows, rows, *others, {}))
    assert 'No picture: ' in shown.text and not pictures(shown)


def test_many_classes_and_images_are_cut_and_soft_labels_drawn(tmp_path):
    images, labels = torch.zeros(600, 1, 8, 8), torch.arange(30).repeat_interleave(20)
    run = write_run(tmp_path / 'runs' / 'one')
    save(run / RESULT, data=[[images, labels]])
    shown = written(tmp_path / 'runs', tmp_path)
    assert 'The first 20 of 30 classes' in shown.text
    width, height = pictures(shown)[-1].size
    save(run / RESULT, data=[[images, torch.nn.functional.one_hot(labels).float()]])
    assert pictures(written(tmp_path / 'runs', tmp_path))[-1].size == (width, height)


def test_rows_of_a_summary_without_their_folders_are_shown(tmp_path):
    rows = [row_of(run='../gone'), row_of('random', mean=14.0), row_of('full', mean=80.0)]
    write_summary(tmp_path / 'summary.csv', rows)
    before = (tmp_path / 'summary.csv').read_bytes()
    shown = written(tmp_path, tmp_path)
    assert shown.text.count('The folder of this run is not here.') == 3
    assert '52.00' in shown.text and '14.00' in shown.text  # HLR and IOR
    assert (tmp_path / 'summary.csv').read_bytes() == before


def test_runs_of_the_project_fit_into_5_megabytes(tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(100, 3, 32, 32, generator=generator)  # noise packs worst
    run = write_run(tmp_path / 'runs' / 'one')
    data = [[images, torch.arange(10).repeat_interleave(10)]]
    save(run / RESULT, data=data, mean=[0.0] * 3, std=[1.0] * 3)
    sizes = [len(source) for source in written(tmp_path / 'runs', tmp_path).all('img', 'src')]
    *charts, noise = sizes
    assert len(charts) == 2 and 50 * noise + 10 * sum(charts) < 5e6  # 10 of data set and ipc


@pytest.mark.parametrize(
    ('flags', 'words'),
    [(['--html', 'folder'], '--html folder is a folder'), (['--html', ''], 'empty'),
     (['--html', 'none/x.html'], 'none is no folder'), (['--html', 'a', '--keep', 'b'], '--html'),
     (['--html', 'a', '--results', 'folder', 'folder'], '--html does nothing')],
)  # fmt: skip
def test_mistakes_are_one_line(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder').mkdir()
    write_run(tmp_path / 'results' / 'one')
    fails(lambda: main_report.main(flags), capsys, words)
    assert not (tmp_path / 'a').exists()


def test_the_chart_names_every_experiment(tmp_path):
    for number in range(9):  # more than a legend within the axis, and than colours
        write_run(tmp_path / 'runs' / f'{number}', method=f'M{number}x')
    shown = written(tmp_path / 'runs', tmp_path)
    assert all(f'M{number}x' in shown.all('img', 'alt')[0] for number in range(9))
