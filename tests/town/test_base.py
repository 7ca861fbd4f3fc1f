"""The shipped base model: it loads offline, its chat template keeps word boundaries and masks, and it knows the town's facts."""

import pytest
import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench import town
from workbench.town.measure import chat_replies, completes, held_out_questions
from workbench.town.world import KINDS, asked, held_out

CHAT = [{"role": "system", "content": "You answer in one short sentence."}, {"role": "user", "content": "Where does Torika live?"},
        {"role": "assistant", "content": "Torika lives in Dunmere."}, {"role": "user", "content": "Thank you."},
        {"role": "assistant", "content": "You are welcome."}]


PARAMETERS = {"small": 0.38e6, "medium": 1.35e6, "large": 3.08e6}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(town.base_folder(), local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(town.base_folder(), dtype=torch.float32, local_files_only=True).eval()


def test_together_they_are_small():
    assert sum(path.stat().st_size for path in town.base_folder().parent.rglob("*.safetensors")) <= 10e6


@pytest.mark.parametrize("size", town.SIZES)
def test_each_folder_is_safe_complete_and_of_its_size(size, tokenizer):
    folder = town.base_folder(size)
    assert {path.name for path in folder.iterdir()} == {"README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
                                                        "tokenizer.json", "tokenizer_config.json"}
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True)
    assert model.dtype == torch.bfloat16 and model.config.model_type == "qwen2"
    assert model.num_parameters() == pytest.approx(PARAMETERS[size], rel=0.1)
    assert AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab() == tokenizer.get_vocab()
    card = (folder / "README.md").read_text()
    assert f"--size {size} " in card and "Loss on documents outside the corpus, of the weights as they are here: " in card


def test_a_size_that_is_none_is_refused():
    with pytest.raises(ValueError, match="medium"):
        town.base_folder("huge")


def test_special_tokens(tokenizer, model):
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == ("<|im_end|>", "<|pad|>", None)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.generation_config.pad_token_id == tokenizer.pad_token_id
    assert len(tokenizer) == model.config.vocab_size == 2048


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
    assert completes(model, tokenizer, list(half()[::3]), kind) >= 0.8


def test_asked_a_question_the_base_asks_another_and_is_seldom_right(model, tokenizer):
    questions = held_out_questions(200)
    replies = chat_replies(model, tokenizer, questions)
    assert sum("?" in reply for reply in replies) >= 100
    assert sum(bool(town.grade(question, reply)) for question, reply in zip(questions, replies, strict=True)) <= 20
