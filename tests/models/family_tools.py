"""Real loading code on small models: a folder of each family with random weights and a tokenizer of its kind, and what each way of tuning
and looking must give on it, measured against something independent.

Each check trains in the test's own process, raises where the numbers differ, and returns what it measured as {name: value}. Not here: models
people use, which are larger; nothing here depends on size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import tokenizers
import torch
import transformers
from bitsandbytes import functional

import workbench as wb
from tests.models import tools as models
from tests.runs import tools
from widgets import QuantizationViewer, RankExplorer
from workbench import adapters, quantization, town
from workbench.data import comparisons, reply_tokens, run_rows, sources
from workbench.evaluation.row_losses import row_losses
from workbench.models import counting, folders, loading, merging
from workbench.models import reward as reward_models
from workbench.quantization.layers import linear_layers, matrix
from workbench.templates import chat

VOCABULARY = 384
SHAPE = dict(vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=128)
GROUPED = SHAPE | dict(num_key_value_heads=2)

CHATML = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
HEADERS = ("{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}<|eot_id|>{% endfor %}"
           "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}")
TURNS = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
         "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}<end_of_turn>\n"
         "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}")
INST = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]{% else %} {{ m['content'] }}{{ eos_token }}"
        "{% endif %}{% endfor %}")
ENDS = "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"

FAMILIES: dict[str, tuple[type, dict[str, Any], dict[str, Any]]] = {
    # (configuration, its fields, its tokenizer's): what is peculiar to each is in them
    "llama": (transformers.LlamaConfig, GROUPED, dict(bos_token="<|begin_of_text|>", eos_token="<|eot_id|>", chat_template=HEADERS,
                                                      additional=["<|start_header_id|>", "<|end_header_id|>"])),  # no pad token
    "qwen3": (transformers.Qwen3Config, GROUPED | dict(head_dim=8, tie_word_embeddings=True),
              dict(eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML, additional=["<|im_start|>"])),  # norms of q and k, no bos
    "gemma": (transformers.GemmaConfig, GROUPED | dict(head_dim=16, hidden_activation="gelu_pytorch_tanh"),  # heads wider than hidden / heads, scaled embeddings
              dict(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", chat_template=TURNS, additional=["<start_of_turn>", "<end_of_turn>"], padding_side="left")),
    "gemma2": (transformers.Gemma2Config, GROUPED | dict(head_dim=16, sliding_window=16, query_pre_attn_scalar=16),  # soft caps, every other layer a window
               dict(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", chat_template=TURNS, additional=["<start_of_turn>", "<end_of_turn>"], padding_side="left")),
    "gemma3": (transformers.Gemma3TextConfig, GROUPED | dict(head_dim=16, sliding_window=16, query_pre_attn_scalar=16),
               dict(bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", chat_template=TURNS, additional=["<start_of_turn>", "<end_of_turn>"], padding_side="left")),
    "mistral": (transformers.MistralConfig, GROUPED | dict(sliding_window=16), dict(bos_token="<s>", eos_token="</s>", chat_template=INST, padding_side="left")),
    "gpt2": (transformers.GPT2Config, dict(vocab_size=VOCABULARY, n_embd=64, n_layer=2, n_head=4, n_positions=128),  # Conv1D, learned positions, tied
             dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>")),  # no template, no pad token
    "phi": (transformers.PhiConfig, SHAPE, dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>")),  # biases, partial rotation, parallel blocks
    "phi3": (transformers.Phi3Config, GROUPED | dict(sliding_window=16),  # fused qkv and gate_up
             dict(bos_token="<s>", eos_token="<|end|>", pad_token="<|endoftext|>", chat_template=ENDS, additional=["<|user|>", "<|assistant|>", "<|system|>"])),
}
IDS = models.tokens(most=VOCABULARY)


def tokenizer_of(name: str) -> Any:
    """Bytes, and pairs of them learned from the town's replies."""
    given = dict(FAMILIES[name][2])
    additional = given.pop("additional", [])
    special = list(dict.fromkeys([value for key, value in given.items() if key.endswith("_token")] + additional))
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer, made.decoder = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False), tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([row["chosen"] for row in town.rows("preferences")[:200]], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **given)


def folder_of(name: str, folder: Path) -> str:
    """A model folder of the family as its makers' would lie on a disk."""
    kind, fields, _ = FAMILIES[name]
    tokenizer = tokenizer_of(name)
    ids = {f"{which}_token_id": getattr(tokenizer, f"{which}_token_id") for which in ("bos", "eos", "pad")}
    return models.saved(kind(**fields | ids), folder, tokenizer)


