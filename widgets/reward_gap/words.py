"""The reward-gap panel in words: its sentence, its help, and the Python that makes the same tables without it.

Pure: everything comes from a `Look` and the state. The worst thing is said, and what is not known is left out.
"""

import numpy as np

from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.reward_gap.look import LENGTHS, LONGER, SHORTER, Look, calibration_bins
from widgets.reward_gap.state import State

HELP = (
    "A reward model gives each reply a number, and learns from pairs of which people preferred one: it is trained so that "
    "σ(r(chosen) − r(rejected)) is high (Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155). The histogram shows that gap "
    "for every held-out pair: left of 0 the model disagrees with the people, because it has not learned, or because the verdict is wrong. "
    "Calibration holds how sure the model is of the reply it prefers against how often people chose that one; on the dashed line it is as "
    "sure as it should be. Gap against length shows whether it likes replies for being long (Singhal et al. 2023, arXiv 2310.03716). A run "
    "of DPO has no reward model: its reward is β times the log ratio of the policy and the reference (Rafailov et al. 2023, arXiv "
    "2305.18290)."
)
FEWEST = 8
"""Pairs below which a category is not called the weakest."""
FALLEN = 0.03
"""Of the held-out accuracy below its best, beyond which it is said."""
UNSURE = 0.1
"""Calibration error that is said."""


def empty_words(look: Look, fault: str, given: bool) -> tuple[str, str]:
    """What stands where the figure will be."""
    if fault:
        return "No gaps", fault
    if not given:
        return "No run picked yet", "Pick a run that learns from pairs: wb.Recipe(objective=\"reward\", data=\"town:preferences\")."
    if not look.name:
        return "Reading", "The gaps that the run kept are read in the background."
    if look.living:
        return "No gaps yet", " ".join([*filter(None, [look.told]), "The first ones come with the run's first evaluation."])
    if look.told:
        return "No gaps", f"The run kept none. {look.told}"
    return "No pairs here", "No pair passes what is set."


def summary(look: Look, state: State, fault: str, given: bool) -> Sentence:
    """What the figure shows now."""
    if fault:
        return Sentence("warn", fault)
    if not look.pairs:
        headline, words = empty_words(look, fault, given)
        return Sentence("idle", f"{headline}. {words}")
    opening = f"Step {number(look.step)}{f' of {number(look.total)}' if look.total else ''}: " if look.has_steps else ""
    part = "held-out accuracy" if look.part == "heldout" else "accuracy on the training pairs drawn since the evaluation before"
    of = f" where {look.column} is {state.category}" if state.category else ""
    text = f"{opening}{part}{of} {number(100 * look.right, 1)} % of {number(look.pairs)} pairs"
    text = text[0].upper() + text[1:]
    worst = weakest(look)
    text += f"; {worst.name} is weakest at {number(100 * worst.right)} %." if worst is not None else "."
    troubles = trouble(look)
    flagged = int(look.flagged.sum())
    more = f" {number(flagged)} {'is' if flagged == 1 else 'are'} flagged as mislabelled." if flagged else ""
    fair = f" {look.bias.sentence}" if look.bias is not None and not look.bias.biased and not troubles else ""
    return Sentence("warn" if troubles else "ok", " ".join([text, *troubles]) + fair + more)


def weakest(look: Look):
    """The category of the lowest share right, where that is told apart from all pairs; None otherwise."""
    if look.column == LENGTHS or len(look.categories) < 2:
        return None
    least = min((each for each in look.categories if each.pairs >= FEWEST), key=lambda each: each.right, default=None)
    return least if least is not None and least.high < look.right else None


def trouble(look: Look) -> list[str]:
    """Sentences on what is wrong, the worst first."""
    found = []
    if look.bias is not None and look.bias.biased:
        found.append(look.bias.sentence)
    steps, values = look.heldout
    if look.part == "heldout" and len(values) >= 3:
        best = int(np.argmax(values))
        known = look.curves.accuracy[np.isfinite(look.curves.accuracy)]
        fallen = values[best] - values[-1]
        if len(known) and fallen > max(FALLEN, 1.5 * (values[best] * (1 - values[best]) / look.pairs) ** 0.5) and known[-1] > values[-1]:
            found.append(f"Held-out accuracy has fallen from {number(100 * values[best], 1)} % at step {number(steps[best])} while "
                         f"training pairs are at {number(100 * known[-1], 1)} %: it learns the pairs by heart.")
    if look.implicit:
        chosen = look.curves.implicit["chosen"][np.isfinite(look.curves.implicit["chosen"])]
        if len(chosen) and chosen[-1] < 0:
            found.append(f"The chosen replies' own implicit reward is {number(chosen[-1], 2)}: both replies have become less likely, the "
                         "rejected one more so.")
    if look.calibration is not None and look.calibration.attrs["error"] > UNSURE:
        told = look.calibration
        sure = float((told["pairs"] * (told["predicted"] - told["observed"])).sum() / told["pairs"].sum())
        found.append(f"It is {'too' if sure > 0 else 'not'} sure{' of itself' if sure > 0 else ' enough'}, by "
                     f"{number(100 * told.attrs['error'])} points.")
    return found


