"""What a table of rows means: its layout is told from its columns, and each row becomes one example.

A training example is one of
    {"messages": [{"role": "user", "content": "..."}, ...]}      a conversation, rendered by the tokenizer's chat template
    {"prompt": "...", "completion": "..."}                       text and its continuation, no template
    {"text": "..."}                                              plain text
A text with a label is a layout of its own: its text may be learned like any, but it is no text for pre-training, and its labels are for a
classifier (`labelled.py`). A column `label` beside prompt and completion is a verdict on the completion only where it holds true or false,
as in KTO's data (Ethayarajh et al. 2024; trl); 0 and 1 there are the numbers of classes. `kto_tag` is a verdict either way.
Preferences have forms of their own (`preferences.py`); rows that neither train nor judge (questions of a benchmark, trees of messages) are
told too, so that a person hears what they are. Not here: reading files (`sources.py`), tokens (`training/rows.py`), one row made into
several (`unfold.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.data import preferences, turns
from workbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Layout:
    """`columns` must all be there; `example` makes one example of one row (or a list of them, and may raise `ValueError` with a clause).

    `kind` is training, pairs, ranking, unpaired, votes, evaluation or nested. `use` says what rows are for that are not for training, and
    `remedy` what to do who wanted to train on them. `fits` looks at a first value of each column where names alone do not tell (`label` may
    be a verdict or a topic).
    """

    name: str
    columns: tuple[str, ...]
    example: Callable[[dict[str, Any]], Any]
    kind: str = "training"
    use: str = ""
    remedy: str = ""
    fits: Callable[[dict[str, Any]], bool] | None = None


def _prompt_completion(row: dict[str, Any]) -> dict[str, Any]:
    if isinstance(row["prompt"], list) and isinstance(row["completion"], list):
        return {"messages": turns.conversation([*row["prompt"], *row["completion"]])}
    return {"prompt": turns.text(row, "prompt"), "completion": turns.text(row, "completion")}


def _instruction(given: str, reply: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A reader of instructions with what they are about in the column `given`, if anything, and the answer in `reply`."""
    def read(row: dict[str, Any]) -> dict[str, Any]:
        question = turns.text(row, "instruction") + (f"\n\n{row[given]}" if row.get(given) else "")
        return _with_system(row, turns.pair(question, turns.text(row, reply)))
    return read


def _response(row: dict[str, Any]) -> dict[str, Any]:
    if isinstance(row["prompt"], list):
        reply = row["response"]
        return {"messages": turns.conversation([*row["prompt"], *(reply if isinstance(reply, list) else
                                                                  [{"role": "assistant", "content": turns.text(row, "response")}])])}
    return _with_system(row, turns.pair(turns.text(row, "prompt"), turns.text(row, "response")))


