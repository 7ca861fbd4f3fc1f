"""Rows that say which reply is better, each read into one form, whatever columns it came in.

    {"prompt": P, "chosen": R, "rejected": R}           a pair, for a reward model or DPO
    {"prompt": P, "replies": [R, R, ...], "ranks": [...]}   replies to one prompt, best first; replies of one rank are equally good
    {"prompt": P, "completion": R, "label": bool}       one reply, judged good or bad on its own (KTO)
    {"left": "...", "right": "...", "winner": "left" | "right" | "tie" | None, ...}   a vote between two models (None: no verdict)
P and R are text, or both lists of messages: the forms that trl's trainers take. All raise `ValueError` with a clause.
Not here: which columns make which layout (`layouts.py`); ratings out of votes (`workbench.alignment`).
"""

from typing import Any

from workbench.data import turns

Row = dict[str, Any]
Messages = list[dict[str, str]]


def pair(row: Row) -> Row:
    """`prompt` (text, transcript or messages), `chosen` and `rejected` (text or messages, with or without the prompt before them)."""
    prompt, chosen, rejected = row["prompt"], row["chosen"], row["rejected"]
    if isinstance(chosen, (list, dict)) or isinstance(rejected, (list, dict)):
        return _parted(_prompt_messages(prompt, row), turns.either(chosen), turns.either(rejected))
    if isinstance(prompt, (list, dict)) or turns.is_transcript(prompt):
        return _parted(_prompt_messages(prompt, row),
                       *([{"role": "assistant", "content": turns.text(row, name).strip()}] for name in ("chosen", "rejected")))
    return {"prompt": turns.text(row, "prompt"), "chosen": turns.text(row, "chosen"), "rejected": turns.text(row, "rejected")}


def bare_pair(row: Row) -> Row:
    """`chosen` and `rejected` alone: two transcripts or two lists of messages that begin alike; what they share is the prompt."""
    sides = []
    for name in ("chosen", "rejected"):
        if isinstance(row[name], (list, dict)):
            sides.append(turns.either(row[name]))
        elif turns.is_transcript(turns.text(row, name)):
            sides.append(turns.transcript(row[name]))
        else:
            raise ValueError(f'{name!r} is neither messages nor a transcript that opens with "Human:", and there is no column \'prompt\'')
    return _parted([], *sides)


def shared_pair(row: Row) -> Row:
    """ShareGPT paired: `conversations` (or `messages`) up to the question, `chosen` and `rejected` one turn each (or their text)."""
    replies = [_reply(row[name] if isinstance(row[name], (list, dict)) else turns.text(row, name)) for name in ("chosen", "rejected")]
    return _parted(turns.either(_turns_of(row)), *replies)


