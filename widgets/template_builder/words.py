"""The template builder in words: the sentence under it, why the template cannot be used, and the Python that does the same without a panel.

Pure: everything comes from a `Sample`, a `Fault` and a `State`. Says the worst thing first.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.template_builder.reading import Fault, Sample
from widgets.template_builder.state import SHOWN, State, options_of, originals, task_of, templates_of
from workbench.errors import WorkbenchError
from workbench.templates import chat, gate
from workbench.templates.tasks import Template

HELP = ("A template turns a row into what the model reads and what it must write. Grey tokens are read and never trained; blue ones are "
        "the answer, and the loss is the mean over them alone (completions only). What stands behind max length is cut off, so a long prompt "
        "can leave nothing to train on: such rows are dropped, and over 1 % of them refuses the template. Several wordings of one task make a "
        "model less sensitive to the wording (Sanh et al. 2022, T0); templates are those of promptsource (Bach et al. 2022).")
SURE = 0.05
"""A share over 1 % is told of all rows where so many dropped ones in a sample would come by chance less often than this."""


def summary(state: State, sample: Sample | None, fault: Fault | None, admitted: Any = None, waiting: str = "") -> Sentence:
    """What the picture shows now, the worst first."""
    if fault is not None:
        where = fault.where[:1].upper() + fault.where[1:] + ": " if fault.where else ""
        told = fault.sentence.split(": ", 1)[-1] if fault.where and fault.sentence.startswith("Line") else fault.sentence
        last = " Showing the last good template." if sample is not None and fault.control not in ("use", "file", "columns") else ""
        return Sentence("warn", f"{where}{told}{last}")
    if sample is None:
        return Sentence("idle", waiting or "Nothing to show yet: no rows given.")
    if sample.too_long:
        more = len(sample.too_long) - 1
        others = f" So {'are' if more > 1 else 'is'} {number(more)} other{'s' if more > 1 else ''}." if more else ""
        return Sentence("warn", f"{sample.too_long_words}{others} {_rows(sample)} are shown.")
    if refused(sample):
        return Sentence("warn", f"Not usable yet: {_dropped(sample)}{_lost(sample, '; ')}.")
    if admitted is not None:
        return Sentence("ok", used(admitted, sample.rows))
    if sample.judged.dropped.counts:
        return Sentence("warn", f"{_dropped(sample)[:1].upper()}{_dropped(sample)[1:]}{_lost(sample, '; ')}; {_about_all(sample)}.")
    if sample.judged.truncated:
        return Sentence("warn", f"{_lost(sample)}; max length is {number(state.max_length)} tokens, the longest row has "
                                f"{number(int(sample.judged.lengths.max()))}.")
    return Sentence("ok", _fine(state, sample))


def refused(sample: Sample) -> bool:
    """Whether more than 1 % of all rows train on nothing: known of a whole, and of a sample where chance does not explain it."""
    lost, seen = sample.judged.dropped.counts.total(), len(sample.masks)
    return sample.judged.refusal is not None and (sample.whole or by_chance(lost, seen) < SURE)


def by_chance(lost: int, seen: int, share: float = gate.TOLERATED_SHARE) -> float:
    """The chance of at least `lost` dropped ones in a sample of `seen`, if `share` of all rows are (binomial)."""
    return 1 - sum(math.comb(seen, k) * share**k * (1 - share) ** (seen - k) for k in range(lost))


def _rows(sample: Sample) -> str:
    what = "rows" if len(set(sample.examples.rows)) == len(sample.examples.rows) else "examples"
    return f"{number(len(sample.masks))} {'' if sample.whole else 'sampled '}{what}"


def _dropped(sample: Sample) -> str:
    counts = sample.judged.dropped.counts
    reason, _ = counts.most_common(1)[0]
    if reason == gate.CUT_OFF:
        why = f"because the prompt alone fills all {number(sample.judged.max_length)}"
    else:
        why = "because the answer is empty"
    lost = counts.total()
    return f"{number(lost)} of {_rows(sample)} would train on no token, {why}"


def _lost(sample: Sample, before: str = "") -> str:
    count = sample.judged.truncated
    if not count:
        return ""
    return f"{before}{number(count)} {'row loses' if count == 1 else 'rows lose'} part of {'its' if count == 1 else 'their'} answer"


def _about_all(sample: Sample) -> str:
    if sample.whole:
        return "they are left out" if sample.judged.dropped.counts.total() > 1 else "it is left out"
    return f"over {gate.TOLERATED_SHARE:.0%} of all {number(sample.rows)} would refuse the template, and Use counts them"


def _fine(state: State, sample: Sample) -> str:
    judged = sample.judged
    share = judged.trained.sum() / judged.lengths.sum()
    length, trained = int(np.median(judged.lengths)), int(np.median(judged.trained))
    left = sum(sample.examples.left_out.values())
    room = f"the longest has {number(int(judged.lengths.max()))} of {number(state.max_length)}"
    silent = f"; {number(left)} {'row is' if left == 1 else 'rows are'} left out by the template's own conditions" if left else ""
    return (f"{_rows(sample)} train on {100 * share:.0f} % of their tokens, a row in the middle on {number(trained)} of {number(length)}; "
            f"{room}{silent}.")


def reason(sample: Sample | None, fault: Fault | None) -> str:
    """Why the template cannot be used, for the line above the button; "" where it can."""
    if fault is not None:
        return "Mend the template first." if fault.control in ("input", "target", "answer_choices", "system", "wording") else \
            "Mend what is marked first."
    if sample is not None and sample.too_long:
        names = ", ".join(number(row + 1) for row in sample.too_long[:4]) + (", …" if len(sample.too_long) > 4 else "")
        return f"Row {names} is too long. Shorten it, or leave it out." if len(sample.too_long) == 1 else f"Rows {names} are too long. Shorten them, or leave them out."
    if sample is None or not refused(sample):
        return ""
    count = sample.judged.dropped.counts.total()
    what = f"{number(count)} {'row trains' if count == 1 else 'rows train'} on nothing."
    if sample.judged.dropped.counts.most_common(1)[0][0] == gate.CUT_OFF:
        return f"{what} Raise the max length above {number(sample.judged.max_length)}, or drop them."
    return f"{what} Fill their answers, or drop them."


def used(admitted: Any, rows: int) -> str:
    """What `panel.admitted` holds."""
    judged, kept = admitted.judged, admitted.table.num_rows
    dropped = judged.dropped.counts.total()
    what = f"{number(kept)} examples of {number(rows)} rows" if kept != rows else f"{number(rows)} rows"
    out = f", {number(dropped)} dropped" if dropped else ""
    cut = f", {number(judged.truncated)} cut short" if judged.truncated else ""
    return (f"In use: panel.admitted.table holds {what}, {number(int(judged.trained.sum()))} of {number(int(judged.lengths.sum()))} tokens "
            f"trained{out}{cut}.")


def chat_name(tokenizer: Any) -> str:
    """What the chat template of a tokenizer is, as far as its marks tell."""
    template = str(tokenizer.chat_template or "")
    if template == chat.PLAIN_TEMPLATE or "'User: '" in template or "}User: {" in template:
        return "plain lines (it has none)"
    known = {"<|im_start|>": "ChatML", "<|start_header_id|>": "Llama 3", "[INST]": "Llama 2 or Mistral", "<start_of_turn>": "Gemma"}
    found = next((name for mark, name in known.items() if mark in template), "")
    return f"the tokenizer's ({found})" if found else "the tokenizer's"


# ---- code

def code(state: State, given_tokenizer: bool = False) -> str:
    """Python that renders and admits the same examples, and the recipe that trains on them."""
    lines = ["import workbench as wb"]
    lines += ["from workbench.templates import promptsource"] if state.yaml and state.file else []
    lines += [] if given_tokenizer else ["from workbench.recipes import load_tokenizer"]
    body = ["", f"rows = wb.load_rows({state.source!r})" if state.source else "# rows: the ones given to this panel", *_task(state)]
    if any("replace(" in line for line in body):
        lines.insert(0, "from dataclasses import replace\n")
    loaded = f"tokenizer = load_tokenizer({state.tokenizer!r})"
    body.append("# tokenizer: the one given to this panel" if given_tokenizer else loaded)
    try:
        options = options_of(state, task_of(state))
    except WorkbenchError:
        return "\n".join([*lines, *body])  # what cannot be inverted is shown as it is written
    given = dict(max_length=state.max_length) | ({} if state.completions_only else dict(completions_only=False)) | options
    arguments = "".join(f", {name}={value!r}" for name, value in given.items())
    recipe = f", max_length={state.max_length}" + ("" if state.completions_only else ", completions_only=False")
    model = f"model={state.tokenizer!r}, " if state.tokenizer and not given_tokenizer else ""
    return "\n".join([*lines, *body, f"admitted = task.admit(rows, tokenizer{arguments})",
                      f"recipe = wb.Recipe({model}data=admitted.table{recipe})"])


def _task(state: State) -> list[str]:
    templates = templates_of(state)
    system = f", system={state.system!r}" if state.system else ""
    if not (state.yaml and state.file):
        made = [f"    {_template(template, state.inverted)}," for template in templates]
        whole = task_of(state)
        of = "".join(f", {name}={getattr(whole, name)!r}" for name in ("dataset", "subset", "extra") if getattr(whole, name))
        return [f"task = wb.Task(name={state.task!r}{of}{system}, templates=(", *made, "))"]
    lines, parts, changed = [f"task = promptsource.read({state.file!r})"], [], bool(state.inverted)
    for fields, template in zip(state.templates, templates, strict=True):
        original = fields.get("original")
        edits = {name: getattr(template, name) for name in SHOWN
                 if original and (fields.get(name) != _plain(state, original, name))}
        part = f"task[{original!r}]" if original else _template(template, False)
        if original and edits:
            part = f"replace({part}, {', '.join(f'{name}={value!r}' for name, value in edits.items())})"
        changed = changed or bool(edits) or not original
        parts.append(f"wb.invert({part})" if state.inverted else part)
    if changed or len(parts) != len(originals(state.yaml)):
        lines += ["task = replace(task, templates=(", *(f"    {part}," for part in parts), "))"]
    if state.system:
        lines.append(f"task = replace(task, system={state.system!r})")
    return lines


def _plain(state: State, original: str, name: str) -> Any:
    return next((getattr(template, name) for template in originals(state.yaml) if template.name == original), None)


def _template(template: Template, inverted: bool) -> str:
    plain = {field.name: field.default for field in dataclasses.fields(Template) if field.default is not dataclasses.MISSING}
    given = {field.name: getattr(template, field.name) for field in dataclasses.fields(Template)}
    given = {name: value for name, value in given.items() if value != plain.get(name, {})}
    made = f"wb.Template({', '.join(f'{name}={value!r}' for name, value in given.items())})"
    return f"wb.invert({made})" if inverted else made
