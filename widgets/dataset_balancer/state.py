"""What a person has set in the balancer, and the mixture that it makes: plain values, and calls of `workbench.data`.

`mixed` is the only place where settings become a `Mixture` or `Stages`; figures, sentences and code all start from what it gives.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from workbench.data.mixture import Mixture, need
from workbench.data.stages import Stages

RULES = {"proportional": "in proportion to rows", "capped": "in proportion, with a cap", "equal": "equal", "weights": "weights by hand"}


@dataclass
class State:
    """Everything set by hand. Sources whose rows are in memory stand as None: they must be given again."""

    sources: dict = field(default_factory=dict)
    """Name -> file, town or hub name; a count; or None."""
    rule: str = "proportional"
    cap: float = 30_000
    """K in rows; in force with the rule "capped"."""
    temperature: float = 1.0
    multipliers: dict = field(default_factory=dict)
    weights: dict = field(default_factory=dict)
    """Of the rule "weights"; a source that is not named has the weight 1."""
    plain_share: float | None = None
    """Share of examples that is plain text; None leaves it to the rule, 0 draws none of it."""
    pretraining: tuple = ()
    """Sources said to be plain text; where none is, it is those whose rows show it."""
    budget: float = 0.0
    """What is trained on, in examples or tokens as `by` says; 0 is as many examples as there are rows."""
    by: str = "tokens"
    """"tokens" or "examples": what shares and budget count."""
    max_length: int = 512
    batch_size: int = 8
    stages: bool = False
    second: tuple = ()
    """Sources of the second stage; the others are of the first."""
    first_share: float = 0.6
    """Share of the examples that the first stage gets."""
    replay: float = 0.1
    """Share of the second stage that comes from the first."""
    tasks: dict = field(default_factory=dict)
    """Task -> its sources; a source that no task names is a task of its own."""
    held_out: tuple = ()
    """Tasks that are kept to test on."""
    left_out: tuple = ()
    """Sources that are neither trained nor tested on."""
    seed: int = 0

    def task_of(self, name: str) -> str:
        return next((task for task, members in self.tasks.items() if name in members), name)

    def all_tasks(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Task -> sources, for all of `names`."""
        found: dict[str, list[str]] = {}
        for name in names:
            found.setdefault(self.task_of(name), []).append(name)
        return found


@dataclass(slots=True)
class Mixed:
    """What the settings make of the sources."""

    mixture: Mixture | Stages
    rows: int
    """Examples that are drawn."""
    stages: list[tuple[dict[str, float], float]]
    """For each stage its rates, replay included, and its share of the examples; one where there are no stages."""
    tests: tuple[str, ...]
    """Sources held out."""

    @property
    def rates(self) -> dict[str, float]:
        """Name -> share of all examples."""
        total: dict[str, float] = {}
        for rates, part in self.stages:
            for name, rate in rates.items():
                total[name] = total.get(name, 0.0) + part * rate
        return total


def settings(state: State, names: Iterable[str], plain: Iterable[str]) -> dict[str, Any]:
    """The fields of a `Mixture` of the sources `names` that are not as they would be anyway; `plain` are those of plain text."""
    names, found = list(names), {}
    if state.rule in ("equal", "weights"):
        found["rule"] = state.rule
    text = [name for name in names if name in set(plain)]
    mixed_in = state.plain_share if 0 < len(text) < len(names) else None
    none_of = text if mixed_in == 0 else []  # a Mixture with the share 0 leaves plain text to the rule
    if state.rule == "weights":
        found["weights"] = {name: 0.0 if name in none_of else state.weights.get(name, 1.0) for name in names}
    if state.rule == "capped":
        found["cap"] = state.cap
    if state.temperature != 1:
        found["temperature"] = state.temperature
    factors = {name: factor for name, factor in state.multipliers.items() if name in names and factor != 1} | dict.fromkeys(none_of, 0.0)
    if factors and state.rule != "weights":
        found["multipliers"] = factors
    if mixed_in:
        found |= {"pretraining_share": mixed_in, "pretraining": tuple(text)}
    return found


def kept(state: State, base: Mixture) -> tuple[Mixture, tuple[str, ...]]:
    """`(sources that are trained on, names of those held out)`."""
    there = base.without(state.left_out) if state.left_out else base
    tasks = state.all_tasks(there.sources)
    chosen = [task for task in state.held_out if task in tasks]
    if not chosen:
        return there, ()
    trained, tests = there.hold_out(tasks, chosen)
    return trained, tuple(tests)


def mixed(state: State, base: Mixture, tokens: dict[str, int] | None = None, plain: Iterable[str] = ()) -> Mixed:
    """The mixture that `state` makes of the sources of `base`. `tokens` of each source are needed where the budget counts tokens.

    Raises `DataError` where these settings make none.
    """
    trained, tests = kept(state, base)
    names, plain = list(trained.sources), list(plain)
    mean = None if tokens is None or any(name not in tokens for name in names) else \
        {name: tokens[name] / trained.rows_of(name) for name in names}
    if not state.stages:
        one = trained.changed(**settings(state, names, plain))
        rates = one.rates
        return Mixed(one, _rows(state, trained, mean, rates), [(rates, 1.0)], tests)
    second = [name for name in names if name in state.second]
    need(bool(second), "No source is in stage 2.", "Put one there in the table of sources, or switch the stages off.")
    need(len(second) < len(names), "No source is in stage 1.", "Put one there in the table of sources, or switch the stages off.")
    parts = [trained.without(gone) for gone in (second, [name for name in names if name not in second])]
    parts = [part.changed(**settings(state, part.sources, plain)) for part in parts]
    one, two = (part.rates for part in parts)
    again = {name: (1 - state.replay) * two.get(name, 0.0) + state.replay * one.get(name, 0.0) for name in names}
    share = state.first_share
    overall = {name: share * one.get(name, 0.0) + (1 - share) * again[name] for name in names}
    rows = max(2, _rows(state, trained, mean, overall))
    first = min(max(round(share * rows), 1), rows - 1)
    stages = Stages([(parts[0], first), (parts[1], rows - first)], replay=state.replay)
    return Mixed(stages, rows, [(rates, of / rows) for rates, (_, of) in zip(stages.rates, stages.stages, strict=True)], tests)


def _rows(state: State, trained: Mixture, mean: dict[str, float] | None, rates: dict[str, float]) -> int:
    """Examples that the budget buys at these rates."""
    if not state.budget:
        known = [trained.rows_of(name) for name in trained.sources]
        return max(1, sum(rows for rows in known if rows))
    if state.by == "examples" or mean is None:
        return max(1, round(state.budget))
    return max(1, int(state.budget / sum(rate * mean[name] for name, rate in rates.items())))