def _with_system(row: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    if row.get("system"):
        example["messages"].insert(0, {"role": "system", "content": turns.text(row, "system")})
    return example


def _continuation(row: dict[str, Any]) -> dict[str, Any]:
    context, more = turns.text(row, "context"), turns.text(row, "continuation")
    return {"prompt": context, "completion": more if context[-1:].isspace() or more[:1].isspace() or not context else " " + more}


def _choices(question: str, gold: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def read(row: dict[str, Any]) -> dict[str, Any]:
        choices, right = row["choices"], row[gold]
        if not isinstance(choices, (list, tuple)) or len(choices) < 2 or not all(isinstance(choice, str) for choice in choices):
            raise ValueError("'choices' is not a list of two or more texts")
        if isinstance(right, bool) or not isinstance(right, int) or not 0 <= right < len(choices):
            raise ValueError(f"{gold!r} is {right!r}, not the number of a choice (0 to {len(choices) - 1})")
        return {"query": turns.text(row, question), "choices": list(choices), "gold": right}
    return read


def _questions(row: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(row["turns"], (list, tuple)) or not row["turns"] or not all(isinstance(turn, str) for turn in row["turns"]):
        raise ValueError("'turns' is not a list of questions")
    return {**row, "turns": list(row["turns"])}


def _verdict(row: dict[str, Any]) -> bool:
    """Whether `label` is one; without a value the names decide."""
    return isinstance(row.get("label"), bool)


LABELS = ("label_text", "label_name", "label", "labels", "class", "category", "sentiment", "target")
"""What a column of labels may be called, the most telling first: beside numbers, their names are taken."""
LABELLED = "text/label"


LAYOUTS = (
    Layout("messages", ("messages",), lambda row: {"messages": turns.conversation(row["messages"])}),
    Layout("ShareGPT", ("conversations",), lambda row: {"messages": turns.conversation(row["conversations"], "from", "value")}),
    Layout("prompt/completion", ("prompt", "completion"), _prompt_completion),
    Layout("context/continuation", ("context", "continuation"), _continuation),
    Layout("instruction/input/output", ("instruction", "output"), _instruction("input", "output")),
    Layout("instruction/response", ("instruction", "response"), _instruction("context", "response")),
    Layout("prompt/response", ("prompt", "response"), _response),
    Layout("question/answer", ("question", "answer"), lambda row: turns.pair(turns.text(row, "question"), turns.text(row, "answer"))),
    *(Layout(LABELLED, ("text", label), lambda row: {"text": turns.text(row, "text")},
             fits=lambda row, label=label: row.get(label) is not None)  # type: ignore[misc]
      for label in ("label", *LABELS)),
    Layout("plain text", ("text",), lambda row: {"text": turns.text(row, "text")}),
)
"""Rows to imitate, the most telling columns first."""

_PAIRS: dict[str, Any] = {"kind": "pairs", "use": "preference pairs, which a reward model or preference tuning (DPO) learns from",
          "remedy": "Make a table of the chosen replies alone (prompt and completion, or messages) to imitate those."}
_RANKING: dict[str, Any] = {"kind": "ranking", "use": "ranked replies, which a reward model learns from",
            "remedy": "Take the best reply of each as prompt and completion to imitate it, or the conversations with data.unfold.unfold."}
_UNPAIRED: dict[str, Any] = {"kind": "unpaired", "use": "replies judged good or bad one by one, which unpaired preference tuning (KTO) learns from",
             "remedy": "Keep the rows judged good and drop the column of verdicts to imitate those."}
_VOTES: dict[str, Any] = {"kind": "votes", "use": "votes between two models, which ratings (Bradley-Terry, Elo) are made of",
          "remedy": "Give rows that hold text to learn."}

PREFERENCES = (
    Layout("ShareGPT pairs", ("conversations", "chosen", "rejected"), preferences.shared_pair, **_PAIRS),
    Layout("messages pairs", ("messages", "chosen", "rejected"), preferences.shared_pair, **_PAIRS),
    Layout("prompt/chosen/rejected", ("prompt", "chosen", "rejected"), preferences.pair, **_PAIRS),
    Layout("chosen/rejected", ("chosen", "rejected"), preferences.bare_pair, **_PAIRS),
    Layout("ranked reply trees", ("message_tree_id", "prompt"), preferences.ranked_tree, **_RANKING,
           fits=lambda row: isinstance(row.get("prompt"), dict)),
    *(Layout("ranked replies", ("prompt", column), preferences.ranked, **_RANKING,
             fits=lambda row, column=column: isinstance(row.get(column), (list, tuple)))  # type: ignore[misc]
      for column in ("replies", "responses")),
    *(Layout(f"{name} unpaired", (*columns, verdict), preferences.unpaired, **_UNPAIRED, fits=_verdict if verdict == "label" else None)
      for verdict in ("kto_tag", "label")
      for name, columns in (("messages", ("messages",)), ("ShareGPT", ("conversations",)), ("prompt/completion", ("prompt", "completion")),
                            ("instruction/output", ("instruction", "output")))),
    *(Layout("votes", names, preferences.vote(*names), **_VOTES)
      for names in (("left", "right", "winner"), ("model_a", "model_b", "winner"), ("model_1", "model_2", "label"))),
)
"""Rows that say which reply is better."""

_MEASURE: dict[str, Any] = {"kind": "evaluation",
            "remedy": "Make prompt and completion columns of them to train on them (and never measure on the same rows)."}
_NESTED: dict[str, Any] = {"kind": "nested", "remedy": "Make a table of them with data.unfold.unfold(rows), and train on that."}
_SEARCHED = "Give the texts themselves as rows."
_NODES = "messages of conversation trees, one message a row"

OTHERS = (
    Layout("multiple choice", ("query", "choices", "gold"), _choices("query", "gold"),
           use="questions with choices, which a model is measured on", **_MEASURE),
    Layout("multiple choice", ("question", "choices", "answer"), _choices("question", "answer"),
           use="questions with choices, which a model is measured on",
           **_MEASURE, fits=lambda row: isinstance(row.get("choices"), (list, tuple)) and isinstance(row.get("answer"), int)),
    Layout("questions in turns", ("question_id", "turns"), _questions, use="questions of one or more turns, which a model is measured on",
           **_MEASURE),
    Layout("answers in turns", ("question_id", "model_id", "choices"), dict, use="a model's answers to the questions of a benchmark",
           **_MEASURE),
    Layout("relevance judgements", ("query_id", "document_id", "relevance"), dict, kind="evaluation",
           use="judgements of which documents answer a query, which a search is measured on", remedy=_SEARCHED),
    Layout("ranking of documents", ("query_id", "document_id", "rank", "score"), dict, kind="evaluation",
           use="documents that a search found, best first, which judgements measure", remedy=_SEARCHED),
    Layout("judge prompts", ("system_prompt", "prompt_template"), dict, kind="evaluation", use="prompts for a model that judges replies",
           remedy="Give rows that hold text to learn."),
    Layout("instruction with instances", ("instruction", "instances"), dict, use="instructions with a list of cases each", **_NESTED),
    Layout("tree messages", ("message_id", "parent_id", "text", "role"), dict, use=_NODES, **_NESTED),
    Layout("tree messages", ("user_message_id", "parent_message_id", "text", "role"), dict, use=_NODES, **_NESTED),
)
"""Rows that are neither trained on as they stand nor preferences."""

TEXT_COLUMNS = ("prompt", "completion", "response", "instruction", "input", "output", "system", "question", "answer", "text", "context",
                "continuation", "query", "chosen", "rejected", "winner", "left", "right", "model_a", "model_b", "model_1", "model_2")
"""Columns whose values are text in every layout that has them in a flat file."""


def detect(columns: list[str], row: dict[str, Any] | None = None) -> Layout:
    """The first layout whose columns are all there; others are left alone. `row` holds a value of each column where names alone do not
    tell.

    Raises `DataError` naming what was found and what is known.
    """
    for layout in (*PREFERENCES, *OTHERS, *LAYOUTS):
        if set(layout.columns) <= set(columns) and (row is None or layout.fits is None or layout.fits(row)):
            return layout
    first = {layout.name: layout for layout in reversed(LAYOUTS)}
    known = "; ".join(f"{name} ({', '.join(first[name].columns)})" for name in dict.fromkeys(layout.name for layout in LAYOUTS))
    judged = "; ".join(dict.fromkeys(", ".join(layout.columns) for layout in PREFERENCES if layout.kind in ("pairs", "votes")))
    shown = ", ".join(map(repr, columns[:12])) or "(none)"
    more = f" and {len(columns) - 12:,} more" if len(columns) > 12 else ""
    raise DataError(f"The columns {shown}{more} are no layout known here.",
                    f"Rename them to one of: {known}; or, for preferences: {judged}.")


def layout_of(table: "pa.Table") -> Layout:
    """The layout of a table, told from its columns and, where their names leave it open, their first values. Raises as `detect` does."""
    asked = {name for layout in PREFERENCES + OTHERS + LAYOUTS if layout.fits for name in (*layout.columns, "kto_tag", "label")}
    return detect(table.column_names, {name: _first(table.column(name)) for name in table.column_names if name in asked})


def _first(column: "pa.ChunkedArray") -> Any:
    """The first value of a column, of whatever type, that is not null."""
    import pyarrow.compute as pc

    for chunk in column.chunks:
        at = pc.index(chunk.is_valid(), True).as_py()
        if at >= 0:
            return chunk[at].as_py()
    return None


def _first_values(rows: list[dict[str, Any]], columns: list[str]) -> dict[str, Any]:
    return {name: next((row[name] for row in rows if row.get(name) is not None), None) for name in columns}


def examples(rows: list[dict[str, Any]], columns: list[str], first: int = 1, name: str = "") -> list[dict[str, Any]]:
    """One training example a row, of the rows of the source `name` counted from `first`.

    Raises `DataError` with the row's number where a row does not hold what its layout says, and where the rows are not there to be imitated
    (preferences, votes, questions of a benchmark): then it says what they are for.
    """
    layout = detect(columns, _first_values(rows, columns))
    if layout.kind != "training":
        raise DataError(f"{_called(layout, name)} are {layout.use}; they are not trained on as they stand.", layout.remedy)
    return read(rows, layout, first, name)


def judged(rows: list[dict[str, Any]], columns: list[str], first: int = 1, name: str = "") -> list[dict[str, Any]]:
    """The preferences or votes of the rows, in the forms of `preferences.py`; a tree of replies gives one for each question with ranked
    replies.

    Raises as `examples` does, and where the rows judge nothing.
    """
    layout = detect(columns, _first_values(rows, columns))
    if layout not in PREFERENCES:
        use = layout.use or f"rows to imitate ({layout.name})"
        raise DataError(f"{_called(layout, name)} are {use}; they say of no reply that it is better.",
                        "Give rows with prompt, chosen and rejected, or replies with ranks or with a label of true or false.")
    return read(rows, layout, first, name)


def _called(layout: Layout, name: str) -> str:
    return f"The columns {', '.join(map(repr, layout.columns))}{f' of {name}' if name else ''}"


def read(rows: list[dict[str, Any]], layout: Layout, first: int = 1, name: str = "") -> list[dict[str, Any]]:
    """Every example of the rows, whatever their layout is for. Raises `DataError` with the number of a row that does not hold what the
    layout says."""
    out: list[dict[str, Any]] = []
    for number, row in enumerate(rows, start=first):
        try:
            example = layout.example(row)
        except ValueError as error:
            raise DataError(f"Row {number}{f' of {name}' if name else ''} does not fit the layout {layout.name}: {error}.",
                            "Mend or remove that row.") from error
        out += example if isinstance(example, list) else [example]
    return out
