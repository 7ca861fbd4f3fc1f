"""The reward-gap panel's widgets: the column beside the figure, the pair that is read below it. They show a `View` and report what a person
did.

Handlers only call the functions they were given, which enqueue. Prompts and replies are shown as text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from widgets.frame import controls
from widgets.frame.hearing import Hearing
from widgets.frame.markup import escape
from widgets.frame.sheet import number
from widgets.reward_gap.state import SHOWN, State

LISTED = 8
"""Lines of the list of pairs, around the one that is read."""


@dataclass(slots=True, kw_only=True)
class View:
    """What the widgets show."""

    state: State
    source: str = ""
    proposals: Sequence[str] = ()
    steps: Sequence[int] = ()
    step: int | None = None
    total: int | None = None
    parts: Sequence[str] = ("heldout",)
    columns: Sequence[str] = ()
    column: str = ""
    categories: Sequence[str] = ()
    heads: Sequence[str] = ()
    bins: int = 0
    bin: int = 0
    bin_words: str = ""
    words: str = ""
    """Which pairs are read."""
    pairs: Sequence[dict[str, Any]] = ()
    """Lines of them: prompt, chosen_text, rejected_text, chosen, rejected, gap, flagged, and of an ensemble spread."""
    place: int = 0
    flags: int = 0
    can_flag: bool = False
    can_train: bool = False
    training: str = ""


def pair_html(pair: dict[str, Any] | None, words: str) -> str:
    """The two replies side by side; everything is text."""
    if pair is None:
        return f'<p class="wb-hint">{escape(words)}</p>'
    sides = []
    for side, colour, line, label in (("chosen", "blue", "solid", "chosen"), ("rejected", "vermillion", "dashed", "rejected")):
        sides.append(f'<div style="flex:1 1 220px;min-width:0;border-left:3px {line} var(--wb-{colour});padding:2px 0 4px 12px">'
                     f'<div style="font-weight:600;color:var(--wb-{colour}-text)">{label}, r = {number(pair[side], 2)}</div>'
                     f'<div style="overflow-wrap:anywhere;white-space:pre-wrap">{escape(str(pair[f"{side}_text"]))}</div></div>')
    spread = f" ± {number(pair['spread'], 2)} between runs" if "spread" in pair else ""
    flag = ' · <span class="wb-word-bad">flagged as mislabelled</span>' if pair["flagged"] else ""
    return (f'<div class="wb-between"><h3>{escape(words)}</h3><span class="wb-hint">gap {number(pair["gap"], 2)}{spread}{flag}</span></div>'
            f'<p style="margin:0 0 8px;overflow-wrap:anywhere;white-space:pre-wrap">{escape(str(pair["prompt"]))}</p>'
            f'<div style="display:flex;flex-wrap:wrap;gap:12px 24px">{"".join(sides)}</div>')


def list_html(pairs: Sequence[dict[str, Any]], place: int, count: int = LISTED, replies: bool = True) -> str:
    """Some of the pairs around the one that is read, with their replies or by their prompts alone."""
    if not pairs:
        return ""
    first = min(max(0, place - count // 2), max(0, len(pairs) - count))
    rows, kinds = [], {}
    for line, pair in enumerate(pairs[first:first + count]):
        texts = [str(pair[name]) for name in ("prompt", "chosen_text", "rejected_text")[:3 if replies else 1]]
        rows.append([number(first + line + 1), number(pair["gap"], 2), *(text if len(text) <= 90 else text[:89] + "…" for text in texts),
                     "flagged" if pair["flagged"] else ""])
        kinds[line, len(texts) + 2] = "bad"
        kinds[line, 0] = "mute"
    head = ["", "gap", "prompt", *(["chosen", "rejected"] if replies else []), ""]
    return controls.table_html(head, rows, numeric=[0, 1], kinds=kinds, picked=place - first,
                               caption="The pairs that are read")


class Dial:
    """A slider of whole numbers whose ends change: a new one takes its place then, for a page keeps a slider's first ends for the keys End
    and Home."""

    def __init__(self, hearing: Hearing, call: Any, readout: bool = False):
        import ipywidgets as ipw

        self._hearing, self._call, self._readout = hearing, call, readout
        self.box = ipw.VBox([], layout=ipw.Layout(width="100%"))
        self.slider: Any = None

    def show(self, words: str, value: int, low: int, high: int, disabled: bool) -> None:
        high = max(high, low + 1)
        if self.slider is None or (self.slider.min, self.slider.max) != (low, high):
            self.slider = controls.slider(words, min(max(value, low), high), low, high)
            self.slider.readout = self._readout
            self._hearing.heard(self.slider, self._call)
            self.box.children = (self.slider,)
        _say(self.slider, words)
        _put(self.slider, min(max(value, low), high))
        self.slider.disabled = disabled


class Controls(Hearing):
    """`do` has one function for each thing a person can do; see `actions.py`."""

    def __init__(self, do: Any, view: View):
        import ipywidgets as ipw

        self.source = controls.combobox("Run", [], view.source, placeholder="runs/…, or several with a comma")
        self.step = Dial(self, do.evaluation)
        self.part = controls.toggles("Pairs", [("train", "train"), ("held out", "heldout")], "heldout")
        self.column = controls.dropdown("Categories by", [("–", "")], "")
        self.category = controls.dropdown("Category", [("all", "")], "")
        self.criteria = controls.group("Criteria, weights")
        self._weights: dict[str, Any] = {}
        self.show_pairs = controls.toggles("Read the pairs", [(words, name) for name, words in SHOWN.items()], "suspicious")
        self.bin, self.pair = Dial(self, do.bin), Dial(self, do.pair, readout=True)
        self.explore = controls.button("Select these pairs", "external-link", tooltip="other panels show them: the data explorer",
                                       on_click=do.select)
        self.train = controls.button("Train again without the flagged", tooltip="a new run on the same rows without them",
                                     on_click=do.train)
        self.flag = controls.button("Flag as mislabelled", "flag", "primary", "the pair that is read leaves the next run",
                                    on_click=do.flag)
        self.training = controls.hint("")
        self.column_box = [controls.group("", self.source, self.step.box, self.part, self.column, self.category), self.criteria,
                           controls.group("", self.show_pairs, self.bin.box),
                           controls.actions(self.training, self.explore, self.train, self.flag)]
        self.back = controls.button("Previous", "chevron-left", on_click=lambda: do.turn(-1))
        self.forth = controls.button("Next", "chevron-right", on_click=lambda: do.turn(1))
        self.text, self.list = controls.html(""), controls.html("")
        self.walk = controls.row(self.pair.box, self.back, self.forth)
        for button in (self.back, self.forth):
            button.layout.flex = "0 0 auto"
        self.reader = ipw.VBox([self.text, self.walk, self.list])
        self.reader.layout.width = "100%"
        self.reader.layout.grid_gap = "12px"
        self._do = do
        self._source = view.source
        for widget, call in ((self.source, do.source), (self.part, do.part), (self.column, do.by), (self.category, do.category),
                             (self.show_pairs, do.show)):
            self.heard(widget, call)
        self.show(view)

    def show(self, view: View) -> None:
        """Brings every widget up to date; from any thread, one at a time."""
        with self.showing():
            self._show(view)

    def _show(self, view: View) -> None:
        if tuple(self.source.options) != tuple(view.proposals):
            self.source.options = tuple(view.proposals)
        if view.source != self._source:  # else what was typed stays, also where it was refused
            self._source = view.source
            _put(self.source, view.source)
        at = view.steps.index(view.step) + 1 if view.step in view.steps else 1
        told = f"Step {number(view.step)}{f' of {number(view.total)}' if view.total else ''}" if view.step is not None else "Step"
        self.step.show(f"{told}, evaluation {at} of {max(1, len(view.steps))}", at, 1, len(view.steps), len(view.steps) < 2)
        self.step.box.layout.display = "" if view.step is not None else "none"
        _put(self.part, view.state.part)
        self.part.layout.display = "" if len(view.parts) > 1 else "none"
        _options(self.column, [(name, name) for name in view.columns] or [("–", "")], view.column)
        _options(self.category, [("all", ""), *((name, name) for name in view.categories)], view.state.category)
        self._show_weights(view)
        _put(self.show_pairs, view.state.show if view.state.show in SHOWN else None)
        self.bin.show(view.bin_words or "Bin", view.bin, 0, view.bins - 1, view.bins < 2)
        self.pair.show("Pair", view.place + 1, 1, len(view.pairs), len(view.pairs) < 2)
        self.back.disabled, self.forth.disabled = view.place < 1, view.place >= len(view.pairs) - 1
        one = view.pairs[view.place] if view.pairs else None
        _mark(self.text, pair_html(one, view.words))
        wide, narrow = (list_html(view.pairs, view.place, replies=replies) for replies in (True, False))
        _mark(self.list, f'<div class="wb-roomy-only">{wide}</div><div class="wb-narrow-only">{narrow}</div>' if view.pairs else "")
        self.walk.layout.display = "" if view.pairs else "none"
        _say(self.flag, "Take the flag away" if one and one["flagged"] else "Flag as mislabelled")
        self.flag.disabled, self.explore.disabled = not view.can_flag, not view.pairs
        self.train.layout.display = "" if view.can_train else "none"
        _say(self.train, f"Train again without {number(view.flags)} flagged" if view.flags else "Train again without the flagged")
        self.train.disabled = not view.flags
        _mark(self.training, f'<span class="wb-hint">{escape(view.training)}</span>' if view.training else "")

    def _show_weights(self, view: View) -> None:
        heads = list(view.heads) if len(view.heads) > 1 else []
        if list(self._weights) != heads:
            self._weights = {head: controls.slider(head, 1.0, 0.0, 2.0, 0.05) for head in heads}
            for head, slider in self._weights.items():
                self.heard(slider, lambda value, head=head: self._do.weigh(head, value))
            self.criteria.children = (self.criteria.children[0], *self._weights.values())
        self.criteria.layout.display = "" if heads else "none"
        for head, slider in self._weights.items():
            _put(slider, float(view.state.weights.get(head, 1.0)))


def _put(widget: Any, value: Any) -> None:
    if widget.value != value:
        widget.value = value


def _say(widget: Any, words: str) -> None:
    if widget.description != words:
        widget.description = words


def _mark(widget: Any, markup: str) -> None:
    if widget.value != markup:
        widget.value = markup


def _options(widget: Any, options: list[tuple[str, str]], value: str) -> None:
    """New labels without the change of value that ipywidgets makes of new options."""
    if tuple(widget.options) != tuple(options):
        with widget.hold_sync():
            widget.options = options
            widget.value = value if value in [each for _, each in options] else options[0][1]
    _put(widget, value if value in [each for _, each in options] else options[0][1])
