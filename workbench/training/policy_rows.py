"""What every policy trains with: its prompts as tokens, and the reference that it is held to.

    {"input_ids": [ids], "prompt": [messages], "reference": "..."}
Of a prompt that leaves no room for a reply the beginning is left out. The reference of a policy is the model it starts from: with an
adapter the same weights with the adapter off, with other methods a frozen copy. Not here: replies (`rollouts.py`), rewards (`scoring.py`).
"""

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
import transformers

from workbench.data import prompts
from workbench.data.run_rows import RunRows
from workbench.errors import DataError, RecipeError
from workbench.journal import events as ev
from workbench.models import loading
from workbench.recipes import Recipe, resolve_model
from workbench.templates import chat
from workbench.training import fast_rows, headed, rollouts
from workbench.training.reference import first_logits, off_is_start
from workbench.training.rows import Prepared
from workbench.training.supervised import Job

Row = dict[str, Any]


class TokenReference:
    """`logp(prompt_ids, reply_ids, temperature)`, a value for each token, of the model that a policy starts from. Made before the policy has learned anything."""

    def __init__(self, policy: Any, prompt: list[int]):
        self._policy = policy
        self.copy = None if off_is_start(policy, prompt, first_logits(policy, prompt)) else copy.deepcopy(policy).requires_grad_(False).eval()
        """None where the policy with its adapter off is the reference."""
        self._reader: rollouts.Reader | None = None
        self._within: Callable[[], Any] = contextlib.nullcontext

    def logp(self, prompt_ids: rollouts.Ids, reply_ids: rollouts.Ids, temperature: float = 1.0) -> torch.Tensor:
        """N x T, as `rollouts.Reading` has it."""
        if self._reader is None:  # made where the model is by now
            self._reader = rollouts.Reader(self._policy if self.copy is None else self.copy)
        with self._within(), self.model() as model:
            return self._reader.quietly(model, prompt_ids, reply_ids, temperature).logp

    def ready(self, device: Any, within: Callable[[], Any]) -> None:
        """Put the copy, where there is one, where the policy is; `within` is the trainer's autocast, in which the policy is read too."""
        self._within = within
        if self.copy is not None and not getattr(self.copy, "is_quantized", False):
            self.copy.to(device)

    @contextlib.contextmanager
    def model(self) -> Iterator[Any]:
        """Inside, the reference as a model to read with."""
        if self.copy is not None:
            yield self.copy
        else:
            with self._policy.disable_adapter():
                yield self._policy


@dataclasses.dataclass(slots=True, kw_only=True)
class PolicyJob(Job):
    reference: TokenReference
    replied: list[ev.Replied] = dataclasses.field(default_factory=list)
    """Replies of an evaluation that the journal does not have yet."""


def load_job(recipe: Recipe, found: RunRows) -> PolicyJob:
    """Load, adapt and tokenize. Raises `WorkbenchError` before the first step where something cannot work."""
    if not recipe.method.packs:
        raise RecipeError(f"The method {recipe.method.name} puts tokens of its own before each prompt, and replies are drawn without them.",
                          "Use wb.LoRA(rank=8) or wb.Full().")
    transformers.set_seed(recipe.seed)
    source, rounded = resolve_model(recipe.model), bool(recipe.method.load_kwargs())
    model, tokenizer = loading.load_base(source, recipe.method, device="cuda" if rounded and torch.cuda.is_available() else "cpu")
    fast_rows.choose(model, recipe.attention)
    if loading.classifies(model.config):
        raise RecipeError(f"{recipe.model} is a classifier or reward model, which writes no replies.",
                          'Use a language model, such as model="town".')
    notes = loading.prepare_tokenizer(tokenizer, model.config) + chat.ensure_template(tokenizer)
    max_length = headed.room(recipe, model.config, notes)
    room = max_length - recipe.settings.reply_tokens
    if room < 1:
        raise RecipeError(f"Replies of {recipe.settings.reply_tokens} tokens leave no room for a prompt in {max_length}.",
                          f"Use reply_tokens={max(1, max_length // 2)}, or a larger max_length.")
    tables, cut = {}, 0
    for name, table in found.train.items():
        tables[name], more = _rows(table, tokenizer, room)
        cut += more
    train = [row for table in tables.values() for row in table if row is not None]
    if not train:
        raise DataError("There is no prompt to train on.", 'Give rows with a column "prompt".')
    prepared = _prepared(train, cut)
    headed.mixed(recipe, found, tables, prepared)
    held, held_cut = [], 0
    for table in found.heldout.values():
        rows, more = _rows(table, tokenizer, room)
        held += [row for row in rows if row is not None]
        held_cut += more
    if prepared.truncated:
        notes.append("Of a prompt longer than max_length less reply_tokens the beginning is left out.")
    model.config.use_cache = False
    model = recipe.method.apply(model)
    return PolicyJob(model=model, tokenizer=tokenizer, train=prepared, heldout=_prepared(held, held_cut), heldout_examples=held,
                     max_length=max_length, notes=notes, reference=TokenReference(model, train[0]["input_ids"]))


def _rows(table: Any, tokenizer: Any, room: int) -> tuple[list[Row | None], int]:
    """A row for each row of the table, None where its prompt came before; and how many prompts were cut."""
    out: list[Row | None] = [None] * table.num_rows
    cut = 0
    for example in prompts.read(table):
        ids = chat.prompt_ids(tokenizer, example["prompt"])
        cut += len(ids) > room
        out[example["row"]] = {"input_ids": ids[-room:], "prompt": example["prompt"], "reference": example["reference"]}
    return out, cut


def _prepared(rows: list[Row], truncated: int) -> Prepared:
    tokens = sum(len(row["input_ids"]) for row in rows)
    return Prepared(rows=rows, examples=len(rows), epoch_rows=len(rows), truncated=truncated, tokens=tokens)


def asked(recipe: Recipe, job: PolicyJob) -> list[Row]:
    """The prompts whose replies are shown at an evaluation: of the first held-out rows, or those that the recipe names."""
    wanted = recipe.sample_prompts
    if isinstance(wanted, int):
        return job.heldout.rows[:wanted]
    talks = [[{"role": "user", "content": text}] for text in wanted]
    return [{"input_ids": chat.prompt_ids(job.tokenizer, talk), "prompt": talk, "reference": ""} for talk in talks]


def together(rows: list[Row]) -> dict[str, Any]:
    """A batch: the rows themselves, and of a mixture their `sources`."""
    batch: dict[str, Any] = {"rows": rows}
    if "source" in rows[0]:
        batch["sources"] = [row["source"] for row in rows]
    return batch
