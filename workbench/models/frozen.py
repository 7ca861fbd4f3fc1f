"""`FrozenBackbone`: feature-based transfer. A new head learns on what the frozen model says of each text, which is computed once.

The features of a text are the last hidden state of its last token (Devlin et al. 2019, "BERT", section 5.3, compares the like with
fine-tuning). Since nothing under the head changes, every epoch after the first reads them from a file instead of running the model. Not
here: training.

Shapes: N texts, D hidden.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.errors import RecipeError
from workbench.models import classifier
from workbench.models.adaptation import Method, named_fields

if TYPE_CHECKING:
    import torch


@named_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenBackbone(Method):
    """Only the head of a classifier is trained, on the frozen model's embeddings of the texts (without dropout).

    Trains labels x hidden parameters. For the objective "classification"; a language model's own head is its embeddings.
    """

    name: ClassVar[str] = "frozen-backbone"
    cache: bool = True
    """Compute the embeddings once and keep them in the run folder; False runs the model for every batch, to the same losses."""

    def __post_init__(self):
        if not isinstance(self.cache, bool):
            raise RecipeError(f"FrozenBackbone's cache is {self.cache!r}; it is True or False.", "Use cache=True.")

    def apply(self, model: Any) -> Any:
        if not hasattr(model, "score"):
            raise RecipeError(
                f"FrozenBackbone cannot be applied to {type(model).__name__}: it trains a head on the embedding of a text's last token.",
                'Use objective="classification" with a decoder such as "town", or Freeze.',
            )
        model.requires_grad_(False)
        model.score.requires_grad_(True)
        return model


def pooled(model: Any, input_ids: "torch.Tensor", attention_mask: "torch.Tensor") -> "torch.Tensor":
    """The last hidden state at the last token of each row (padding on the right), N x D, without gradients or dropout. Leaves the head's
    mode alone."""
    import torch

    body = model.base_model.eval()
    with torch.no_grad():
        states = body(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
    return states[torch.arange(len(states), device=states.device), attention_mask.sum(1) - 1]


def features(model: Any, rows: Sequence[Sequence[int]], batch_size: int = 32) -> "torch.Tensor":
    """`pooled` of rows of tokens, in order, float32 N x D on the CPU."""
    import torch

    out = torch.zeros((len(rows), model.score.in_features))  # OPT's is not always hidden_size
    for batch in classifier.batches([len(row) for row in rows], batch_size):
        inputs = classifier.padded([rows[number] for number in batch], model.config.pad_token_id)
        out[batch] = pooled(model, **{name: tensor.to(model.device) for name, tensor in inputs.items()}).float().cpu()
    return out


def kept(folder: Path, model: Any, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
    """`features`, from `folder` where they were computed before: a file is named for the weights and the tokens they came from.

    Raises `OSError` where the disk refuses.
    """
    import safetensors.torch

    path = folder / f"{_fingerprint(model, rows)[:32]}.safetensors"
    if path.exists():
        return safetensors.torch.load_file(path)["features"]
    found = features(model, rows)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    safetensors.torch.save_file({"features": found}, partial)
    partial.rename(path)
    return found


def _fingerprint(model: Any, rows: Sequence[Sequence[int]]) -> str:
    import numpy as np
    import torch

    digest = hashlib.sha256()
    for name, tensor in model.base_model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    digest.update(np.fromiter((len(row) for row in rows), np.int64, len(rows)).tobytes())
    for row in rows:
        digest.update(np.asarray(row, np.int64).tobytes())
    return digest.hexdigest()
