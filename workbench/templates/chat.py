"""Examples as tokens, with a mask of what is trained.

A conversation goes through the tokenizer's own chat template; the trained tokens are the assistant's, told by the template's
`{% generation %}` marks, or, where it has none, by rendering the conversation turn by turn. A tokenizer without a chat template
gets `PLAIN_TEMPLATE`. Not here: cutting, packing and padding (`training/rows.py`); promptsource templates.

Shapes: ids and mask are lists of one length, the mask 1 where the token is trained.
"""

import re
from typing import Any

import jinja2

from workbench.errors import DataError

PLAIN_TEMPLATE = (
    "{{ bos_token if starts_with_bos else '' }}"
    "{% for message in messages %}{{ '' if loop.first else '\n' }}"
    "{% if message['role'] == 'assistant' %}Assistant:{% generation %} {{ message['content'] }}{{ eos_token }}{% endgeneration %}"
    "{% elif message['role'] == 'system' %}{{ message['content'] }}"
    "{% else %}User: {{ message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\n' }}Assistant:{% endif %}"
)
"""A line a turn. The line breaks stand in expressions: Jinja swallows one that follows a block."""


def starts_with_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer itself puts its begin token before plain text."""
    ids = tokenizer("a").input_ids
    return bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def ensure_template(tokenizer: Any) -> list[str]:
    """Give a tokenizer without a chat template the plain one. Returns sentences a person should know."""
    if tokenizer.chat_template:
        return []
    tokenizer.chat_template = PLAIN_TEMPLATE.replace("starts_with_bos", "true" if starts_with_bos(tokenizer) else "false")
    return ["The tokenizer has no chat template; conversations are written as plain lines, 'User: ...' and 'Assistant: ...', and the end token "
            "closes each reply. The result is saved with that template."]


def encode(tokenizer: Any, example: dict[str, Any], completions_only: bool) -> tuple[list[int], list[int]]:
    """`(ids, mask)` of one example of `data.layouts`, uncut.

    The first token is never trained: nothing predicts it. Raises `DataError` where `completions_only` cannot be honoured.
    """
    if "messages" in example:
        if completions_only:
            ids, mask = _conversation(tokenizer, example["messages"])
        else:
            ids = list(_rendered(tokenizer, example["messages"], tokenize=True, return_dict=True)["input_ids"])
            mask = [1] * len(ids)
    elif "prompt" in example:
        if completions_only:
            ids, mask = _continuation(tokenizer, example["prompt"], example["completion"])
        else:
            ids = list(tokenizer(example["prompt"] + example["completion"]).input_ids)
            ids = _closed(tokenizer, ids) if example["completion"].strip() else ids
            mask = [1] * len(ids)
    else:
        ids = _closed(tokenizer, list(tokenizer(example["text"]).input_ids))
        mask = [int(bool(example["text"].strip()))] * len(ids)
    return ids, [0, *mask[1:]]


def _rendered(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> Any:
    """The tokenizer's own rendering (sandboxed by transformers); what its template refuses is said in a sentence."""
    try:
        return tokenizer.apply_chat_template(messages, **options)
    except jinja2.TemplateError as error:
        roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
        raise DataError(f"The tokenizer's chat template refuses a conversation of the roles {roles}: {error}.".replace("..", "."),
                        "Leave such turns out, or use a model whose template takes them.") from error


def _closed(tokenizer: Any, ids: list[int]) -> list[int]:
    return ids if ids and ids[-1] == tokenizer.eos_token_id else [*ids, tokenizer.eos_token_id]


