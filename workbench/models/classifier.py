"""A language model as a classifier: a linear head on the hidden state of each text's last token, its probabilities, and how good its
answers are.

The head is transformers' own (`AutoModelForSequenceClassification`), so a classifier made here opens anywhere. Rows of tokens are padded on
the right and never end in the pad token themselves, which is what makes the last token that is no pad token the last token of the text. Not
here: training.

Shapes: N texts, T tokens, D hidden, L labels.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import RecipeError, WorkbenchError
from workbench.models import folders, loading
from workbench.models.adaptation import Method

if TYPE_CHECKING:
    import numpy as np
    import torch

BATCH_TOKENS = 8_192
"""Positions a batch holds at most when texts are only read."""


def labels_of(config: Any) -> list[str]:
    """The labels of a classifier by number."""
    return [str(config.id2label[number]) for number in range(config.num_labels)]


def labelled(config: Any, labels: Sequence[str]) -> Any:
    """A copy of `config` that is a classifier's of these labels. Raises `RecipeError` where transformers has no classifier of this
    architecture."""
    import transformers

    config = copy.deepcopy(config)
    kind = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING.get(type(config), None)
    if kind is None:
        raise RecipeError(
            f"transformers has no classifier of the architecture {config.model_type!r}.", 'Use another base, such as model="town".'
        )
    config.num_labels = len(labels)
    config.id2label, config.label2id = dict(enumerate(labels)), {label: number for number, label in enumerate(labels)}
    config.problem_type = "single_label_classification"
    config.architectures = [kind.__name__]
    return config


def load(source: str, labels: Sequence[str], method: Method | None = None) -> tuple[Any, Any]:
    """`(model, tokenizer)` for `method`: the classifier in `source`, or the language model there with a new head for `labels` (drawn from
    torch's random state).

    A classifier keeps its labels and their order: `RecipeError` where it lacks one of `labels`. An adapter becomes part of the weights.
    """
    folders.check_source(source)
    model, config = None, folders.config_of(source)
    if folders.is_adapter(source):
        model, tokenizer = loading.load_base(source)
        config = model.config
        if method is not None and method.load_kwargs():
            raise RecipeError(
                f"{source} holds an adapter, and {method.name} rounds weights as they are read from a whole model.",
                "Merge it into a folder first.",
            )
    if loading.classifies(config):
        missing = [label for label in labels if label not in labels_of(config)]
        if missing:
            raise RecipeError(f"The classifier {source} tells {', '.join(labels_of(config))}, and rows have the label {missing[0]!r}.",
                              "Rename the rows' labels to its own, or start from a base model.")
        if model is None:
            model, tokenizer = loading.load_base(source, method)
    else:
        config = labelled(config, labels)
        if model is None:
            model, tokenizer = loading.load_base(source, method, config=config)
        else:
            model = _moved(model, config)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise WorkbenchError(
            "The tokenizer has neither a pad token nor an end token, so texts of different lengths cannot be put together.",
            "Set tokenizer.pad_token and save it into the model folder.",
        )
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _moved(model: Any, config: Any) -> Any:
    """A classifier with the body of a language model in memory."""
    import transformers

    out = transformers.AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
    missing = out.base_model.load_state_dict(model.base_model.state_dict(), strict=False).missing_keys
    out.new_parameters = tuple(f"{out.base_model_prefix}.{name}" for name in missing)
    return out.eval()


def encode(tokenizer: Any, texts: Sequence[str], max_length: int) -> tuple[list[list[int]], int]:
    """Token ids of each text, its first `max_length`, never ending in the pad token; and how many texts were cut. A text without tokens is
    one token: the end token, or the first there is."""
    told = tokenizer(list(texts), padding=False, truncation=False, return_attention_mask=False, verbose=False)["input_ids"] if texts else []
    end = tokenizer.eos_token_id if tokenizer.eos_token_id not in (None, tokenizer.pad_token_id) else 0
    rows = []
    for ids in told:
        ids = list(ids[:max_length])
        while ids and ids[-1] == tokenizer.pad_token_id:
            ids.pop()
        rows.append(ids or [end])
    return rows, sum(len(ids) > max_length for ids in told)


def padded(rows: Sequence[Sequence[int]], pad_token_id: int) -> "dict[str, torch.Tensor]":
    """`input_ids` and `attention_mask`, N x T, padded on the right."""
    import torch

    width = max(map(len, rows))
    ids, mask = torch.full((len(rows), width), pad_token_id), torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, :len(row)], mask[number, :len(row)] = torch.tensor(row), 1
    return {"input_ids": ids, "attention_mask": mask}


def batches(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Numbers of rows of like length together, longest first."""
    batch: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * lengths[batch[0]] > BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def logits(model: Any, tokenizer: Any, texts: Sequence[str], max_length: int = 512, batch_size: int = 32) -> "np.ndarray":
    """What the classifier gives each text, float32 N x L. The model is put into eval mode and left so."""
    import numpy as np
    import torch

    rows, _ = encode(tokenizer, texts, min(max_length, getattr(model.config, "max_position_embeddings", None) or max_length))
    out = np.zeros((len(rows), model.config.num_labels), np.float32)
    model.eval()
    with torch.no_grad():
        for batch in batches([len(row) for row in rows], batch_size):
            inputs = {name: tensor.to(model.device) for name, tensor in padded([rows[n] for n in batch], model.config.pad_token_id).items()}
            out[batch] = model(**inputs).logits.float().cpu().numpy()
    return out


def log_probabilities(values: "np.ndarray") -> "np.ndarray":
    """Of logits N x L, float64."""
    import scipy.special

    return scipy.special.log_softmax(values.astype(float), axis=1)


@dataclass(frozen=True, slots=True)
class Scores:
    """How good answers are. `confusion[truth, answer]` counts rows, L x L."""

    confusion: "np.ndarray"
    loss: float
    """Mean cross-entropy, nats per row."""

    @property
    def rows(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return float(self.confusion.trace() / self.rows)

    @property
    def macro_f1(self) -> float:
        """The mean over labels of 2 right / (told + true), 0 of a label never answered rightly; labels that are neither true nor told of
        any row are left out (scikit-learn's `f1_score(average="macro")`)."""
        both = self.confusion.sum(0) + self.confusion.sum(1)
        return float((2 * self.confusion.diagonal()[both > 0] / both[both > 0]).mean())


def score(values: "np.ndarray", truth: "np.ndarray") -> Scores:
    """Logits N x L against label numbers N."""
    import numpy as np

    confusion = np.zeros((values.shape[1],) * 2, np.int64)
    np.add.at(confusion, (truth, values.argmax(1)), 1)
    each = -log_probabilities(values)[np.arange(len(truth)), truth]
    return Scores(confusion, float(each.mean()))
