"""A language model with a scalar head for each criterion, read at a reply's last token, and the loss it learns by.

The head is transformers' own (`AutoModelForSequenceClassification`, no bias), so a reward model made here opens anywhere; its labels are
the names of its heads. Not here: rows and tokens (`data/comparisons.py`, `data/reply_tokens.py`) and training.

Shapes: M replies, T tokens, H heads, P pairs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.models import classifier, loading
from workbench.models.adaptation import Method

if TYPE_CHECKING:
    import numpy as np
    import torch

PROBLEM = "regression"
"""transformers' `problem_type` of such a head: a number, not a choice."""


def load(source: str, heads: Sequence[str], method: Method | None = None) -> tuple[Any, Any]:
    """`(model, tokenizer)` as `classifier.load` has it: the reward model in `source`, or the language model there with new heads."""
    model, tokenizer = classifier.load(source, heads, method)
    model.config.problem_type = PROBLEM
    return model, tokenizer


def rewards(config: Any) -> bool:
    """Whether a model of this configuration gives rewards: one number, or several that are no choice between labels."""
    return loading.classifies(config) and (config.num_labels == 1 or config.problem_type == PROBLEM)


def heads_of(config: Any) -> list[str]:
    """Names of the heads by number. Raises `WorkbenchError` for what gives no rewards."""
    if not rewards(config):
        raise WorkbenchError("This model gives no rewards: it is a language model, or tells labels.", 'Train one with objective="reward".')
    return classifier.labels_of(config)


def scores(model: Any, rows: Sequence[Sequence[int]], batch_size: int = 32) -> "np.ndarray":
    """The rewards of rows of tokens, float32 M x H, without gradients. The model is put into eval mode and left so."""
    import numpy as np
    import torch

    out = np.zeros((len(rows), model.config.num_labels), np.float32)
    model.eval()
    with torch.no_grad():
        for batch in classifier.batches([len(row) for row in rows], batch_size):
            inputs = classifier.padded([rows[number] for number in batch], model.config.pad_token_id)
            out[batch] = model(**{name: tensor.to(model.device) for name, tensor in inputs.items()}).logits.float().cpu().numpy()
    return out


def gaps(values: "torch.Tensor", pairs: "torch.Tensor") -> "torch.Tensor":
    """Reward of the better reply less that of the worse one, P; `values` are M x H, `pairs` P x 3: better, worse, head."""
    better, worse, head = pairs.unbind(1)
    return values[better, head] - values[worse, head]


def pair_losses(values: "torch.Tensor", pairs: "torch.Tensor", margins: "torch.Tensor") -> "torch.Tensor":
    """-log sigmoid(r_better - r_worse - margin) of each pair, P, in nats (Llama 2, arXiv 2307.09288, eq. 2; without margins Ouyang et al.
    2022, arXiv 2203.02155, eq. 1)."""
    import torch

    return -torch.nn.functional.logsigmoid(gaps(values.float(), pairs) - margins)


def pair_weights(pairs: Sequence[tuple[int, int, int, float]]) -> list[float]:
    """The weight of each pair of one prompt, 1 in all: 1/(pairs) for each: of K replies without ties 1/C(K,2) (InstructGPT's eq. 1), with
    ties more, since tied replies are no pair. Of several heads each has the same weight, and the pairs of a head are alike."""
    of_head: dict[int, int] = {}
    for _, _, head, _ in pairs:
        of_head[head] = of_head.get(head, 0) + 1
    return [1 / (len(of_head) * of_head[head]) for _, _, head, _ in pairs]