def _continuation(tokenizer: Any, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    """Tokenized in one piece, so that words are cut as they would be in running text; a token that straddles the seam is trained."""
    _check_places(tokenizer)
    out = tokenizer(prompt + completion, return_offsets_mapping=True)
    seam = len(prompt)
    ids = list(out.input_ids)
    if not completion.strip():
        return ids, [0] * len(ids)
    mask = [int(end > seam and end > start) for start, end in out.offset_mapping]
    if ids[-1] != tokenizer.eos_token_id:
        ids, mask = [*ids, tokenizer.eos_token_id], [*mask, 1]
    else:
        mask[-1] = 1
    return ids, mask


def _conversation(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        ids = _rendered(tokenizer, messages, tokenize=True, return_dict=True)["input_ids"]
        return list(ids), [0] * len(ids)
    _check_places(tokenizer)
    if _marked(tokenizer):
        out = _rendered(tokenizer, messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
        return list(out["input_ids"]), list(out["assistant_masks"])
    return _by_turns(tokenizer, messages)


def _check_places(tokenizer: Any) -> None:
    if not tokenizer.is_fast:
        raise DataError("This tokenizer does not tell which characters a token came from, so completions_only cannot be honoured.",
                        "Use completions_only=False, or a model with a fast tokenizer.")


def _marked(tokenizer: Any) -> bool:
    return bool(re.search(r"\{%[-+]?\s*generation\b", tokenizer.chat_template))


PROBE = [("Who bakes bread?", "Mira does."), ("And who has a boat?", "Tom has one.")]


def mask_method(tokenizer: Any) -> str:
    """How replies are told from the rest: "generation marks" or "prefix comparison", proved on a conversation of two replies.

    Proved means: both replies are among the trained tokens, in order, and neither question is. Raises `DataError` where that fails, and
    where the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise DataError("The tokenizer has no chat template.", "Give it one first (ensure_template).")
    messages = [{"role": role, "content": text} for turn in PROBE for role, text in zip(("user", "assistant"), turn, strict=True)]
    ids, mask = encode(tokenizer, {"messages": messages}, True)

    def written(tokens: list[int]) -> str:
        return "".join(tokenizer.decode(tokens, skip_special_tokens=True).split())

    trained = written([token for token, kept in zip(ids, mask, strict=True) if kept])
    questions, replies = ([written(tokenizer(turn[side], add_special_tokens=False).input_ids) for turn in PROBE] for side in (0, 1))
    first = trained.find(replies[0])
    if first < 0 or trained.find(replies[1], first + len(replies[0])) < 0 or any(question in trained for question in questions):
        raise DataError("This tokenizer's chat template marks other tokens than the replies, so completions_only cannot be honoured.",
                        "Mend its {% generation %} marks, or use completions_only=False.")
    return "generation marks" if _marked(tokenizer) else "prefix comparison"


def _by_turns(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """For templates without marks: a reply is what its turn adds after the generation prompt. Only right if each rendering begins with the one
    before it, which is checked."""
    def render(upto: int, prompt: bool) -> str:
        return _rendered(tokenizer, messages[:upto], tokenize=False, add_generation_prompt=prompt)

    whole = render(len(messages), False)
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before, after = render(index, True), render(index + 1, False)
        if not after.startswith(before) or not whole.startswith(after.rstrip("\n")):
            raise DataError("This tokenizer's chat template rewrites earlier turns, so training on completions only cannot be honoured.",
                            "Use completions_only=False, or a template with {% generation %} marks.")
        # the template's own white space after the end token is no part of the reply
        closed = after.rstrip()
        spans.append((len(before), len(closed) if tokenizer.eos_token and closed.endswith(tokenizer.eos_token) else len(after)))
    out = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    mask = [int(any(first < end and start < last for first, last in spans)) for start, end in out.offset_mapping]
    return list(out.input_ids), mask


def prompt_ids(tokenizer: Any, prompt: str | list[dict[str, str]], raw: bool = False) -> list[int]:
    """Token ids to continue: a user's turn through the chat template, or the text itself where `raw`."""
    if raw:
        ids = list(tokenizer(prompt).input_ids)
        while len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids.pop()
        return ids
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    return list(_rendered(tokenizer, messages, tokenize=True, add_generation_prompt=True, return_dict=True)["input_ids"])


def prompt_of(example: dict[str, Any]) -> tuple[str | list[dict[str, str]], str, bool]:
    """`(prompt, reference, raw)`: what to ask to have the example's last answer again."""
    if "messages" in example:
        messages = example["messages"]
        last = max((i for i, m in enumerate(messages) if m["role"] == "assistant"), default=len(messages))
        reference = messages[last]["content"] if last < len(messages) else ""
        return messages[:last] or messages, reference, False
    if "prompt" in example:
        return example["prompt"], example["completion"], True
    words = example["text"].split()
    half = min(12, max(1, len(words) // 2))
    return " ".join(words[:half]), " ".join(words[half:half + 24]), True
