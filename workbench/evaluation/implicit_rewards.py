"""Rewards of a run that learned from preferences directly: how much likelier it holds a reply than the model that it started from did.

    reward_gaps(run, "town:preferences_heldout")          run being one with objective "dpo", "ipo", "kto", "orpo" or "rrhf"

What the reward is under each objective says `training/preference_terms.py`; beta is the run's own, as it was last changed. Not here:
tables of gaps (`rewards.py`), and rewards that such a run kept while it trained (`kept_gaps.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.alignment import preference_objectives
from workbench.models import loading
from workbench.recipes import load, resolve_model
from workbench.runs.attach import attach
from workbench.runs.run import Run

if TYPE_CHECKING:
    import numpy as np


@dataclass(slots=True)
class ImplicitRewards:
    """The policy of a run, the model it started from (None where the objective needs none), and how they make a reward."""

    policy: Any
    tokenizer: Any
    reference: Any
    settings: Any
    beta: float
    max_length: int

    def scores(self, rows: Sequence[dict[str, Any]], batch_size: int = 32, max_length: int | None = None) -> "np.ndarray":
        """M: the reward of each reply of rows with a `prompt` and `replies` (messages), float32."""
        import torch

        from workbench.training import preference_terms, reply_rows

        length = min(max_length or self.max_length, getattr(self.policy.config, "max_position_embeddings", None) or self.max_length)
        told, _ = reply_rows.encode(self.tokenizer, list(rows), length)
        own, lengths = _logps(self.policy, told, batch_size)
        other = None if self.reference is None else _logps(self.reference, told, batch_size)[0]
        return preference_terms.implicit_rewards(self.settings, self.beta, own, lengths, other).to(torch.float32).numpy()


def of(source: Any) -> ImplicitRewards | None:
    """Of a run, or its folder, that learned from preferences; None of anything else. Raises as `Run.load` does."""
    if isinstance(source, (str, Path)) and (Path(source).expanduser() / "recipe.json").exists():
        source = attach(source)
    if not isinstance(source, Run) or source.recipe.objective not in preference_objectives.KINDS:
        return None
    import copy

    from workbench.templates import chat

    recipe = source.recipe
    policy, tokenizer = source.load()
    tokenizer = copy.copy(tokenizer)  # a template given to it here stays with the copy
    loading.prepare_tokenizer(tokenizer, policy.config)
    chat.ensure_template(tokenizer)
    source.history.refresh()
    beta = next((change.new for change in reversed(source.history.changes) if change.field == "beta"), recipe.settings.beta)
    reference = load(resolve_model(recipe.model))[0] if recipe.settings.referenced else None
    return ImplicitRewards(policy, tokenizer, reference, recipe.settings, beta, recipe.max_length)


def _logps(model: Any, rows: list[dict[str, Any]], batch_size: int) -> tuple[Any, Any]:
    """M log-probabilities and lengths, on the CPU."""
    import torch

    from workbench.probes import untouched
    from workbench.training import reply_logps

    told, values, lengths = reply_logps.ReplyLogps(model), [], []
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]["prompt"]) + max(map(len, rows[number]["replies"])))
    pad = model.config.pad_token_id or 0
    with untouched(model), torch.no_grad():
        for first in range(0, len(order), batch_size):
            batch = reply_logps.padded([rows[number] for number in order[first:first + batch_size]], pad).to(model.device)
            values.append(told(batch).float().cpu())
            lengths.append(batch.lengths.cpu())
    told.close()
    counts = torch.tensor([len(rows[number]["replies"]) for number in order])
    begun = torch.zeros(len(rows) + 1, dtype=torch.long)
    begun[1:] = torch.tensor([len(row["replies"]) for row in rows]).cumsum(0)
    place = torch.cat([torch.arange(begun[number], begun[number] + count) for number, count in zip(order, counts.tolist(), strict=True)])
    back = place.argsort()
    return torch.cat(values)[back], torch.cat(lengths)[back]