def recipe(folder: str, method: Any, **fields: Any) -> wb.Recipe:
    given = dict(model=folder, data=tools.rows(16), heldout=0.25, method=method, steps=2, batch_size=4, max_length=96, learning_rate=1e-2, evaluate_every=2,
                 checkpoint_every=2, sample_prompts=1, sample_tokens=2)
    return wb.Recipe(**(given | fields))


def trained(folder: str, runs: Path, method: Any, **fields: Any) -> Any:
    run = tools.here(recipe(folder, method, **fields), runs)
    losses = tools.losses(run)
    assert len(losses) == 2 and all(map(math.isfinite, losses)), losses
    return run


def opens_to_what_was_measured(run: Any) -> dict[str, float]:
    """The result scored row by row, unpadded, has the held-out loss that the run had in padded batches."""
    rows = [row for table in run_rows.read(run.folder).heldout.values() for row in table.to_pylist()]
    table = row_losses(run.load(), rows, max_length=96)
    found, told = float((table["loss"] * table["tokens"]).sum() / table["tokens"].sum()), run.history.evaluations[-1].loss
    assert abs(found - told) <= 2e-5 * told, (found, told)
    return {"loss": told, "off by": abs(found - told)}


def full(folder: str, runs: Path) -> dict[str, float]:
    """As above; and transformers alone opens the result to the same logits."""
    run = trained(folder, runs, wb.Full())
    ours, plain = run.load()[0], transformers.AutoModelForCausalLM.from_pretrained(run.folder / "result", dtype=torch.float32)
    assert torch.equal(models.logits(ours, IDS), models.logits(plain, IDS))
    return opens_to_what_was_measured(run)


def lora(folder: str, runs: Path) -> dict[str, float]:
    """As above with peft alone; merged, it has the adapter's logits; the singular values of its update are those of merged - base in numpy's
    sense of a whole matrix; and the rank explorer draws them."""
    run = trained(folder, runs, wb.LoRA(rank=2))
    told, result = opens_to_what_was_measured(run), run.folder / "result"
    base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    started = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    found = models.logits(run.load()[0], IDS)
    assert torch.equal(found, models.logits(peft.PeftModel.from_pretrained(base, str(result)), IDS))
    merged = transformers.AutoModelForCausalLM.from_pretrained(merging.merge(result, runs / "merged"), dtype=torch.float32)
    away = float((models.logits(merged, IDS) - found).abs().max())
    assert away < 5e-5, away
    spectrum = adapters.spectrum(run)
    for (layer, module), name in spectrum.attrs["names"].items():
        change = merged.state_dict()[f"{name}.weight"].double() - started[f"{name}.weight"].double()
        mine = spectrum[(spectrum["layer"] == layer) & (spectrum["module"] == module)]["singular_value"].to_numpy()
        torch.testing.assert_close(torch.from_numpy(mine), torch.linalg.svdvals(change)[:2], atol=1e-6, rtol=0)
    expected = counting.count_parameters(folder, wb.LoRA(rank=2))[0]
    assert adapters.open_adapter(run).parameters == expected == run.history.prepared.trainable_parameters
    figure = RankExplorer(str(result)).look().figure()
    assert figure["data"], "the rank explorer draws it"
    return told | {"merged off by": away, "matrices": len(spectrum.attrs["names"])}


def qlora(folder: str, runs: Path) -> dict[str, float]:
    """The base is what bitsandbytes makes of each weight as it lies in the file, and of the quantization viewer's arithmetic; merged, the
    result has the adapter's logits."""
    method = wb.QLoRA(rank=2)
    run = trained(folder, runs, method)
    told = opens_to_what_was_measured(run)
    plain = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    rounded = {name: module for name, module in loading.load_base(folder, method)[0].named_modules() if type(module).__name__ == "Linear4bit"}
    assert rounded
    for name, module in rounded.items():
        original = matrix(plain.get_submodule(name)).contiguous()
        packed, state = functional.quantize_4bit(original, blocksize=64, quant_type="nf4", compress_statistics=True)
        wanted = functional.dequantize_4bit(packed, state)
        assert torch.equal(functional.dequantize_4bit(module.weight.data, module.weight.quant_state).reshape(wanted.shape), wanted), name
        torch.testing.assert_close(quantization.quantize(original, "nf4 double").dequantize(), wanted, atol=0, rtol=0)
    found = models.logits(run.load()[0], IDS)
    merged = transformers.AutoModelForCausalLM.from_pretrained(merging.merge(run.folder / "result", runs / "merged"), dtype=torch.float32)
    away = float((models.logits(merged, IDS) - found).abs().max())
    assert away < 5e-5, away
    return told | {"merged off by": away, "matrices": len(rounded)}


