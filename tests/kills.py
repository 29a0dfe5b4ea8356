"""Kill real runs at random moments, give the same command again, and compare the ends bit for bit.

python tests/kills.py 20        # so many kill -9 and SIGTERM each, over six commands: 20 minutes
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
from experiment.checkpoint import same  # noqa: E402 (the path comes first)

SET = '--dataset Digits --model ConvNetD1 --num_exp 2 --num_eval 2 --epoch_eval_train 60'
LEARN = f'{SET} --Iteration 6 --eval_every 3'
FEATURES = '--feature_net MLP --num_cluster 4 --no-norm'
COMMANDS = {
    'DC': f'main.py {LEARN} --ipc 10 --inner_loop 2',
    'BS': f'main_BS.py {LEARN} --ipc 1 {FEATURES}',
    'DM': f'main.py {LEARN} --method DM --ipc 10',
    'herding': f'main.py {SET} --method herding --feature_net MLP --ipc 2',
    'cluster': 'main_cluster.py --dataset Digits --num_cluster 3 --extractor_epochs 2 --no-norm',
    'eval': f'main_eval.py {SET} --synset random --ipc 10',
}
CHANGING = 'seconds', 'evaluate_seconds', 'peak_memory_mib'


def command(words: str, folder: Path) -> list[str]:
    """Return the words of a process that saves whenever it may."""
    script, *flags = words.split()
    code = f'import {script[:-3]} as script; from experiment import run\n'
    code += 'run.CHECKPOINT_SECONDS = 0.2; script.main()'
    places = ['--cluster_path', str(folder / 'clustering')]
    if script == 'main_eval.py' or (script == 'main.py' and 'herding' not in words):
        places = []
    if script != 'main_cluster.py':
        places += ['--save_path', str(folder / 'results')]
    return [sys.executable, '-c', code, *flags, *places]


def end_of(folder: Path) -> dict:
    """Return all that a finished command leaves and that interruptions must not change."""
    found = {}
    for path in sorted(folder.rglob('*')):
        name = str(path.relative_to(folder))
        if path.suffix == '.pt' and path.name != 'checkpoint.pt':
            found[name] = torch.load(path, weights_only=True)
            found[name].get('facts', {}).pop('seconds', None)
        elif path.name == 'log.jsonl':
            records = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [
                {key: part for key, part in record.items() if key not in CHANGING}
                for record in records
            ]
        elif path.suffix == '.part':
            found[name] = 'a file that was left behind'
    return found


def finish(words: str, folder: Path) -> None:
    """Run the command to its end."""
    subprocess.run(command(words, folder), cwd=ROOT, check=True, capture_output=True)


def strike(words: str, folder: Path, number: int, draw: random.Random, seconds: float) -> float:
    """Start the command and kill it at a random moment; return after how many seconds."""
    after = draw.uniform(0.5, seconds)
    process = subprocess.Popen(
        command(words, folder), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        _, error = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        _, error = process.communicate()
    if 'Traceback' in error or process.returncode not in (0, -9, -15, 143):
        raise SystemExit(f'{words}: exit code {process.returncode}\n{error}')
    return after


def main() -> None:
    """Strike every command in turn, three times before it may end."""
    times, draw = int(sys.argv[1]), random.Random(0)
    struck = dict.fromkeys((signal.SIGKILL, signal.SIGTERM), 0)
    straight, seconds = {}, {}
    base = Path(tempfile.mkdtemp())
    while min(struck.values()) < times:
        for name, words in COMMANDS.items():
            if name not in straight:
                started = time.monotonic()
                subprocess.run(
                    command(words, base / name), cwd=ROOT, check=True, capture_output=True
                )
                seconds[name] = time.monotonic() - started
                straight[name] = end_of(base / name)
                assert straight[name], name
            folder = base / f'{name}_struck'
            for number in draw.choices(list(struck), k=3):
                after = strike(words, folder, number, draw, seconds[name])
                struck[number] += 1
                print(
                    f'{name}: {number.name} after {after:.1f} of {seconds[name]:.1f} s', flush=True
                )
            subprocess.run(command(words, folder), cwd=ROOT, check=True, capture_output=True)
            if not same(end_of(folder), straight[name]):
                raise SystemExit(f'{name}: another end; see {folder} and {base / name}')
            print(f'{name}: the same end', flush=True)
            shutil.rmtree(folder)
    print(', '.join(f'{times} {number.name}' for number, times in struck.items()), 'all alike')


if __name__ == '__main__':
    main()
