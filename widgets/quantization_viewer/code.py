"""The viewer as Python: the few lines that compute what its figure shows, without it. Pure."""

from pathlib import Path
from typing import Any

from widgets.quantization_viewer.knowledge import is_run, whole_result
from widgets.quantization_viewer.state import State
from workbench.recipes import TOWN_MODELS

MERGE = "model = model.merge_and_unload() if hasattr(model, 'merge_and_unload') else model"
MERGED = ["merged = lambda model: model.merge_and_unload() if hasattr(model, 'merge_and_unload') else model"]


def code(state: State, tensor: str, layer: str, given: str, texts: bool, rounding: dict[str, Any] | None = None) -> str:
    """Python for what is shown now. `tensor` and `layer` are the picked one's full name and that of its module.

    `rounding` is how the second of two runs was trained quantized, as `Runs.settings` has it; None where two runs are not there.
    `given` says what was given in memory and stands there as `model`: "tensors", "pair" or "" where `state.model` names it; `texts` whether
    texts were given too.
    """
    if state.failure:
        return _failure(state)
    if state.view == "training":
        return _training(state, rounding)
    if state.view == "tensor":
        return _tensor(state, tensor, given)
    return (_activations if state.view == "activations" else _model)(state, layer, given, texts)


def _settings(state: State) -> str:
    return "".join(f", {name}={value!r}" for name, value in state.choice.arguments.items())


def _weights(state: State, given: str) -> tuple[str, list[str]]:
    """What `open_weights` is called with, and the lines before it."""
    if given:
        model = {"pair": "dict(model[0].named_parameters())", "model": "dict(model.named_parameters())"}.get(given, "model")
        return model, [f"# model: the {given} that this panel was given"]
    if state.model in TOWN_MODELS:
        return f"resolve_model({state.model!r})", ["from workbench.recipes import resolve_model"]
    path = Path(state.model).expanduser()
    if not is_run(path):
        return repr(state.model), []
    if whole_result(path):
        return repr(whole_result(path)), []
    return f"dict(merged(wb.attach({state.model!r}).load()[0]).named_parameters())", ["import workbench as wb", *MERGED]


def _loaded(state: State, given: str, texts: bool) -> list[str]:
    """The lines after which there are `model`, `tokenizer` and `texts`."""
    if given:
        lines = ["# model: the pair (model, tokenizer) that this panel was given", "model, tokenizer = model"]
    else:
        run = is_run(Path(state.model).expanduser())
        lines = [f"model, tokenizer = wb.{'attach' if run else 'load'}({state.model!r}){'.load()' if run else ''}"]
        lines += [MERGE] if run else []
    if texts:
        return lines + ["# texts: those that this panel was given, as a list"]
    return lines + ["sorts = ('biography', 'letter', 'message', 'minutes')",
                    "texts = [text for sort in sorts for text in documents.of_sort(sort, 12, seed=22)]"]


def _imports(state: State, given: str, texts: bool) -> list[str]:
    return [*([] if given else ["import workbench as wb"]), *([] if texts else ["from workbench.town import documents"])]


def _tensor(state: State, tensor: str, given: str) -> str:
    source, before = _weights(state, given)
    return "\n".join(["from workbench.quantization import inspect, open_weights, overview", *before, "",
                      f"weights = open_weights({source})",
                      f"found = inspect(weights, {tensor!r}, {state.choice.scheme!r}{_settings(state)})   # histogram, levels, errors",
                      "print(found.sqnr_db, found.mse, found.max_error, found.bits_per_weight)",
                      f"rows = overview(weights, {state.choice.scheme!r}{_settings(state)})   # every tensor",
                      "errors = {row.name: row.sqnr_db for row in rows}"])


