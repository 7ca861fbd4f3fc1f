"""A classifier on rows it did not learn from: its answers one by one, accuracy, macro F1, and which label it takes for which.

    from workbench.evaluation.classifier import score_classifier
    score_classifier(run, "town:messages").accuracy

Not here: scores while a run trains (they are in its journal), and the arithmetic (`models/classifier.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data import labelled, sources
from workbench.errors import DataError, WorkbenchError
from workbench.models import classifier, loading, reward
from workbench.recipes import load
from workbench.runs.attach import attach
from workbench.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class ClassifierScore:
    """`answers` has a line a row: row (from 0), text, label, predicted, probability (of what was predicted), loss (nats), right.
    `confusion` counts rows, true labels down and predicted ones across."""

    accuracy: float
    macro_f1: float
    loss: float
    answers: "pd.DataFrame"
    confusion: "pd.DataFrame"

    def __repr__(self) -> str:
        return f"{len(self.answers):,} rows: accuracy {self.accuracy:.3f}, macro F1 {self.macro_f1:.3f}, loss {self.loss:.3f} nats a row"


def score_classifier(model_or_run: Any, rows: Any, *, batch_size: int = 64, max_length: int | None = None) -> ClassifierScore:
    """How a classifier answers `rows` (whatever `wb.load_rows` takes, with a text and a label).

    `model_or_run` is a run that classifies or its folder (then with its recipe's `max_length`), a folder that `wb.load` opens, or a pair
    (model, tokenizer). Raises `DataError` where rows are not labelled or have a label that the classifier does not tell, `WorkbenchError`
    where the model is no classifier.
    """
    import numpy as np
    import pandas as pd

    model, tokenizer, usual = opened(model_or_run)
    names = classifier.labels_of(model.config)
    table = rows if hasattr(rows, "to_batches") else sources.load_rows(rows)
    examples = labelled.read(table)
    unknown = next((example["label"] for example in examples if example["label"] not in names), None)
    if unknown is not None:
        raise DataError(
            f"{sources.origin(table)} has the label {unknown!r}, and the classifier tells {', '.join(names)}.",
            "Rename the rows' labels to its own.",
        )
    values = classifier.logits(model, tokenizer, [example["text"] for example in examples], max_length or usual, batch_size)
    truth = np.array([names.index(example["label"]) for example in examples])
    told, scores = classifier.log_probabilities(values), classifier.score(values, truth)
    answers = pd.DataFrame(examples).assign(predicted=[names[number] for number in values.argmax(1)], probability=np.exp(told.max(1)),
                                            loss=-told[np.arange(len(truth)), truth], right=values.argmax(1) == truth)
    answers.insert(0, "row", range(len(answers)))
    axes = dict(index=pd.Index(names, name="label"), columns=pd.Index(names, name="predicted"))
    return ClassifierScore(scores.accuracy, scores.macro_f1, scores.loss, answers, pd.DataFrame(scores.confusion, **axes))


def classify(model_or_run: Any, texts: Sequence[str], *, batch_size: int = 64, max_length: int | None = None) -> "pd.DataFrame":
    """text, label and probability (of that label) of each text. Takes and raises what `score_classifier` does."""
    import numpy as np
    import pandas as pd

    model, tokenizer, usual = opened(model_or_run)
    texts = [texts] if isinstance(texts, str) else list(texts)
    told = classifier.log_probabilities(classifier.logits(model, tokenizer, texts, max_length or usual, batch_size))
    return pd.DataFrame(
        {
            "text": texts,
            "label": [classifier.labels_of(model.config)[number] for number in told.argmax(1)],
            "probability": np.exp(told.max(1)),
        }
    )


def opened(source: Any) -> tuple[Any, Any, int]:
    """(model, tokenizer, max_length). Raises `WorkbenchError` for what is no classifier."""
    length = 512
    if isinstance(source, (str, Path)) and any((Path(source).expanduser() / name).exists() for name in ("journal.jsonl", "recipe.json")):
        source = attach(source)
    if isinstance(source, Run):
        length, name = source.recipe.max_length, source.name
        model, tokenizer = source.load()
    elif isinstance(source, (str, Path)):
        name = str(source)
        model, tokenizer = load(name)
    elif isinstance(source, (tuple, list)) and len(source) == 2:
        (model, tokenizer), name = source, "This model"
    else:
        raise WorkbenchError(
            f"This {type(source).__name__} is no model and no run.",
            "Give a run, a run folder, a model folder, or a pair (model, tokenizer).",
        )
    if not loading.classifies(model.config):
        raise WorkbenchError(
            f"{name} is a language model: it continues text and tells no labels.", 'Train one with objective="classification".'
        )
    if reward.rewards(model.config):
        raise WorkbenchError(f"{name} gives rewards: it compares replies and tells no labels.", "Ask workbench.evaluation.rewards.reward_gaps.")
    return model, tokenizer, length
