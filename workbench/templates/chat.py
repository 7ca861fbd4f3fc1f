"""Examples as tokens, with a mask of what is trained.

A conversation goes through the tokenizer's own chat template; the trained tokens are the assistant's, told by the template's
`{% generation %}` marks, or, where it has none, by rendering the conversation turn by turn. A tokenizer without a chat template
gets `PLAIN_TEMPLATE`. Not here: cutting, packing and padding (`training/rows.py`); promptsource templates.

Shapes: ids and mask are lists of one length, the mask 1 where the token is trained.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example, uncut. `ids`, `mask` and `places` have one length; `places` are (first, last) characters of each token in `text`, the
    example as it is written, and (n, n) for an end token that was put behind it (`text` then ends with its name)."""

    text: str
    ids: list[int]
    mask: list[int]
    places: list[tuple[int, int]]


CHUNK = 512
"""Examples rendered and tokenized together."""


def encode(tokenizer: Any, example: dict[str, Any], completions_only: bool) -> tuple[list[int], list[int]]:
    """`(ids, mask)` of one example of `data.layouts`, uncut.

    The first token is never trained: nothing predicts it. Raises `DataError` where `completions_only` cannot be honoured.
    """
    return next(encode_all(tokenizer, [example], completions_only))


def encode_all(tokenizer: Any, examples: Sequence[dict[str, Any]], completions_only: bool) -> Iterator[tuple[list[int], list[int]]]:
    """`encode` of each example in order, many of them tokenized at a time. Raises as it does, at the first chunk it cannot."""
    for begun in range(0, len(examples), CHUNK):
        for ids, mask, _, _ in _encoded(tokenizer, examples[begun:begun + CHUNK], completions_only):
            yield ids, mask


def read(tokenizer: Any, example: dict[str, Any], completions_only: bool) -> Encoded:
    """`encode` of one example, and beside it the text and where in it each token stands. Raises as `encode` does."""
    _check_places(tokenizer)
    ids, mask, text, encoding = next(_encoded(tokenizer, [example], completions_only))
    places = [(first, last) for first, last in encoding.offsets]
    if len(places) < len(ids):
        text, n = text + tokenizer.eos_token, len(text)
        places.append((n, len(text)))
    return Encoded(text, ids, mask, places)


Spans = list[tuple[int, int]]


def _encoded(tokenizer: Any, examples: Sequence[dict[str, Any]], completions_only: bool) -> Iterator[tuple[list[int], list[int], str, Any]]:
    """ids, mask, text and the fast tokenizer's encoding of each example; a chunk is tokenized in one call for each kind of example."""
    if completions_only and any("text" not in example for example in examples):
        _check_places(tokenizer)
    texts, spans = [""] * len(examples), [[] for _ in examples]
    talks = [number for number, example in enumerate(examples) if "messages" in example]
    written = _conversations(tokenizer, [examples[number]["messages"] for number in talks], completions_only)
    for number, (text, span) in zip(talks, written, strict=True):
        texts[number], spans[number] = text, span
    for number, example in enumerate(examples):
        if "prompt" in example:
            texts[number] = example["prompt"] + example["completion"]
            spans[number] = [(len(example["prompt"]), len(texts[number]))]
        elif "messages" not in example:
            texts[number] = example["text"]
    others = [number for number, example in enumerate(examples) if "messages" not in example]
    found = dict(zip(talks, _tokenized(tokenizer, [texts[n] for n in talks], False), strict=True))
    found |= zip(others, _tokenized(tokenizer, [texts[n] for n in others], True), strict=True)
    for number, example in enumerate(examples):
        ids, encoding = found[number]
        mask = _mask(encoding, len(ids), spans[number]) if completions_only and "text" not in example else [1] * len(ids)
        if "messages" not in example:
            ids, mask = _ended(tokenizer.eos_token_id, example, ids, mask, completions_only)
        if mask:
            mask[0] = 0
        yield ids, mask, texts[number], encoding


