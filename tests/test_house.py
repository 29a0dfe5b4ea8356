"""The house rules: imports point down only, and every command in the README and in runs/ parses."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

import flags as flag_groups
import main as main_script
import main_eval
from evaluation.judge import eval_pool
from networks import NETWORKS

ROOT = Path(__file__).parents[1]
FLOORS = {
    'errors': 0, 'networks': 0, 'augment': 0, 'readers': 0, 'data': 0,
    'device': 1, 'flags': 1, 'extractor': 1, 'clusters': 1, 'training': 1, 'runfolder': 1,
    'storage': 1, 'utils': 1, 'passes': 1, 'live': 1, 'compiling': 1,
    'methods': 2, 'evaluation': 2,
    'condense': 3, 'benchmark': 3, 'report': 3,
    'main': 4, 'main_BS': 4, 'main_cluster': 4, 'main_eval': 4, 'main_report': 4, 'bench': 4,
    'figures': 4,
}  # fmt: skip


def modules():
    for path in ROOT.rglob('*.py'):
        relative = path.relative_to(ROOT)
        if relative.parts[0] not in ('tests', '.venv'):
            yield path, relative.with_suffix('').parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split('.')[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split('.')[0]


@pytest.mark.parametrize(
    ('path', 'name'), [pytest.param(*pair, id=str(pair[0].relative_to(ROOT))) for pair in modules()]
)
def test_imports_point_down_only(path, name):
    for other in set(imports(path)) & FLOORS.keys():
        if FLOORS[name] in (2, 4):  # the shelves never import each other, and nobody imports a script
            assert other == name or FLOORS[other] < FLOORS[name], f'{path.name} imports {other}'
        else:
            assert FLOORS[other] <= FLOORS[name], f'{path.name} imports {other}'


def commands():
    """Every `python main*.py …` in the README, docs, docstrings of scripts and runs/."""
    for path in [
        *ROOT.glob('*.md'),
        *ROOT.glob('docs/**/*.md'),
        *ROOT.glob('runs/*.sh'),
        *ROOT.glob('main*.py'),
        ROOT / 'bench.py',
    ]:
        text = path.read_text()
        variables = dict(re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE))
        for script, flags in re.findall(r'python\S* (main\w*\.py|bench\.py)([^\n#`|>]*)', text):
            if '--help' in flags:
                continue
            for name, value in reversed(variables.items()):
                flags = flags.replace(f'${name}', value)
            yield pytest.param(script, shlex.split(flags), id=f'{path.name}: {script}{flags}'[:100])


class Parsed(Exception):
    """Raised in place of the first thing that a script does with its arguments."""


@pytest.mark.parametrize(('script', 'flags'), list(commands()))
def test_documented_commands_parse(script, flags, monkeypatch):
    module = importlib.import_module(script.removesuffix('.py'))

    def stop(*values):
        raise Parsed

    first = {'main_report.py': 'collect', 'bench.py': 'rates'}.get(script, 'set_up_device')
    monkeypatch.setattr(module, first, stop)
    with pytest.raises(Parsed):
        module.main(flags)


def test_every_pool_holds_known_networks():
    for mode in flag_groups.EVAL_MODES:
        assert set(eval_pool(mode, 'ConvNetBN')) <= NETWORKS.keys()


@pytest.mark.parametrize('script', [main_script, main_eval])
def test_help_names_every_choice(script, capsys):
    with pytest.raises(SystemExit) as exit_:
        script.main(['--help'])
    text = capsys.readouterr().out
    assert exit_.value.code == 0 and script.__doc__.splitlines()[0] in text
    assert 'ConvNetASwishBN' in text and 'CIFAR100' in text
