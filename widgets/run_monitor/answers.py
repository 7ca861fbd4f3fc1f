"""How a run that classifies answers the held-out rows: accuracy and macro F1 at each evaluation, the cell that shows them, the words for
them.

Works on a `History` and arrays; knows no run and makes no widget.
"""

from dataclasses import dataclass, field

import numpy as np

from widgets.frame.sheet import Sheet, ink, number
from widgets.run_monitor.labels import Plot
from workbench.journal.history import History

SHOWN = (("accuracy", "accuracy", "blue", "solid"), ("macro_f1", "macro F1", "orange", "dash"))
"""Metrics of an evaluation that have a line: name in the journal, words, colour, dash."""


@dataclass(slots=True)
class Answers:
    """`scores`: name -> (steps, values in 0..1); empty where the run does not classify."""

    scores: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.scores)


def answers_of(history: History) -> Answers:
    """What the journal says of the answers at each evaluation."""
    scores = {}
    for name, *_ in SHOWN:
        known = [(event.step, event.extra[name]) for event in history.evaluations if event.extra.get(name) is not None]
        if known:
            steps, values = zip(*known, strict=True)
            scores[name] = np.array(steps, float), np.array(values, float)
    return Answers(scores)


def span(answers: Answers) -> tuple[float, float]:
    """Percent to show: from a little below the lowest to a little above 100, so that the points at the top are whole."""
    low = 100 * min(float(values.min()) for _, values in answers.scores.values())
    return max(0.0, 10 * np.floor((low - 4) / 10)), 104.0


def draw(sheet: Sheet, plot: Plot, answers: Answers) -> list[dict]:
    """The lines of a cell; returns the labels to stand at their ends."""
    labels = []
    for name, words, colour, dash in SHOWN:
        if name in answers.scores:
            steps, values = answers.scores[name]
            sheet.line(
                plot.axis,
                steps,
                100 * values,
                colour,
                dash,
                1.75,
                uid=f"answers-{name}",
                name=words,
                mode="lines+markers",
                cliponaxis=False,
                marker=dict(color=ink(colour), size=6),
                hovertemplate=f"step %{{x:,d}}<br>{words} %{{y:.1f}} %<extra></extra>",
            )
            labels.append(dict(x=float(steps[-1]), y=100 * float(values[-1]), text=words, colour=f"{colour}-text", dx=10))
    return labels


def words(answers: Answers) -> str:
    """`accuracy 98.3 %`; "" where the run does not classify."""
    if "accuracy" not in answers.scores:
        return ""
    return f"accuracy {number(100 * answers.scores['accuracy'][1][-1], 1)}\u202f%"
