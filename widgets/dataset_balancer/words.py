"""The balancer in words: the sentence under the figure, its numbers, and the Python that makes the same mixture.

Pure. The sentence says the worst thing first: what is repeated too often, what is cut, what is full of copies; else what moved most.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from widgets.dataset_balancer.state import State, settings
from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from workbench.data.mixture import Mixture

if TYPE_CHECKING:
    from widgets.dataset_balancer.balance import Balance

MUCH_CUT, MANY_COPIES, MOVED = 0.05, 0.1, 0.005

HELP = (
    "Each source is drawn in proportion to min(rows × factor, K)^(1/T): T = 1 keeps the natural proportions, a large T makes sources "
    "equal, the cap K keeps giants from drowning the rest (T5, Raffel et al. 2020, section 3.5.2). Rings are the natural shares, discs the "
    "mixed ones; beyond about four epochs repeated text teaches little (Muennighoff et al. 2023). To hold a whole task out, every data set "
    "of it leaves training (T0, Sanh et al. 2022). Lengths are tokens as training sees them, chat template and end token included."
)


def percent(share: float) -> str:
    """A share as a percentage with what digits it deserves: 66, 4.9, 0.1, < 0.1, 0."""
    value = 100 * share
    if 0 < value < 0.05:
        return "< 0.1"
    return number(value) if value >= 9.95 or value == 0 else number(value, 1)


def times(epochs: float) -> str:
    """How often a source is gone through: 250, 12, 4.6, 0.3, < 0.1, 0."""
    if 0 < epochs < 0.05:
        return "< 0.1"
    return number(epochs) if epochs >= 9.95 or epochs == 0 else number(epochs, 1)


def short(name: str, letters: int) -> str:
    """A name in at most `letters` letters, the middle left out: names differ at both ends."""
    if len(name) <= letters:
        return name
    head = (letters - 1) // 2
    return name[:head] + "…" + name[len(name) - (letters - 1 - head):]


def summary(found: "Balance", state: State) -> Sentence:
    """What the figure shows now."""
    warning = _warning(found, state)
    parts = [warning or _moved(found)]
    if found.waste is not None:
        cut = found.waste["truncated_share"]
        if 0 < cut and MUCH_CUT < cut and "longer than" not in parts[0]:
            parts.append(_cut(cut, state))
        parts.append(_packing(found, state))
    elif found.unknown and found.by == "examples":
        parts.append("Lengths are not measured, so shares count examples.")
    if found.tests:
        tasks = list(dict.fromkeys(state.task_of(name) for name in found.tests))
        parts.append(f"Held out to test on: {_listed(tasks)}.")
    return Sentence("warn" if warning else "ok", " ".join(part for part in parts if part))


def unread(faults: dict[str, str], others: Sentence | None) -> Sentence:
    """What is said while sources cannot be read (name -> why) and nobody has left them out; `others` is what the rest would come to."""
    names = list(faults)
    first = f"{names[0]} cannot be read: {faults[names[0]]}" if len(names) == 1 else f"{_listed(names)} cannot be read."
    it = "it" if len(names) == 1 else "them"
    rest = f" Without {it}: {others.text}" if others is not None else ""
    return Sentence("warn", f"{first} No mixture is made until you mend {it} or leave {it} out.{rest}")


def _warning(found: "Balance", state: State) -> str:
    from widgets.dataset_balancer.balance import MANY_EPOCHS

    often = sorted((name for name in found.names if found.epochs[name] > MANY_EPOCHS), key=lambda name: -found.shares[name])
    if often:
        first, others = often[0], often[1:]
        text = (f"{first} is {percent(found.natural[first])} % of {found.by} but {percent(found.shares[first])} % of training, "
                f"so each row is seen {times(found.epochs[first])} times")
        if len(others) == 1:
            text += f"; {others[0]} {times(found.epochs[others[0]])} times"
        elif others:
            most = max(others, key=found.epochs.__getitem__)
            text += f"; {len(others)} other sources more than {MANY_EPOCHS} times, {most} {times(found.epochs[most])}"
        return text + "."
    if found.waste is not None and found.waste["truncated_share"] > MUCH_CUT:
        return _cut(found.waste["truncated_share"], state)
    copies = {name: found.profiles[name].copies or 0.0 for name in found.names if name in found.profiles and found.shares[name]}
    worst = max(copies, key=copies.__getitem__, default="")
    if worst and copies[worst] > MANY_COPIES:
        return f"{percent(copies[worst])} % of the rows of {worst} nearly copy another one: clean them, or they count double."
    return ""


def _cut(share: float, state: State) -> str:
    return f"{percent(share)} % of the examples are longer than {number(state.max_length)} tokens and lose their end."


def _moved(found: "Balance") -> str:
    most = max(found.names, key=lambda name: abs(found.shares[name] - found.natural[name]))
    if abs(found.shares[most] - found.natural[most]) < MOVED:
        largest = max(found.names, key=found.natural.__getitem__)
        return f"Every source keeps its natural share: {largest}, the largest, is {percent(found.natural[largest])} % of {found.by}."
    return (f"{most} is {percent(found.natural[most])} % of {found.by} but {percent(found.shares[most])} % of training; "
            f"each row of it is seen {times(found.epochs[most])} times.")


def _packing(found: "Balance", state: State) -> str:
    padded, packed = found.waste["padding_share"], found.waste["packing_waste"]
    if padded < 0.05:
        return ""
    return f"Packing cuts padding from {percent(padded)} % to {percent(packed)} %." if packed < padded else ""


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def drawn_words(found: "Balance") -> str:
    """`12 000 rows, 2.4 M tokens`"""
    tokens = "" if found.tokens_drawn is None else f", about {amount(found.tokens_drawn)} tokens"
    return f"{number(found.mixed.rows)} rows{tokens}"


def amount(count: float) -> str:
    """1 234 -> `1 234`, 2 400 000 -> `2.4 M`."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if count >= size:
            return f"{number(count / size, 1 if count < 99.5 * size else 0)}\u202f{letter}"
    return number(count)


