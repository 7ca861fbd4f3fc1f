"""What goes wrong with a loss while a model learns: it has climbed, or the held-out loss rises while the training loss falls.

    climbed(step, loss, average, span)              -> Alarm("climb", 40, "The training loss has climbed from ...", 2.5), or None
    by_heart(step, average, held_step, held)        -> Alarm("heldout", 30, "Held-out loss has risen from ...", 2.0), or None
    watch(run)                                      -> those that stand at the last step of a run's journal

Judges averages and windows, never one step. A loss that is no number is `alarms.py`'s business, as is all of a policy, whose loss says little.
Limits with no source named are this project's own choice, and the run monitor's.
"""

from typing import Any

import numpy as np

from workbench.alignment.alarms import Alarm

SHARE, LEAST = 1.25, 0.1
"""The loss has climbed where its mean is this much above its best, as a factor and in nats, and few of the best steps had what is usual now."""
RISE, LITTLE = 0.03, 0.02
"""The held-out loss has risen where it is this share, and so many nats, above its lowest, at the last two evaluations."""


def climbed(step: np.ndarray, loss: np.ndarray, average: np.ndarray, span: float) -> Alarm | None:
    """`step`, `loss` and its `average` over about `span` steps, all of one length and finite."""
    if not len(loss):
        return None
    low, window = int(np.argmin(average)), int(max(2 * span, 20))
    if len(loss) - low <= window:
        return None
    best, now = loss[max(0, low - window) : low + 1], loss[-window:]
    # batches differ: only a typical loss of now that few of the best steps had, and well above their mean, is a climb
    if not (np.median(now) > np.quantile(best, 0.9) and now.mean() > SHARE * best.mean() + LEAST):
        return None
    told = f"The training loss has climbed from {average[low]:.3f} at step {int(step[low])} to {average[-1]:.3f}."
    return Alarm("climb", int(step[low]), told, float(average[-1]))


def by_heart(step: np.ndarray, average: np.ndarray, held_step: np.ndarray, held: np.ndarray) -> Alarm | None:
    """The averaged training loss at `step`, and held-out losses at `held_step`, all finite."""
    if len(held) < 4 or not len(average):
        return None
    best = int(np.argmin(held))
    then, rise = np.interp(held_step[best], step, average), min(held[-2:]) - held[best]
    if not (len(held) - best > 2 and rise > max(RISE * held[best], LITTLE) and average[-1] < then):
        return None
    told = f"Held-out loss has risen from {held[best]:.3f} at step {int(held_step[best])} to {held[-1]:.3f} while training loss falls."
    return Alarm("heldout", int(held_step[best]), told, float(held[-1]))


def watch(run: Any) -> list[Alarm]:
    """Of a run as `workbench.attach` gives one; [] for a policy, and while all is well."""
    history = run.history
    if "reward" in history.columns:
        return []
    series = history.metrics()
    step, loss = np.asarray(series["step"], float), np.asarray(series["loss"], float)
    # rows of other sources have another loss, which is no trouble: only what came since the mixture was changed is compared
    remixed = max((change.step for change in history.changes if change.field == "mixture"), default=0)
    fine = np.isfinite(loss) & (step > remixed)
    step, loss = step[fine], loss[fine]
    span = min(100, max(5, round((history.steps or 1000) / 50)))
    average = _moving(loss, span)
    told = [(event.step, event.loss) for event in history.evaluations if event.loss is not None]
    held_step, held = (np.array([pair[n] for pair in told], float) for n in (0, 1))
    return [alarm for alarm in (climbed(step, loss, average, span), by_heart(step, average, held_step, held)) if alarm]


def _moving(loss: np.ndarray, span: int) -> np.ndarray:
    """The mean of the last `span` values at each, of those there are at the beginning."""
    total = np.concatenate([[0.0], np.cumsum(loss)])
    end = np.arange(1, len(loss) + 1)
    begin = np.maximum(0, end - span)
    return (total[end] - total[begin]) / (end - begin)
