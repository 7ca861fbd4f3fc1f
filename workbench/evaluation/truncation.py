"""The loss of an adapter cut to smaller ranks, on held-out rows, at once: one model is loaded, and only the factors in it change.

A cut is the best of its rank for ΔW (`workbench.adapters.truncate`), which is not the best for the loss: a run *trained* at that rank may
be better (`wb.sweep`). Of DoRA the direction is cut and the magnitude kept. Not here: writing the cut adapter.

Shapes: of a matrix, A is [r × d_in] and B is [d_out × r].
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import recipes
from workbench.adapters.opening import Adapter, open_adapter, result_folder
from workbench.adapters.truncate import projected, refuse_moved_base
from workbench.data import run_rows, sources
from workbench.errors import DataError, RunError, WorkbenchError
from workbench.evaluation.row_losses import row_losses
from workbench.runs.attach import attach
from workbench.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int], None]
"""Called with rows scored and rows to score in all, over all ranks; what it raises stops the work."""


def truncation_losses(source: Any, ranks: int | Iterable[int] | None = None, rows: Any = None, *, base: str | None = None,
                      progress: Progress | None = None) -> "pd.DataFrame":
    """DataFrame(rank, loss, parameters): the loss of the adapter cut to each rank, in nats per trained token (of a classifier per row), in
    the order asked for.

    `source` is a run, its folder or an adapter's; `ranks` are 1, 2, 4, ... up to the adapter's own unless given; 0 is the base model alone
    (of DoRA with its magnitudes), more than there is the adapter as it is. `rows` are the run's held-out ones unless given (whatever
    `wb.load_rows` takes), read as the run read its own. `parameters` is how many numbers the cut factors have. Raises `WorkbenchError`
    where there is no LoRA adapter, or no row to score on, and `RunError` where the run has no result yet.
    """
    import pandas as pd
    import torch

    adapter = open_adapter(result_folder(source))
    refuse_moved_base(adapter)
    wanted = _ranks(adapter, ranks)
    run = source if isinstance(source, Run) else _run_of(source)
    tables = _tables(run, rows)
    model, tokenizer = run.load() if run else recipes.load(str(adapter.path), **({"base": recipes.resolve_model(base)} if base else {}))
    cuts = _cuts(adapter, model, sorted(set(wanted)))
    count = sum(table.num_rows for table in tables)
    found: dict[int, float] = {}
    for rank in sorted(set(wanted), reverse=True):
        with torch.no_grad():
            for parameter, by_rank in cuts:
                parameter.copy_(by_rank[rank])
        found[rank] = _loss(run, model, tokenizer, tables, _from(progress, len(found) * count, len(set(wanted)) * count))
    size = {rank: sum(factor.parameters // factor.rank * min(rank, factor.rank) for factor in adapter.factors) for rank in found}
    return pd.DataFrame({"rank": wanted, "loss": [found[rank] for rank in wanted], "parameters": [size[rank] for rank in wanted]})


def _ranks(adapter: Adapter, ranks: int | Iterable[int] | None) -> list[int]:
    most = max(factor.rank for factor in adapter.factors)
    if ranks is None:
        return [*(1 << power for power in range(most.bit_length()) if 1 << power < most), most]
    wanted = [ranks] if isinstance(ranks, int) else list(ranks)
    for rank in wanted:
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 0:
            raise WorkbenchError(f"A rank of {rank!r} is none.", "Use ranks=[1, 2, 4].")
    if not wanted:
        raise WorkbenchError("There is no rank to cut to.", "Use ranks=[1, 2, 4].")
    return wanted


def _run_of(source: Any) -> Run | None:
    path = Path(getattr(source, "folder", source)).expanduser()
    return attach(path) if any((path / name).exists() for name in ("recipe.json", "journal.jsonl")) else None


def _tables(run: Run | None, rows: Any) -> list[Any]:
    """The rows to score on, as Arrow tables."""
    if rows is not None:
        tables = [rows if hasattr(rows, "to_batches") else sources.load_rows(rows)]
    elif run is None:
        raise DataError("An adapter alone has no held-out rows.", 'Give some: rows="town:instructions".')
    else:
        try:
            tables = list(run_rows.read(run.folder).heldout.values())
        except OSError as error:
            raise RunError(f"The rows of {run.name} cannot be read: {error.strerror or error}.",
                           'Give some: rows="town:instructions".') from error
    if not sum(table.num_rows for table in tables):
        raise DataError("There are no rows to score on.", 'Give some: rows="town:instructions".')
    return tables


def _cuts(adapter: Adapter, model: Any, ranks: Sequence[int]) -> list[tuple[Any, dict[int, Any]]]:
    """(B in the model, rank -> what it becomes) of every matrix."""
    inside = {name: parameter for name, parameter in model.named_parameters() if ".lora_B." in name or ".lora_embedding_B." in name}
    found = []
    for factor in adapter.factors:
        start = f"base_model.model.{factor.name}.lora_{'embedding_' if factor.kind == 'embedding' else ''}B."
        parameter = next((parameter for name, parameter in inside.items() if name.startswith(start)), None)
        if parameter is None:
            raise WorkbenchError(f"The loaded model has no {factor.name} that the adapter could change.", "Give the base it was trained on: base=...")
        found.append((parameter, {rank: b.reshape(parameter.shape) for rank, b in projected(factor, list(ranks)).items()}))
    return found


def _loss(run: Run | None, model: Any, tokenizer: Any, tables: list[Any], progress: Progress) -> float:
    """Mean over all trained tokens, as a run's own held-out loss is; of a classifier over all rows."""
    from workbench import probes

    asked = run.recipe if run else None
    if asked is not None and asked.objective == "classification":
        losses = []
        for table in tables:
            try:
                losses += probes.of(asked, model, tokenizer, asked.max_length).answer("losses", {"rows": table.to_pylist()})
            except ValueError as error:  # a label that the classifier does not know
                raise DataError(str(error), "Give rows with the labels it was trained on.") from error
            progress(len(losses), len(losses))
        return sum(losses) / len(losses)
    options: dict[str, Any] = {"max_length": asked.max_length, "completions_only": asked.completions_only and asked.objective == "sft"} if asked else {}
    nats, tokens, done = 0.0, 0, 0
    for table in tables:
        each = row_losses((model, tokenizer), table, progress=_from(progress, done, 0), **options)
        nats, tokens, done = nats + float((each["loss"] * each["tokens"]).sum()), tokens + int(each["tokens"].sum()), done + table.num_rows
    if not tokens:
        raise DataError("None of the rows has a token that is trained.", "Give longer rows, or a larger max_length.")
    return nats / tokens


def _from(progress: Progress | None, before: int, total: int) -> Progress:
    """Progress of a part as that of the whole."""
    return lambda done, of: progress(before + done, total or of) if progress is not None else None