def _ended(end: int, example: dict[str, Any], ids: list[int], mask: list[int], completions_only: bool) -> tuple[list[int], list[int]]:
    """With the end token behind a text or an answer, once; where there is no answer, nothing of it is trained."""
    plain = "text" in example
    answered = bool(example["text" if plain else "completion"].strip())
    if not answered and (plain or completions_only):
        mask = [0] * len(ids)
    if plain or answered:
        ids = ids if ids[-1:] == [end] else [*ids, end]
        mask = [*mask[:len(ids) - 1], int(answered)]
    return ids, mask


def _tokenized(tokenizer: Any, texts: list[str], special: bool) -> list[tuple[list[int], Any]]:
    """Ids of each text and, of a fast tokenizer, its encoding, which knows the characters of each token."""
    if not texts:
        return []
    out = tokenizer(texts, add_special_tokens=special, padding=False, truncation=False, return_attention_mask=False, verbose=False)
    return list(zip(out["input_ids"], out.encodings or [None] * len(texts), strict=True))


def _mask(encoding: Any, count: int, spans: Spans) -> list[int]:
    """1 for each token that holds a character of one of the spans, a token across a seam included."""
    mask = [0] * count
    for first, last in spans:
        begun = next(filter(lambda token: token is not None, map(encoding.char_to_token, range(first, last))), None)
        if begun is None:
            continue
        end = next(filter(lambda token: token is not None, map(encoding.char_to_token, range(last - 1, first - 1, -1))))
        while end + 1 < count and (place := encoding.token_to_chars(end + 1)) and first < place[1] and place[0] < last:
            end += 1  # a character of several bytes may be several tokens, of which only the first was named
        mask[begun:end + 1] = [1] * (end + 1 - begun)
    return mask


def _rendered(tokenizer: Any, conversations: list[list[dict[str, str]]], prompt: bool = False) -> tuple[list[str], list[Spans]]:
    """The conversations as the tokenizer's own template writes them (sandboxed by transformers), and where its `{% generation %}` marks
    stand in each. What the template refuses is said in a sentence."""
    from transformers.utils.chat_template_utils import render_jinja_template

    template, marked = tokenizer.get_chat_template(), _marked(tokenizer)
    options = dict(chat_template=template, add_generation_prompt=prompt, return_assistant_tokens_mask=marked)
    try:
        texts, spans = render_jinja_template(conversations=conversations, **options, **tokenizer.special_tokens_map)
        return texts, spans or [[] for _ in texts]
    except jinja2.TemplateError as error:
        if len(conversations) > 1:  # the same one by one, to name the one it refuses
            for conversation in conversations:
                _rendered(tokenizer, [conversation], prompt)
        roles = ", ".join(dict.fromkeys(message["role"] for message in conversations[0]))
        raise DataError(f"The tokenizer's chat template refuses a conversation of the roles {roles}: {error}.".replace("..", "."),
                        "Leave such turns out, or use a model whose template takes them.") from error


def _conversations(tokenizer: Any, conversations: list[list[dict[str, str]]], completions_only: bool) -> list[tuple[str, Spans]]:
    """Each conversation written out, and the characters of it that are trained (none where there is no reply, or all tokens are)."""
    if not conversations:
        return []
    texts, spans = _rendered(tokenizer, conversations)
    if not completions_only:
        return [(text, []) for text in texts]
    replied = [any(message["role"] == "assistant" and message["content"].strip() for message in messages) for messages in conversations]
    if not _marked(tokenizer):
        spans = [_turns(tokenizer, messages, text) if any_reply else []
                 for messages, text, any_reply in zip(conversations, texts, replied, strict=True)]
    return [(text, span if any_reply else []) for text, span, any_reply in zip(texts, spans, replied, strict=True)]


def _check_places(tokenizer: Any) -> None:
    if not tokenizer.is_fast:
        raise DataError("This tokenizer does not tell which characters a token came from, so completions_only cannot be honoured.",
                        "Use completions_only=False, or a model with a fast tokenizer.")