# ---- Python

def code(state: State, base: Mixture, plain: Iterable[str], rows: int | None, faults: dict[str, str] | None = None) -> str:
    """Python that makes the same mixture without the panel. Rows in memory stand there as `sources[name]`; sources that cannot be read
    (`faults`: name -> why) stay in it, so that it says what the panel says until they are left out."""
    plain = list(plain)
    given = [name for name, source in state.sources.items() if source is None and name not in state.left_out]
    shown = {name: f"sources[{name!r}]" if source is None else repr(source) for name, source in state.sources.items()
             if name not in state.left_out}
    lines = ["import workbench as wb", ""]
    lines += [f"# {name!r} cannot be read, so no rows are drawn: {' '.join(fault.split())}" for name, fault in (faults or {}).items()]
    if given:
        lines += ["# sources: the rows that this panel was given, by name"]
    names, tasks = list(shown), state.all_tasks(shown)
    held = [task for task in state.held_out if task in tasks]
    at_once = {} if held or state.stages else settings(state, names, plain)
    lines.append("mixture = wb.Mixture({" + ", ".join(f"{name!r}: {source}" for name, source in shown.items()) + "}"
                 + "".join(f", {key}={value!r}" for key, value in at_once.items()) + ")")
    if held:
        lines.append(f"mixture, tests = mixture.hold_out({ {task: tasks[task] for task in held}!r}, {held!r})")
        names = [name for name in names if state.task_of(name) not in held]
    if not state.stages:
        lines += [] if not held else _changed("mixture", "mixture", settings(state, names, plain))
    else:
        second = [name for name in names if name in state.second]
        begin = [name for name in names if name not in second]
        parts = {"first": (second, begin), "second": (begin, second)}
        for name, (gone, stay) in parts.items():
            lines.append(f"{name} = mixture.without({gone!r})")
            lines += _changed(name, name, settings(state, stay, plain))
        total = rows or 2
        first = min(max(round(state.first_share * total), 1), total - 1)
        lines.append(f"mixture = wb.Stages([(first, {first}), (second, {total - first})], replay={state.replay!r})")
    if rows and not any(isinstance(source, int) for source in state.sources.values()):
        lines.append(f"dataset = mixture.draw({rows}, seed={state.seed})   # or: wb.Recipe(data=mixture)")
    return "\n".join(lines)


def _changed(name: str, of: str, values: dict[str, Any]) -> list[str]:
    return [f"{name} = {of}.changed({', '.join(f'{key}={value!r}' for key, value in values.items())})"] if values else []
