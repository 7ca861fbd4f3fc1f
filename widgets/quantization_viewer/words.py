"""The viewer in words: the sentence under the figure, and the lines about numbers that cannot be shown.

Pure. The sentence says what went wrong first, else what this scheme costs and what would cost less. Code is written in `code.py`.
"""

import math

import numpy as np

from widgets.frame.sheet import number
from widgets.frame.status import Sentence
from widgets.quantization_viewer.drawing import amount, decibels, perplexity, unit_of
from widgets.quantization_viewer.looks import ActivationLook, FailureLook, Line, ModelLook, TensorLook, TrainingLook
from widgets.quantization_viewer.state import Choice
from widgets.quantization_viewer.tensor_tree import POOR_DB, module_of

ROW_OUTLIER = 8.0
"""A row whose largest weight is so many times that of the row in the middle is an outlier."""
MUCH_WORSE = 0.1
"""Share that perplexity may rise before it is a warning."""

UNSPLIT = ("Which columns it leaves in 16 bits is seen from activations, and a tensor alone has none: bars, levels and dB are those of "
           "every column in int8 vector-wise. A layer's activations show the split.")
"""What LLM.int8() is where one tensor is shown, calibrated or not."""

HELP = (
    "Quantizing writes each weight as one of a few levels, a code times a scale. Grey bars are the weights, blue lines the levels; the "
    "second picture is how far the weights move. SQNR is 10·log10 of the weights' power over the error's: 6 dB more is half the error. "
    "Absmax, zero-point, vector-wise and LLM.int8() are as in Dettmers et al. 2022 (LLM.int8(), sections 2.1 and 3), NF4 and double "
    "quantization as in QLoRA (Dettmers et al. 2023, section 3). One large value costs everything that shares its scale; what helps is a "
    "scale of its own."
)


def summary(look: object, lines: list[Line], base: tuple[float | None, float], said: str) -> Sentence:
    """What the figure shows now; `said` where there is nothing yet."""
    if look is None:
        return Sentence("idle", said)
    if isinstance(look, TensorLook):
        said = _tensor(look, lines, base)
        return Sentence(said.kind, f"{said.text} {UNSPLIT}") if look.choice.scheme == "LLM.int8()" else said
    if isinstance(look, FailureLook):
        return _failure(look)
    if isinstance(look, ActivationLook):
        return _activations(look)
    return _model(look) if isinstance(look, ModelLook) else _training(look)


# ---- one tensor

def _tensor(look: TensorLook, lines: list[Line], base: tuple[float | None, float]) -> Sentence:
    choice, name = look.choice, short(look.name)
    others = {line.choice.key: line.sqnr_db for line in lines if line.sqnr_db is not None}
    if look.row_ratio >= ROW_OUTLIER:
        return _row_outlier(look, others)
    measured = next((line for line in lines if line.choice.key == choice.key and line.perplexity is not None), None)
    bits = number(look.bits_per_weight, 2).rstrip("0").rstrip(".")
    kept = f"{choice.label} keeps {name} at {decibels(look.sqnr_db)} dB in {bits} bits per weight"
    if look.sqnr_db == math.inf:
        kept = f"{choice.label} keeps {name} exactly"
    if measured is not None and base[0] is not None:
        return _cost(kept, measured.perplexity, base, measured.size)
    if look.sqnr_db < POOR_DB:
        better = max(others, key=others.__getitem__, default=None)
        hint = f"; {better.label} keeps {decibels(others[better])} dB" if better is not None and others[better] > look.sqnr_db + 3 else ""
        return Sentence("warn", f"{kept}: the error is {number(100 * 10 ** (-look.sqnr_db / 20))} % of the weights{hint}.")
    if look.rival is not None and look.rival_db is not None and math.isfinite(look.sqnr_db):
        more = look.sqnr_db - look.rival_db
        how = "as good as" if abs(more) < .05 else f"{number(abs(more), 1)} dB {'better' if more > 0 else 'worse'} than"
        kept += f", {how} {look.rival.label}"
    sampled = "" if look.exact else " (a sample; the exact number follows)"
    return Sentence("ok", f"{kept}{sampled}.")


def _row_outlier(look: TensorLook, others: dict[Choice, float]) -> Sentence:
    choice = look.choice
    times = f"One row of {short(look.name)} holds a weight {number(look.row_ratio)} times the rest"
    if choice.scheme in ("absmax", "zero-point"):
        lost = min(math.log2(look.row_ratio), choice.bits)
        text = f"{times}: {choice.scheme} spends {number(lost, 1)} of {choice.bits} bits on it and keeps {decibels(look.sqnr_db)} dB"
        cure = others.get(Choice("vector-wise", choice.bits).key)
        return Sentence("warn", f"{text}; vector-wise keeps {decibels(cure)} dB." if cure is not None else f"{text}.")
    hurt = others.get(Choice("absmax", choice.bits).key)
    each = "block" if choice.blocks else "row"
    text = f"{times}: {choice.label}, with scales of its own for each {each}, keeps {decibels(look.sqnr_db)} dB"
    if choice.width == 16:
        text = f"{times}: {choice.label} keeps {decibels(look.sqnr_db)} dB all the same"
    return Sentence("ok", f"{text}, absmax in {choice.bits} bits {decibels(hurt)}." if hurt is not None else f"{text}.")