def _marked(tokenizer: Any) -> bool:
    return bool(re.search(r"\{%[-+]?\s*generation\b", tokenizer.get_chat_template()))


PROBE = [("Who bakes bread?", "Mira does."), ("And who has a boat?", "Tom has one.")]


def prove_mask(tokenizer: Any, examples: Sequence[dict[str, Any]], completions_only: bool) -> None:
    """`mask_method` for what these examples are: conversations of one reply or of several, or none at all, where nothing is to be proved. Raises as it does."""
    replies = [sum(message["role"] == "assistant" for message in example["messages"]) for example in examples if "messages" in example]
    if completions_only and replies:
        mask_method(tokenizer, 2 if max(replies) > 1 else 1)


def mask_method(tokenizer: Any, replies: int = 2) -> str:
    """How replies are told from the rest: "generation marks" or "prefix comparison", proved on a conversation of one or two replies.

    Proved means: the replies are among the trained tokens, in order, and no question is. Raises `DataError` where that fails, and
    where the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise DataError("The tokenizer has no chat template.", "Give it one first (ensure_template).")
    probe = PROBE[:replies]
    messages = [{"role": role, "content": text} for turn in probe for role, text in zip(("user", "assistant"), turn, strict=True)]
    ids, mask = encode(tokenizer, {"messages": messages}, True)

    def written(tokens: list[int]) -> str:
        return "".join(tokenizer.decode(tokens, skip_special_tokens=True).split())

    trained = written([token for token, kept in zip(ids, mask, strict=True) if kept])
    questions, answers = ([written(tokenizer(turn[side], add_special_tokens=False).input_ids) for turn in probe] for side in (0, 1))
    place = 0
    for answer in answers:
        place = trained.find(answer, place) + len(answer) if place >= 0 and trained.find(answer, place) >= 0 else -1
    if place < 0 or any(question in trained for question in questions):
        raise DataError("This tokenizer's chat template marks other tokens than the replies, so completions_only cannot be honoured.",
                        "Mend its {% generation %} marks, or use completions_only=False.")
    return "generation marks" if _marked(tokenizer) else "prefix comparison"


def _turns(tokenizer: Any, messages: list[dict[str, str]], whole: str) -> Spans:
    """For templates without marks: a reply is what its turn adds after the generation prompt. Only right if each rendering begins with the
    one before it, which is checked."""
    numbers = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
    asked, _ = _rendered(tokenizer, [messages[:index] for index in numbers], prompt=True)
    told, _ = _rendered(tokenizer, [messages[:index + 1] for index in numbers])
    spans = []
    for before, after in zip(asked, told, strict=True):
        if not after.startswith(before) or not whole.startswith(after.rstrip("\n")):
            what = "rewrites earlier turns" if len(numbers) > 1 else "does not write a reply behind the prompt that asks for it"
            raise DataError(f"This tokenizer's chat template {what}, so training on completions only cannot be honoured.",
                            "Use completions_only=False, or a template with {% generation %} marks; trl.chat_template_utils.get_training_chat_template(tokenizer) knows "
                            "some.")
        # the template's own white space after the end token is no part of the reply
        closed = after.rstrip()
        ended = tokenizer.eos_token and closed.endswith(tokenizer.eos_token)
        spans.append((len(before), min(len(whole), len(closed if ended else after))))
    return spans


def prompt_ids(tokenizer: Any, prompt: str | list[dict[str, str]], raw: bool = False) -> list[int]:
    """Token ids to continue: a user's turn through the chat template, or the text itself where `raw`."""
    if raw:
        ids = list(tokenizer(prompt).input_ids)
        while len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
            ids.pop()
        return ids
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    text, _ = _rendered(tokenizer, [messages], prompt=True)
    return list(tokenizer(text[0], add_special_tokens=False).input_ids)


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