def _activations(state: State, layer: str, given: str, texts: bool) -> str:
    bits = state.choice.arguments.get("bits", 8)
    return "\n".join([*_imports(state, given, texts), "from workbench.quantization.activations import collect, compare",
                      "from workbench.quantization.layers import linear_layers, matrix", "",
                      *_loaded(state, given, texts),
                      "seen, unseen = collect(model, tokenizer, texts[::2]), collect(model, tokenizer, texts[1::2])",
                      f"layer = {layer!r}",
                      "largest = seen[layer].column_maxima.maximum(unseen[layer].column_maxima)",
                      f"outliers = (largest > {state.threshold!r}).nonzero().flatten()",
                      "weight = matrix(linear_layers(model)[layer])",
                      f"rows = compare(weight, seen[layer], unseen[layer].sample, bits={bits}, threshold={state.threshold!r})",
                      "print([(row.scheme, row.dynamic_db, row.static_db, row.output_db) for row in rows])"])


def _model(state: State, _layer: str, given: str, texts: bool) -> str:
    inputs = "" if state.activations == "16-bit" else f", activations={state.activations!r}, threshold={state.threshold!r}"
    calibrate = ["calibration = collect(model, tokenizer, texts[::2])"] if state.activations == "static" else []
    inputs += ", calibration=calibration" if calibrate else ""
    arguments = f"{state.choice.scheme!r}{_settings(state)}{inputs}"
    return "\n".join([*_imports(state, given, texts), *(["from workbench.quantization.activations import collect"] if calibrate else []),
                      "from workbench.quantization.models import perplexity, quantized_model, sensitivity", "",
                      *_loaded(state, given, texts), *calibrate, "unseen = texts[1::2] or texts",
                      "before = perplexity(model, tokenizer, unseen)",
                      f"with quantized_model(model, {arguments}) as sizes:",
                      "    after = perplexity(model, tokenizer, unseen)",
                      "print(before, after, sizes.bits_per_weight)",
                      f"rows = list(sensitivity(model, tokenizer, unseen, {arguments}, base=before))   # one layer at a time"])


def _training(state: State, rounding: dict[str, Any] | None) -> str:
    """What `Runs.measure` does, written out."""
    if rounding is None:
        return "# Name two runs: one trained plainly, and one with method=wb.QAT(bits=...)."
    settings = ", ".join(f"{name}={value!r}" for name, value in rounding.items())
    return "\n".join(["import pandas as pd", "", "import workbench as wb", "from workbench.data import run_rows",
                      "from workbench.evaluation.row_losses import row_losses",
                      "from workbench.quantization.layers import linear_layers",
                      "from workbench.quantization.models import quantized_model", "",
                      f"plain, aware = wb.attach({state.plain!r}), wb.attach({state.aware!r})",
                      "for run in (plain, aware):", "    run.history.refresh()",
                      "    print(run.name, [(event.step, event.loss) for event in run.history.evaluations])",
                      "model, tokenizer = plain.load()", MERGE,
                      "head = model.get_output_embeddings()   # which training leaves as it is",
                      "layers = [name for name, module in linear_layers(model).items() if module is not head]",
                      "tables = [table for table in run_rows.read(plain.folder).heldout.values() if table is not None and table.num_rows]",
                      "recipe = plain.recipe",
                      "only = recipe.completions_only and recipe.objective == 'sft'",
                      f"with quantized_model(model, {settings}, layers=layers):   # as the other run was trained",
                      "    losses = pd.concat([row_losses((model, tokenizer), table, max_length=recipe.max_length, completions_only=only)",
                      "                        for table in tables])",
                      "after = (losses['loss'] * losses['tokens']).sum() / losses['tokens'].sum()", "print(after)"])


def _failure(state: State) -> str:
    return "\n".join(["from workbench.quantization import failures", "",
                      f"failure = failures.make({state.failure!r})",
                      f"effects = [failures.measure(failure, scheme, {state.bits}, threshold={state.threshold!r})",
                      "           for scheme in ('absmax', 'zero-point', 'vector-wise', 'block-wise', 'NF4')]",
                      f"effects += [failures.measure(failure, 'LLM.int8()', threshold={state.threshold!r})]",
                      "print(failure.outlier, [(effect.scheme, effect.rest_sqnr_db) for effect in effects])"])