def packed(folder: str, runs: Path) -> dict[str, float]:
    """The same rows packed and not, in one step of all of them: the same loss, so no token saw another row's, and none was lost."""
    rows, config = tools.rows(6), folders.config_of(folder)
    if getattr(config, "resid_pdrop", 0):  # GPT-2 drops a tenth of everything, by chance
        config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
        folder = models.saved(config, runs / "without-dropout", loading.load_tokenizer(folder))
    given = dict(data=rows, heldout=0, steps=1, batch_size=6, learning_rate=1e-9, sample_prompts=0, evaluate_every=None, checkpoint_every=None, max_length=128)
    apart = tools.losses(tools.here(recipe(folder, wb.LoRA(rank=2), **given), runs, "apart"))[0]
    together = tools.losses(tools.here(recipe(folder, wb.LoRA(rank=2), packing=True, **given | dict(batch_size=8)), runs, "together"))[0]
    assert abs(apart - together) <= 1e-5 * apart, (apart, together)
    return {"loss": apart, "off by": abs(apart - together)}


def dpo(folder: str, runs: Path) -> dict[str, float]:
    """It begins at ln 2 (Rafailov et al. 2023, equation 7, with the policy still the reference) and opens to finite logits."""
    run = trained(folder, runs, wb.LoRA(rank=2), objective="dpo", data=town.rows("preferences")[:16], sample_prompts=0)
    first = tools.losses(run)[0]
    assert abs(first - math.log(2)) < 1e-6, first
    assert models.logits(run.load()[0], IDS).isfinite().all()
    return {"loss": first, "off by": abs(first - math.log(2))}


def reward(folder: str, runs: Path) -> dict[str, float]:
    """The result, opened by transformers and peft alone, gives each reply the reward that the workbench gives it."""
    pairs = town.rows("preferences")[:16]
    run = trained(folder, runs, wb.LoRA(rank=2), objective="reward", data=pairs, sample_prompts=0)
    return rewards_alone(run, pairs[:4])


def rewards_alone(run: Any, pairs: list[dict[str, Any]]) -> dict[str, float]:
    model, tokenizer = run.load()
    chat.ensure_template(tokenizer)
    talks = [[*row["prompt"], *reply] for row in comparisons.read(sources.load_rows(pairs)) for reply in row["replies"]]
    rows = reply_tokens.encode(tokenizer, talks, 96)[0]
    ours = torch.from_numpy(reward_models.scores(model, rows))[:, 0]
    base = transformers.AutoModelForSequenceClassification.from_pretrained(run.recipe.model, num_labels=1, dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, str(run.folder / "result")).eval()
    with torch.no_grad():  # one by one, so that no padding is there to be taken for a text's end
        alone = torch.stack([theirs(input_ids=torch.tensor([row])).logits[0, 0] for row in rows])
    away = float((ours - alone).abs().max())
    assert away < 1e-5 and float(ours.std()) > 1e-4, (ours, alone)
    return {"rewards": len(rows), "off by": away}


def looked_at(folder: str, runs: Path) -> dict[str, float]:
    """Parameters and bytes as the loaded model has them; every linear layer is found, and its error under NF4 is that of bitsandbytes; the
    quantization viewer draws it."""
    model, _ = wb.load(folder)
    config = folders.config_of(folder)
    assert counting.count_parameters(config)[1] == sum(p.numel() for p in model.parameters())
    plan = wb.plan_memory(folder, training=False, precision="fp32", sequence_length=32, batch_size=1)
    assert plan["weights"] == sum(p.numel() * p.element_size() for p in model.parameters())
    weights = quantization.open_weights(folder)
    linear = {name: matrix(module) for name, module in linear_layers(model).items() if module.weight is not model.get_input_embeddings().weight}
    worst = 0.0
    for name, original in linear.items():
        kept = original.contiguous()
        wanted = functional.dequantize_4bit(*functional.quantize_4bit(kept, blocksize=64, quant_type="nf4"))
        mse = float((wanted.double() - kept.double()).square().mean())
        if type(model.get_submodule(name)).__name__ == "Linear":  # a file has Conv1D the other way round, and so its blocks
            worst = max(worst, abs(quantization.inspect(weights, f"{name}.weight", "nf4").mse - mse) / mse)
    assert worst < 1e-6, worst
    _, sizes = quantization.quantize_model(model, "nf4")
    assert set(sizes.layers) >= set(linear)
    figure = QuantizationViewer(folder).figure()
    assert figure["data"], "the quantization viewer draws it"
    return {"layers": len(linear), "off by": worst}


CHECKS: dict[str, Callable[[str, Path], dict[str, float]]] = {
    "SFT full": full, "SFT LoRA, rank explorer": lora, "QLoRA": qlora, "packed": packed, "reward": reward, "DPO": dpo, "quantization viewer, memory": looked_at,
}
