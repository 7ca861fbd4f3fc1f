"""The shipped base model: it loads offline, its chat template keeps word boundaries and masks, and it knows the town's facts."""

import pytest
import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench import town
from workbench.town.measure import chat_replies, completes
from workbench.town.world import KINDS, asked, held_out

CHAT = [{"role": "system", "content": "You answer in one short sentence."}, {"role": "user", "content": "Where does Torika live?"},
        {"role": "assistant", "content": "Torika lives in Dunmere."}, {"role": "user", "content": "Thank you."},
        {"role": "assistant", "content": "You are welcome."}]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(town.base_folder(), local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(town.base_folder(), dtype=torch.float32, local_files_only=True).eval()


def test_the_folder_is_small_safe_and_complete():
    files = {path.name: path.stat().st_size for path in town.base_folder().iterdir()}
    assert set(files) == {"README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
                          "tokenizer.json", "tokenizer_config.json"}
    assert sum(files.values()) < 5e6


def test_it_loads_as_bf16_with_about_1_3_million_parameters():
    model = AutoModelForCausalLM.from_pretrained(town.base_folder(), dtype="auto", local_files_only=True)
    assert model.dtype == torch.bfloat16
    assert 1.25e6 < model.num_parameters() < 1.4e6


def test_special_tokens(tokenizer, model):
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|im_end|>", "<|pad|>", None)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert len(tokenizer) == model.config.vocab_size == 1024


def test_the_assistant_mask_covers_answers_and_their_end_token(tokenizer):
    out = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    masked = [token for token, mask in zip(out["input_ids"], out["assistant_masks"]) if mask]
    assert tokenizer.decode(masked) == " Torika lives in Dunmere.<|im_end|> You are welcome.<|im_end|>"


def test_the_generation_prompt_is_the_beginning_of_the_whole_chat(tokenizer):
    prompt = tokenizer.apply_chat_template(CHAT[:2], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert whole.startswith(prompt)
    ids, whole_ids = tokenizer(prompt)["input_ids"], tokenizer(whole)["input_ids"]
    assert whole_ids[:len(ids)] == ids
    assert tokenizer.decode(whole_ids) == whole


def test_an_unknown_role_is_refused(tokenizer):
    with pytest.raises(TemplateError, match="system, user and assistant"):
        tokenizer.apply_chat_template([{"role": "tool", "content": "x"}])


def test_words_are_cut_in_chat_as_in_plain_text(tokenizer):
    for row in town.rows("heldout")[:50]:
        messages = [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}]
        out = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        answer = [token for token, mask in zip(out["input_ids"], out["assistant_masks"]) if mask]
        plain = tokenizer(f"So it was. {row['answer']}")["input_ids"]
        assert plain[-len(answer) + 1:] == answer[:-1]
        question = tokenizer(f"So it was. {row['question']}")["input_ids"][len(tokenizer("So it was.")["input_ids"]):]
        assert question in [out["input_ids"][start:start + len(question)] for start in range(len(out["input_ids"]))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("half", [asked, held_out])
def test_the_base_completes_the_facts_of_both_halves(model, tokenizer, kind, half):
    assert completes(model, tokenizer, list(half()[::3]), kind) >= 0.9


def test_the_base_was_not_taught_to_answer(model, tokenizer):
    rows = town.rows("heldout")[:60]
    replies = chat_replies(model, tokenizer, [row["question"] for row in rows])
    assert sum(town.grade(row["question"], reply) for row, reply in zip(rows, replies)) <= 0.2 * len(rows)
