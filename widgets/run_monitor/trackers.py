"""Where else a run is followed, and what was noted while it went, as markup. Everything comes from a journal, which anybody may have
written: a link is made of a plain web address alone, all else is text."""

import re
from collections.abc import Mapping, Sequence
from html import escape as quoted

from widgets.frame.markup import escape
from workbench.journal import events as ev

NAMES = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "wandb": "Weights & Biases", "comet_ml": "Comet", "clearml": "ClearML"}
LINK = re.compile(r"https?://[!-~]{1,2000}", re.ASCII)
"""An address that a link may lead to: nothing but the web, no blanks, no letters that look like others."""
LAST = 3
"""Notes shown."""


def followed_html(trackers: Mapping[str, ev.Reported], notes: Sequence[ev.Noted]) -> str:
    """A line for each tracker, a link or the command that shows it, and the last notes; "" where there is neither."""
    lines = [f"<li>{escape(NAMES.get(event.tracker, event.tracker), 60)}: {_place(event)}</li>" for event in trackers.values()]
    said = "".join(f'<p class="wb-hint">{escape(note.note, 400)}</p>' for note in notes[-LAST:])
    return (f'<ul class="wb-trackers">{"".join(lines)}</ul>' if lines else "") + said


def _place(event: ev.Reported) -> str:
    if LINK.fullmatch(event.url):
        return f'<a href="{quoted(event.url)}" target="_blank" rel="noopener noreferrer">{escape(event.url, 80)}</a>'
    return f"<code>{escape(event.command or event.url or event.folder or event.run, 400)}</code>"
