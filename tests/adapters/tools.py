"""Adapters for the tests: made with peft itself on tiny random models, or written by hand in other layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from workbench.models.quiet import quiet_peft


def tiny(kind: str = "llama", seed: int = 0) -> Any:
    """A random model of two layers; hidden size 16, inner size 24."""
    import transformers

    torch.manual_seed(seed)
    if kind == "gpt2":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=32, n_positions=16, n_embd=16, n_layer=2, n_head=2, n_inner=24))
    if kind == "bert":
        return transformers.BertForSequenceClassification(transformers.BertConfig(vocab_size=32, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
                                                                                  intermediate_size=24))
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                                                  num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False))


def adapted(model: Any, seed: int = 0, **options: Any) -> Any:
    """`model` with a LoRA of peft's whose A and B are random, so that the update is not zero."""
    with quiet_peft() as peft:
        found = peft.get_peft_model(model, peft.LoraConfig(**({"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | options)))
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in found.named_parameters():
        if "lora_A" in name or "lora_B" in name or "lora_embedding" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return found


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(str(folder))
    return folder


def deltas(model: Any) -> dict[str, torch.Tensor]:
    """Matrix -> ΔW as peft itself merges it, [d_out × d_in] or as the base stores it, float64. Formed: the tests are for what never forms
    it."""
    prefix = "base_model.model."
    return {name.removeprefix(prefix): module.get_delta_weight("default").detach().double() for name, module in model.named_modules()
            if hasattr(module, "get_delta_weight")}