def _cost(kept: str, now: float | None, base: tuple[float | None, float], size: float | None) -> Sentence:
    size_bytes, word = unit_of(base[1])
    small = f"{amount(base[1] / size_bytes)} → {amount(size / size_bytes)} {word}, " if size else ""
    worse = now / base[0] - 1
    return Sentence("warn" if worse > MUCH_WORSE or not math.isfinite(now) else "ok",
                    f"{kept}; the whole model: {small}perplexity {perplexity(base[0])} → {perplexity(now)}.")


# ---- the others

def _failure(look: FailureLook) -> Sentence:
    values = dict(look.schemes)
    lost, kept = (f"{decibels(values[name])} dB" for name in (look.fails, look.cure))
    times = number(look.ratio)
    first = {
        "weight row": f"One weight row is {times} times the rest: {look.fails} has one scale for all rows and keeps the others at {lost}; "
                      f"{look.cure}, with a scale for each row, at {kept}",
        "token": f"One token is {times} times the rest: {look.fails} has one scale for all tokens and keeps the others at {lost}; "
                 f"{look.cure}, with a scale for each token, at {kept}",
        "feature": f"One input feature is {times} times the rest in every token: {look.fails} suffers on all others, at {lost}; "
                   f"{look.cure} leaves that column in 16 bits and keeps them at {kept}",
    }[look.kind]
    return Sentence("warn" if values[look.fails] < values[look.cure] - 3 else "ok", first + ".")


def _activations(look: ActivationLook) -> Sentence:
    out = look.outliers
    verb = "exceeds" if len(out) == 1 else "exceed"
    features = f"{number(len(out))} of {number(len(look.maxima))} input features of {short(look.name)} {verb} {number(look.threshold, 1)}"
    worst = max(look.schemes, key=lambda of: of[1] - of[2], default=None)
    parts = [features if len(out)
             else f"No input feature of {short(look.name)} exceeds {number(look.threshold, 1)}, so LLM.int8() is vector-wise here; "
                                       f"the largest is {number(float(look.maxima.max(initial=0.0)), 1)}"]
    if worst is not None and worst[1] - worst[2] > 1:
        parts.append(f"static scales cost {number(worst[1] - worst[2], 1)} dB against dynamic ones ({worst[0]})")
    return Sentence("warn" if len(out) > .2 * len(look.maxima) else "ok", "; ".join(parts) + ".")


def _model(look: ModelLook) -> Sentence:
    if look.base is None:
        return Sentence("idle", "Nothing is measured yet: press Measure perplexity.")
    known = [line for line in look.lines if line.perplexity is not None and line.size]
    parts = [f"As it came, the model has a perplexity of {perplexity(look.base)}"]
    good = [line for line in known if line.perplexity <= 1.01 * look.base]
    size, word = unit_of(look.base_size)
    if good:
        best = min(good, key=lambda line: line.size)
        sizes = f"{amount(look.base_size / size)} → {amount(best.size / size)} {word}"
        parts.append(f"{best.choice.label} is the smallest that costs at most 1 % of it: {sizes}")
    elif known:
        best = min(known, key=lambda line: line.perplexity)
        parts.append(f"the best measured is {best.choice.label} with {perplexity(best.perplexity)} in {amount(best.size / size)} {word}")
    if look.sensitivity:
        name, value = max(look.sensitivity, key=lambda of: of[1])
        parts.append(f"{look.scheme} costs most in {module_of(name)}, {number(100 * (value / look.base - 1), 1)} %")
    bad = bool(known) and not good
    return Sentence("warn" if bad else "ok", "; ".join(parts) + ".")


def _training(look: TrainingLook) -> Sentence:
    if not len(look.plain[0]) or not len(look.aware[0]):
        which = "Neither run" if not len(look.plain[0]) and not len(look.aware[0]) else "One of the runs"
        return Sentence("idle", f"{which} has no held-out loss yet: give two runs with held-out rows.")
    before, aware = float(look.plain[1][-1]), float(look.aware[1][-1])
    text = f"Held-out loss {number(before, 3)} in 16 bits, {number(aware, 3)} trained in {look.bits} bits"
    if look.after is None:
        return Sentence("ok", f"{text}; press Quantize it after to see what {look.bits} bits cost a model that was not trained for them.")
    text += f", {number(look.after, 3)} quantized after training"
    gain = look.after - aware
    if gain > .005:
        cost = number(look.after - before, 3)
        return Sentence("ok", f"{text}: training with it wins back {number(gain, 3)} of the {cost} nats that {look.bits} bits cost.")
    return Sentence("ok", f"{text}: at {look.bits} bits training with it wins nothing here.")


def short(name: str) -> str:
    """A tensor's name as a sentence says it: without what every name of a model begins and ends with."""
    return module_of(name).removeprefix("model.")


def row_outlier(rows: np.ndarray) -> tuple[float, int]:
    """(how many times the largest magnitude of any row is that of the row in the middle, which row), of the rows' largest magnitudes."""
    rows = np.asarray(rows, float)
    if not len(rows):
        return 1.0, 0
    middle, most = float(np.median(rows)), int(np.argmax(rows))
    return (float(rows[most]) / middle if middle > 0 else 1.0), most