def _parted(prompt: Messages, chosen: Messages, rejected: Messages) -> Row:
    """What both sides begin with goes to the prompt, unless it is there already; the rest begins with an assistant's turn."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    while shared and any(len(side) == shared or side[shared]["role"] != "assistant" for side in (chosen, rejected)):
        shared -= 1
    if any(side[shared]["role"] != "assistant" for side in (chosen, rejected)):
        raise ValueError("'chosen' and 'rejected' do not go on with an assistant's turn where they part")
    before = chosen[:shared]
    opening = before[1:] if before and before[0]["role"] == "system" else before
    if prompt not in (before[:len(prompt)], opening[:len(prompt)]):
        before = prompt + before
    if not before:
        raise ValueError("'chosen' and 'rejected' share no prompt")
    return {"prompt": before, "chosen": chosen[shared:], "rejected": rejected[shared:]}


def _prompt_messages(prompt: Any, row: Row) -> Messages:
    if isinstance(prompt, (list, dict)):
        return turns.either(prompt)
    if turns.is_transcript(prompt):
        said = turns.transcript(prompt)
        return said[:-1] if len(said) > 1 and said[-1] == {"role": "assistant", "content": ""} else said
    return [{"role": "user", "content": turns.text(row, "prompt")}]


def _turns_of(row: Row) -> Any:
    return row["conversations"] if row.get("conversations") is not None else row.get("messages")


def unpaired(row: Row) -> Row:
    """One reply and its verdict in `kto_tag` or `label`: a conversation that ends in the reply, `prompt`/`completion`, or
    `instruction`/`output`."""
    verdict = row["kto_tag"] if "kto_tag" in row else row["label"]
    if not is_verdict(verdict):
        raise ValueError(f"its verdict is {verdict!r}, not true or false")
    if _turns_of(row) is not None:
        said = turns.either(_turns_of(row))
    elif isinstance(row.get("prompt"), (list, tuple)):
        said = [*turns.either(row["prompt"]), *turns.either(row["completion"])]
    elif "instruction" in row:
        given = row.get("input")
        said = turns.pair(turns.text(row, "instruction") + (f"\n\n{given}" if given else ""), turns.text(row, "output"))["messages"]
    else:
        return {"prompt": turns.text(row, "prompt"), "completion": turns.text(row, "completion"), "label": bool(verdict)}
    if len(said) < 2 or said[-1]["role"] != "assistant":
        raise ValueError("the conversation does not end in a reply to judge")
    return {"prompt": said[:-1], "completion": said[-1:], "label": bool(verdict)}


def is_verdict(value: Any) -> bool:
    """true/false, or 1/0."""
    return isinstance(value, (bool, int)) and value in (0, 1)


def ranked(row: Row) -> Row:
    """`prompt` and `replies` (or `responses`), with `ranks` (0 is best) or `scores` (most is best); best first where there is neither."""
    replies = row["replies"] if row.get("replies") is not None else row.get("responses")
    if not isinstance(replies, (list, tuple)) or len(replies) < 2:
        raise ValueError("there are fewer than two replies to rank")
    if row.get("ranks") is not None:
        order = _numbers(row["ranks"])
    elif row.get("scores") is not None:
        order = [-score for score in _numbers(row["scores"])]
    else:
        order = list(range(len(replies)))
    if len(order) != len(replies):
        raise ValueError(f"there are {len(replies)} replies and {len(order)} ranks or scores")
    asked: Any = row["prompt"]
    answers: list[Any] = [reply if isinstance(reply, (list, dict)) else turns.text({"reply": reply}, "reply") for reply in replies]
    if isinstance(asked, (list, dict)) or any(not isinstance(answer, str) for answer in answers):
        asked, answers = _prompt_messages(asked, row), [_reply(answer) for answer in answers]
    else:
        asked = turns.text(row, "prompt")
    return {"prompt": asked, "replies": [answers[i] for i in sorted(range(len(answers)), key=order.__getitem__)], "ranks": sorted(order)}


def _reply(answer: Any) -> Messages:
    """A reply as the messages it consists of."""
    return turns.either(answer) if isinstance(answer, (list, dict)) else [{"role": "assistant", "content": answer}]


def _numbers(values: Any) -> list[float]:
    if not isinstance(values, (list, tuple)) or any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in values):
        raise ValueError("its ranks or scores are not a list of numbers")
    return list(values)


def ranked_tree(row: Row) -> list[Row]:
    """Open Assistant's tree: one ranking for each question in it that has two or more ranked replies, the turns above it as the prompt."""
    found: list[Row] = []
    waiting = [([], row["prompt"])]
    while waiting:
        above, node = waiting.pop()
        if not isinstance(node, dict):
            raise ValueError("a reply in the tree is no object")
        path = [*above, turns.message(node, "role", "text")]
        replies = node.get("replies") or []
        judged = [reply for reply in replies if isinstance(reply, dict) and reply.get("rank") is not None]
        judged.sort(key=lambda reply: reply["rank"])
        if len(judged) > 1:
            found.append({"prompt": path, "replies": [[turns.message(reply, "role", "text")] for reply in judged],
                          "ranks": [reply["rank"] for reply in judged]})
        waiting += [(path, reply) for reply in reversed(replies)]
    return found


WINNERS = {"left": "left", "a": "left", "model_a": "left", "model_1": "left", "1": "left",
           "right": "right", "b": "right", "model_b": "right", "model_2": "right", "2": "right",
           "tie": "tie", "both": "tie", "draw": "tie", "tie (bothbad)": "tie", "3": "tie", "0": "tie",
           "-1": None, "none": None}
"""How a vote is written: in words, or as 1, 2, 3 and -1 in the three-class judgements published with QLoRA (arXiv 2305.14314)."""


def vote(left: str, right: str, winner: str) -> Any:
    """A reader of votes whose columns have these names. A winner may also be written as the name of one of the two.

    Other columns are kept."""
    def read(row: Row) -> Row:
        one, other, told = turns.text(row, left), turns.text(row, right), turns.text(row, winner).strip()
        if told in (one, other) and one != other:
            verdict = "left" if told == one else "right"
        elif told.lower() in WINNERS:
            verdict = WINNERS[told.lower()]
        else:
            raise ValueError(f"{winner!r} is {told!r}, which is none of {', '.join(WINNERS)}")
        others = {name: value for name, value in row.items() if name not in (left, right, winner)}
        return {**others, "left": one, "right": other, "winner": verdict}
    return read