def reading_words(look: Look, state: State) -> str:
    """Which pairs are read: `Pair 3 of 40 with a gap of −1.00 to −0.75`."""
    count = len(look.picked)
    if not count:
        return {"bin": "No bin is picked: click a bar, or move the slider.", "flagged": "No pair is flagged.",
                "picked": "None of the picked examples is among these pairs."}.get(state.show, "No pairs.")
    place = min(state.place, count - 1) + 1
    return f"Pair {number(place)} of {number(count)} {kind_words(look, state)}"


def kind_words(look: Look, state: State) -> str:
    if state.show == "bin":
        return f"with a gap of {number(state.low, 2)} to {number(state.high, 2)}"
    return {"suspicious": f"with the lowest gaps, {number(100 * state.share)} % of all: turned round, or not learned",
            "flagged": "flagged as mislabelled", "picked": "picked in another panel"}[state.show]


def _of_category(look: Look, category: str) -> str:
    """The pairs of a category, in Python."""
    if look.column == LENGTHS:
        sign = {LONGER: ">", SHORTER: "<"}.get(category, "==")
        return f"gaps['chosen_length'] {sign} gaps['rejected_length']"
    if look.frame[look.column].dtype == bool:
        return f"gaps[{look.column!r}]" if category == look.column else f"~gaps[{look.column!r}]"
    return f"gaps[{look.column!r}].fillna('–').astype(str) == {category!r}"


def code(look: Look, state: State, heads: tuple[str, ...], table: bool, scored: str = "") -> str:
    """Python that makes the table shown, what is said of it, the pairs read, and the recipe of the next run. `scored` is the part whose
    gaps a run's result gives, where the run kept none."""
    lines = []
    used = {head: float(state.weights[head]) for head in heads if head in state.weights}
    mixing = {head: used.get(head, 1.0) for head in heads} if used else None
    imports = ["from workbench.evaluation.rewards import calibration, length_bias, suspicious"]
    if table or not state.sources:
        lines += ["# gaps: the table that this panel was given, of reward_gaps(run, rows)"]
    elif scored and len(state.sources) == 1:
        imports[0] = "from workbench.evaluation.rewards import calibration, length_bias, reward_gaps, suspicious"
        imports += ["from pathlib import Path", "from workbench.data import run_rows"]
        lines += [f"gaps = reward_gaps({state.sources[0]!r}, run_rows.read(Path({state.sources[0]!r})).{scored}[''])"]
    elif len(state.sources) == 1:
        imports.insert(0, "from workbench.evaluation.kept_gaps import KeptGaps")
        given = [f"step={look.step}"] if look.step is not None else []
        given += [f"part={state.part!r}"] if state.part != "heldout" else []
        given += [f"weights={mixing!r}"] if mixing else []
        lines += [f"gaps = KeptGaps({state.sources[0]!r}).table({', '.join(given)})"]
    else:
        imports.insert(0, "from workbench.evaluation.kept_gaps import kept_ensemble")
        given = [f"step={look.step}"] if look.step is not None else []
        given += [f"weights={mixing!r}"] if mixing else []
        lines += [f"gaps = kept_ensemble({list(state.sources)!r}, {', '.join(given)})"]
    if state.category:
        lines += [f"gaps = gaps[{_of_category(look, state.category)}]"]
    lines += [f"print(calibration(gaps, bins={calibration_bins(look.pairs)}))", "print(length_bias(gaps).sentence)"]
    if state.show == "bin" and state.low is not None:
        lines += [f"read = gaps[gaps['gap'].between({state.low!r}, {state.high!r}, inclusive='left')].sort_values('gap')"]
    else:
        lines += [f"read = suspicious(gaps, {state.share!r})"]
    if state.sources and not table:
        imports += ["from workbench.data.flags import Flags", "from workbench.evaluation.next_run import without_flagged"]
        lines += ["", f"flags = Flags({state.sources[0]!r})   # flags.add(prompt, chosen, rejected)",
                  f"recipe = without_flagged({state.sources[0]!r})   # run = wb.start(recipe, runs={state.runs!r})"]
    return "\n".join([*sorted(imports), "", *lines])
