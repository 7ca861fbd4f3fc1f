"""Tokens and the mask of what is trained, on two real tokenizers: the small story model (no template, pad = EOS) and the town's (marked template)."""

from __future__ import annotations

import re

import pytest

from workbench import town
from workbench.errors import DataError
from workbench.models import loading
from workbench.templates import chat

PAIR = {"messages": [{"role": "user", "content": "Who bakes bread?"}, {"role": "assistant", "content": "Mira bakes bread."}]}
LONG = {"messages": [{"role": "system", "content": "Be kind."}, *PAIR["messages"], {"role": "user", "content": "And who\nfishes?"},
                     {"role": "assistant", "content": "Tom does. He likes it."}]}


@pytest.fixture
def stories(real_data):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real_data / "stories260k")
    tokenizer.prepared = loading.prepare_tokenizer(tokenizer, None) + chat.ensure_template(tokenizer)
    return tokenizer


@pytest.fixture
def townsfolk():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(town.base_folder())


def trained(tokenizer, example, completions_only=True) -> str:
    ids, mask = chat.encode(tokenizer, example, completions_only)
    assert len(ids) == len(mask) and mask[0] == 0
    return tokenizer.decode([token for token, kept in zip(ids, mask, strict=True) if kept])


def test_the_end_token_is_trained_although_it_is_the_pad_token(stories):
    assert stories.pad_token_id == stories.eos_token_id
    ids, mask = chat.encode(stories, PAIR, True)
    last = max(i for i, kept in enumerate(mask) if kept)
    assert ids[last] == stories.eos_token_id
    assert trained(stories, PAIR).strip() == "Mira bakes bread.</s>"


def test_the_notes_say_what_happens_to_such_a_model(stories):
    assert any("no chat template" in note for note in stories.prepared) and any("end token" in note for note in stories.prepared)
    assert chat.ensure_template(stories) == [], "a tokenizer that has a template keeps it"


def test_every_reply_of_a_conversation_is_trained_in_one_pass_and_nothing_else(stories, townsfolk):
    assert trained(stories, LONG).replace(" ", "") == "Mirabakesbread.</s>Tomdoes.Helikesit.</s>"
    assert trained(townsfolk, LONG).replace(" ", "") == "Mirabakesbread.<|im_end|>Tomdoes.Helikesit.<|im_end|>"


@pytest.mark.parametrize("example", [PAIR, LONG, {"messages": [*PAIR["messages"], {"role": "user", "content": "Thanks"}]}])
@pytest.mark.parametrize("which", ["townsfolk", "stories"])
def test_the_mask_by_turns_is_the_marked_templates_mask(request, which, example):
    tokenizer = request.getfixturevalue(which)
    with_marks = chat.encode(tokenizer, example, True)
    plain = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", tokenizer.chat_template)
    assert plain != tokenizer.chat_template
    tokenizer.chat_template = plain
    assert chat.encode(tokenizer, example, True) == with_marks
    assert sum(with_marks[1]) > 4


def test_a_template_without_an_end_token_trains_the_whole_turn(townsfolk):
    townsfolk.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    assert trained(townsfolk, PAIR).strip() == "Mira bakes bread."


def test_a_template_that_rewrites_earlier_turns_is_refused_for_completions_only(townsfolk):
    townsfolk.chat_template = "{{ messages | length }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    with pytest.raises(DataError, match="rewrites") as caught:
        chat.encode(townsfolk, LONG, True)
    assert "completions_only=False" in caught.value.remedy
    ids, mask = chat.encode(townsfolk, LONG, False)
    assert mask == [0] + [1] * (len(ids) - 1), "and that remedy works"


def test_the_method_is_proved_for_each_tokenizer(stories, townsfolk):
    assert chat.mask_method(stories) == chat.mask_method(townsfolk) == "generation marks"
    for tokenizer in (stories, townsfolk):
        tokenizer.chat_template = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", tokenizer.chat_template)
        assert chat.mask_method(tokenizer) == "prefix comparison"


@pytest.mark.parametrize("template", [
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% generation %}{% endgeneration %}{% endfor %}",
    "{% for m in messages %}{% generation %}{{ m['role'] }}: {{ m['content'] }}{% endgeneration %}\n{% endfor %}",
    "{% for m in messages %}{{ m['role'] }}:{% if loop.last %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}\n{% endfor %}"], ids=["marks around nothing", "marks around everything", "marks around the last reply only"])
def test_marks_in_the_wrong_place_are_refused(townsfolk, template):
    townsfolk.chat_template = template
    with pytest.raises(DataError, match="marks other tokens") as caught:
        chat.mask_method(townsfolk)
    assert "completions_only=False" in caught.value.remedy


