"""Rollouts: a batch with padding and a cache draws what one row alone draws; replies are read as a plain forward pass reads them.

Models are random and tiny, but sharp: their logits are scaled so that no two tokens are nearly as likely.
"""

from __future__ import annotations

import pytest
import torch
import transformers

from workbench.errors import RunError
from workbench.models import methods
from workbench.training import fast_rows, rollouts

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14], [5, 9]]
END = 2
LONGEST = 12


class Tokens:
    """All of a tokenizer that drawing asks for."""

    eos_token_id = END


def tiny(kind: str = "qwen2", seed: int = 0):
    torch.manual_seed(seed)
    body = dict(vocab_size=24, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64)
    if kind == "gpt2":
        config = transformers.GPT2Config(vocab_size=24, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=END,
                                         tie_word_embeddings=False)
    else:
        config = transformers.Qwen2Config(**body, num_key_value_heads=1, intermediate_size=24, eos_token_id=END)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(8 if weights.dim() > 1 else 1)
    return model


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize("kind", ["qwen2", "gpt2"])
def test_a_batch_draws_greedily_what_each_prompt_draws_alone(kind):
    model = tiny(kind)
    model.generation_config.eos_token_id = [END, 3, 4, 17]  # many, so that rows end at different steps and are taken out
    together = rollouts.generate(model, Tokens, PROMPTS * 3, reply_tokens=LONGEST, temperature=0)
    options = dict(max_new_tokens=LONGEST, do_sample=False, pad_token_id=0)
    plain = [model.generate(torch.tensor([prompt]), **options)[0, len(prompt):].tolist() for prompt in PROMPTS]
    assert together.ids == plain * 3 and len({len(ids) for ids in plain}) > 1
    assert together.ended == [ids[-1] in (END, 3, 4, 17) for ids in together.ids]
    alone = [rollouts.generate(model, Tokens, [prompt], reply_tokens=LONGEST, temperature=0).ids[0] for prompt in PROMPTS]
    assert alone == plain
    assert rollouts.generate(model, Tokens, PROMPTS * 3, reply_tokens=LONGEST, temperature=0, chunk=5).ids == together.ids


def test_tokens_are_drawn_as_often_as_they_are_likely():
    """4,000 first tokens against softmax(logits / temperature): no share is off by more than 4 standard deviations."""
    model, temperature, count = tiny(), 8.0, 4000
    drawn = rollouts.generate(model, Tokens, [PROMPTS[0]] * count, reply_tokens=1, temperature=temperature, generator=seeded(1))
    seen = torch.bincount(torch.tensor([ids[0] for ids in drawn.ids]), minlength=24) / count
    wanted = (model(torch.tensor([PROMPTS[0]])).logits[0, -1] / temperature).softmax(-1)
    assert ((seen - wanted).abs() <= 4 * (wanted * (1 - wanted) / count).sqrt() + 1e-9).all()
    assert 0.02 < wanted.max() < 0.9


def test_the_same_seed_draws_the_same_and_a_prompt_may_fill_all_positions():
    model = tiny()
    first, second = (rollouts.generate(model, Tokens, PROMPTS, reply_tokens=6, temperature=3.0, generator=seeded(5)) for _ in range(2))
    assert first.ids == second.ids
    assert [len(ids) for ids in rollouts.generate(model, Tokens, [[5] * 62], reply_tokens=6).ids] <= [2]


def test_weights_that_ran_away_are_said():
    model = tiny()
    torch.nn.init.constant_(model.lm_head.weight, float("nan"))
    with pytest.raises(RunError, match="no longer gives probabilities") as caught:
        rollouts.generate(model, Tokens, PROMPTS, reply_tokens=3)
    assert "smaller learning rate" in caught.value.remedy


@pytest.mark.parametrize(("kind", "laid"), [("qwen2", True), ("qwen2", False), ("gpt2", False)])
def test_replies_are_read_as_a_plain_forward_pass_reads_them(kind, laid):
    model, temperature = tiny(kind), 1.7
    replies = rollouts.generate(model, Tokens, PROMPTS, reply_tokens=9, temperature=4.0).ids
    expected = []
    for prompt, reply in zip(PROMPTS, replies, strict=True):
        with torch.no_grad():
            logp = (model(torch.tensor([prompt + reply])).logits[0, len(prompt) - 1:-1] / temperature).log_softmax(-1)
        expected.append((logp.gather(1, torch.tensor(reply)[:, None])[:, 0], -(logp.exp() * logp).sum(-1)))
    reader = rollouts.Reader(model)
    reader.laid = reader.laid and laid
    found = reader(model, PROMPTS, replies, temperature)
    assert found.mask.sum(1).tolist() == [len(reply) for reply in replies] and found.hidden.shape == (sum(map(len, replies)), 16)
    for row, (logp, entropy) in enumerate(expected):
        assert torch.allclose(found.logp[row][found.mask[row]], logp, atol=1e-4)
        assert torch.allclose(found.entropy[row][found.mask[row]], entropy, atol=1e-4)
    assert (found.logp[~found.mask] == 0).all() and found.logp.requires_grad
    assert reader.laid == laid and (not laid or model.config._attn_implementation == fast_rows.NAME)


def test_reading_in_parts_is_reading_at_once(monkeypatch):
    model = tiny()
    replies = rollouts.generate(model, Tokens, PROMPTS, reply_tokens=9, temperature=4.0).ids
    whole = rollouts.log_probabilities(model, PROMPTS, replies)
    monkeypatch.setattr(rollouts, "CHUNK_TOKENS", 9)
    for one, other in zip(whole, rollouts.log_probabilities(model, PROMPTS, replies), strict=True):
        assert torch.allclose(one.float(), other.float(), atol=1e-4)
    assert not whole[0].requires_grad


def test_a_reader_reads_an_adapter_and_the_model_under_it():
    base = tiny()
    before = rollouts.log_probabilities(base, PROMPTS, PROMPTS)[0]
    model = methods.LoRA(rank=2).apply(base)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.normal_()
    reader = rollouts.Reader(model)
    assert not torch.allclose(reader.quietly(model, PROMPTS, PROMPTS).logp, before, atol=1e-2)
    with model.disable_adapter():
        assert torch.allclose(reader.quietly(model, PROMPTS, PROMPTS).logp, before, atol=1e-4)
