"""The house: floors, no circles, widths, and every command of README, docs and runs/ parses."""

import ast
import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import main as main_script
import main_eval
from evaluation.protocol import eval_pool
from experiment.flags import EVAL_MODES
from networks import NETWORKS

ROOT = Path(__file__).parents[1]
FLOORS = {
    'utils': 1, 'processes': 1,
    'storage': 2, 'dataset': 2, 'networks': 2,
    'engine': 3,
    'experiment': 4,
    'features': 5, 'evaluation': 5,
    'condense': 6, 'methods': 6, 'report': 6,
    'main': 7, 'main_BS': 7, 'main_cluster': 7, 'main_eval': 7, 'main_report': 7,
    'main_export': 7, 'bench': 7,
    'benchmark': 7, 'figures': 7, 'applications': 7,
}  # fmt: skip
APART = {frozenset(('methods', 'evaluation')), frozenset(('methods', 'report'))}


def tracked(*patterns):
    """Return the files of the project, those in no commit yet included."""
    names = ['git', 'ls-files', '--cached', '--others', '--exclude-standard', *patterns]
    done = subprocess.run(names, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split('\n') if name and (ROOT / name).exists()]


def modules():
    """Return {dotted name: path} of every module but the tests."""
    paths = [path for path in tracked('*.py') if path.relative_to(ROOT).parts[0] != 'tests']
    return {'.'.join(path.relative_to(ROOT).with_suffix('').parts): path for path in paths}


MODULES = modules()


def imports(path):
    """Yield the dotted names that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def ours(path):
    """Return the modules of the project that a file imports."""
    packages = {f'{name}.__init__' for name in imports(path)}
    return {name for name in {*imports(path), *packages} if name in MODULES}


@pytest.mark.parametrize('name', MODULES)
def test_imports_point_down_only(name):
    room = name.split('.')[0]
    for other in {module.split('.')[0] for module in ours(MODULES[name])} - {room}:
        assert FLOORS[other] <= FLOORS[room], f'{name} imports {other}, which stands above'
        assert frozenset((room, other)) not in APART, f'{name} imports {other}'
        assert not other.startswith('main') and other != 'bench', f'{name} imports a script'


def test_no_circles():
    graph = {name: ours(path) - {name} for name, path in MODULES.items()}
    while leaves := {name for name, below in graph.items() if not below & graph.keys()}:
        graph = {name: below for name, below in graph.items() if name not in leaves}
    assert not graph, f'these modules import each other: {sorted(graph)}'


def test_the_top_is_small_and_has_no_room_of_a_wrong_name():
    top = [path.name for path in tracked('*.py') if path.parent == ROOT]
    assert len(top) <= 10, top
    rooms = {path.relative_to(ROOT).parts[0] for path in tracked() if path.parent != ROOT}
    assert not rooms & {'data', 'datasets', 'clustering'}  # folders of runs, and a known package


@pytest.mark.parametrize('path', tracked('*.py', '*.md', '*.sh', 'Makefile'), ids=lambda p: p.name)
def test_lines_are_at_most_100_columns(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        allowed = path.suffix == '.md' and (line.startswith('|') or 'http' in line)
        assert len(line) <= 100 or allowed, f'{path.name}:{number} has {len(line)} columns'


def test_files_and_functions_are_short():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 150
    for name, path in MODULES.items():
        text = path.read_text()
        limit = 350 if name == 'networks' else 250
        assert text.count('\n') <= limit, f'{name} has more than {limit} lines'
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                most = 25 if node.name == 'main' else 45
                length = node.end_lineno - node.lineno + 1
                assert length <= most, f'{name}.{node.name} has {length} lines'


@pytest.mark.parametrize(
    'name',
    ['condense', 'methods.gradient_matching', 'engine.gradients', 'features.clusters',
     'experiment.run'],
)  # fmt: skip
def test_loops_carry_headings_and_whys(name):
    lines = MODULES[name].read_text().splitlines()
    comments = [line for line in lines if re.search(r'(^|\s)# (?!noqa|fmt)', line)]
    assert len(comments) >= 0.08 * len(lines), f'{len(comments)} of {len(lines)} lines'


def commands():
    """Every `python main*.py …` in the README, docs, docstrings of scripts and runs/."""
    paths = [*tracked('*.md', 'runs/*.sh', 'main*.py', 'bench.py', 'methods/*.py')]
    for path in paths:
        text = path.read_text()
        variables = dict(re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE))
        text = text.replace('\\\n', ' ')
        for script, words in re.findall(r'python\S* (main\w*\.py|bench\.py)([^\n#`|>]*)', text):
            if '--help' in words or '…' in words:
                continue
            for name, value in reversed(variables.items()):
                words = words.replace(f'${name}', value)
            yield pytest.param(script, shlex.split(words), id=f'{path.name}: {script}{words}'[:100])


class Parsed(Exception):
    """Raised in place of the first thing that a script does with its arguments."""


@pytest.mark.parametrize(('script', 'words'), list(commands()))
def test_documented_commands_parse(script, words, monkeypatch):
    module = importlib.import_module(script.removesuffix('.py'))

    def stop(*values):
        raise Parsed

    if script == 'main_report.py':
        for first in ('collect', 'keep_run'):
            monkeypatch.setattr(module, first, stop)
    else:
        monkeypatch.setattr('evaluation.sources.load_result', stop)
        for first in {'load_result', 'load_data', 'set_up_device'} & vars(module).keys():
            monkeypatch.setattr(module, first, stop)
    with pytest.raises(Parsed):
        module.main(words)


def test_every_pool_holds_known_networks():
    for mode in EVAL_MODES:
        assert set(eval_pool(mode, 'ConvNetBN')) <= NETWORKS.keys()


@pytest.mark.parametrize('script', [main_script, main_eval])
def test_help_names_every_choice(script, capsys):
    with pytest.raises(SystemExit) as exit_:
        script.main(['--help'])
    text = capsys.readouterr().out
    assert exit_.value.code == 0 and script.__doc__.splitlines()[0] in text
    assert 'ConvNetASwishBN' in text and 'CIFAR100' in text


def test_the_two_condensing_scripts_differ_by_their_sampler_alone():
    bodies = []
    for name in ('main.py', 'main_BS.py'):
        text = (ROOT / name).read_text()
        bodies.append(text.split('"""', 2)[2].splitlines())
    differing = [pair for pair in zip(*bodies, strict=True) if pair[0] != pair[1]]
    assert len(differing) == 1
    assert differing[0][0].replace("draw='uniform'", "draw='cluster'") == differing[0][1]