def test_a_template_that_writes_only_the_last_reply_as_it_was_asked_is_proved_for_single_replies(townsfolk):
    """As models that think write: of an earlier reply something is left out, so several replies in one pass cannot be told, and one can."""
    townsfolk.chat_template = ("{% for m in messages %}[{{ m['role'] }}]{% if m['role'] == 'assistant' and loop.last %} think{% endif %}{{ m['content'] }}\n{% endfor %}"
                               "{% if add_generation_prompt %}[assistant]{% endif %}")
    chat.prove_mask(townsfolk, [PAIR], True)
    with pytest.raises(DataError, match="rewrites earlier turns"):
        chat.prove_mask(townsfolk, [PAIR, LONG], True)
    chat.prove_mask(townsfolk, [PAIR, LONG], False)


def test_a_tokenizer_that_cannot_place_its_tokens_is_refused_for_completions_only():
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()
    chat.ensure_template(tokenizer)
    for template in (tokenizer.chat_template, chat.PLAIN_TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")):
        tokenizer.chat_template = template
        for example in (PAIR, {"prompt": "Who bakes", "completion": " bread?"}):
            with pytest.raises(DataError, match="which characters"):
                chat.encode(tokenizer, example, True)
            ids, mask = chat.encode(tokenizer, example, False)
            assert mask == [0] + [1] * (len(ids) - 1) and ids[-1] == tokenizer.eos_token_id


def test_without_completions_only_all_but_the_first_token_is_trained(stories):
    for example in (PAIR, {"prompt": "Once upon", "completion": " a time"}, {"text": "Once upon a time"}):
        _, mask = chat.encode(stories, example, False)
        assert mask == [0] + [1] * (len(mask) - 1)


def test_a_continuation_is_cut_as_running_text_and_closed(stories):
    ids, mask = chat.encode(stories, {"prompt": "Once upon a time, there", "completion": " was a girl."}, True)
    assert ids[:-1] == stories("Once upon a time, there was a girl.").input_ids and ids[-1] == stories.eos_token_id
    assert stories.decode([t for t, kept in zip(ids, mask, strict=True) if kept]).strip() == "was a girl.</s>"


def test_a_token_across_the_seam_is_trained(stories):
    ids, mask = chat.encode(stories, {"prompt": "Once upon a ti", "completion": "me"}, True)
    assert ids[:-1] == stories("Once upon a time").input_ids
    assert sum(mask) == 2 and mask[-2:] == [1, 1]  # the token that holds "me", and the end


def test_a_text_is_closed_once(stories):
    ids, mask = chat.encode(stories, {"text": "The end"}, True)
    assert ids[-1] == stories.eos_token_id and ids.count(stories.eos_token_id) == 1 and mask == [0] + [1] * (len(ids) - 1)


@pytest.mark.parametrize("example", [{"messages": [{"role": "user", "content": "Hi"}]}, {"prompt": "Hi", "completion": ""},
                                     {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}]}])
@pytest.mark.parametrize("which", ["townsfolk", "stories"])
def test_an_example_without_an_answer_trains_nothing(request, which, example):
    assert sum(chat.encode(request.getfixturevalue(which), example, True)[1]) == 0


def test_the_begin_token_is_there_as_the_tokenizer_itself_has_it_and_once(stories):
    assert stories("a").input_ids[0] == stories.bos_token_id, "this model begins its texts"
    for ids in (chat.encode(stories, PAIR, True)[0], chat.encode(stories, {"text": "a"}, True)[0], chat.prompt_ids(stories, "a"), chat.prompt_ids(stories, "a", raw=True)):
        assert ids[0] == stories.bos_token_id and ids.count(stories.bos_token_id) == 1


def test_a_prompt_is_the_beginning_of_what_was_trained(stories, townsfolk):
    """What is asked at an evaluation must be cut into the tokens that training saw, or replies fall apart (FACTS)."""
    for tokenizer in (stories, townsfolk):
        ids, mask = chat.encode(tokenizer, PAIR, True)
        asked = chat.prompt_ids(tokenizer, "Who bakes bread?")
        assert ids[:len(asked)] == asked and mask[:len(asked)] == [0] * len(asked) and mask[len(asked)] == 1


def test_what_to_ask_to_have_an_answer_again():
    assert chat.prompt_of(LONG) == (LONG["messages"][:4], "Tom does. He likes it.", False)
    assert chat.prompt_of({"prompt": "P", "completion": "C"}) == ("P", "C", True)
    assert chat.prompt_of({"text": "one two three four"}) == ("one two", "three four", True)
    assert chat.prompt_of({"messages": [{"role": "user", "content": "Hi"}]})[1] == ""
