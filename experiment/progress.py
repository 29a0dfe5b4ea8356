"""Where a run stands."""

from dataclasses import dataclass, field


@dataclass
class Progress:
    """Where a run stands: what a checkpoint holds beside its arguments.

    exp: the set that is being made; iteration: how many of its iterations are done; seconds: spent
    on the next one so far; evaluated: whether the set was, after them; accs: {network: accuracies}
    of this evaluation so far; sets, stored, accs_all_exps: of all finished sets (stored: what
    tiles are decoded from); method: state within a set; given: in its place, a finished set of
    another run, which only needs networks: [set], or [set, stored].
    """

    exp: int = 0
    iteration: int = 0
    seconds: float = 0.0
    evaluated: bool = False
    accs: dict[str, list[float]] = field(default_factory=dict)
    evaluate_seconds: float = 0.0
    sets: list = field(default_factory=list)
    stored: list = field(default_factory=list)
    accs_all_exps: dict[str, list[float]] = field(default_factory=dict)
    method: dict | None = None
    given: list | None = None

    def next_iteration(self) -> None:
        """Count an iteration as done: what was evaluated is the set before it."""
        self.iteration, self.seconds = self.iteration + 1, 0.0
        self.evaluated, self.accs, self.evaluate_seconds = False, {}, 0.0

    def next_set(self) -> None:
        """Add the accuracies of the finished set to those of all sets, and begin the next one."""
        for model, values in self.accs.items():
            self.accs_all_exps.setdefault(model, []).extend(values)
        self.exp, self.iteration, self.seconds, self.method = self.exp + 1, 0, 0.0, None
        self.given = None
        self.evaluated, self.accs, self.evaluate_seconds = False, {}, 0.0


def stores_apart(args: dict) -> bool:
    """Tell whether a run keeps more than its sets: what tiles are decoded from, learned labels."""
    return (args.get('factor') or 1) != 1 or bool(args.get('learn_labels'))
