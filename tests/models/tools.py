"""What tests of methods share: tiny models made on the spot, their logits, a few steps of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers


def small_llama(**fields: Any) -> transformers.LlamaConfig:
    """Two layers without any bias."""
    return transformers.LlamaConfig(**(dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
                                            vocab_size=64, max_position_embeddings=64) | fields))


def saved(config: Any, folder: Path, tokenizer: Any) -> str:
    """A folder of a model with random weights."""
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def tokens(rows: int = 2, length: int = 12, most: int = 300, seed: int = 1) -> torch.Tensor:
    return torch.randint(5, most, (rows, length), generator=torch.Generator().manual_seed(seed))


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits


def step(model: Any, ids: torch.Tensor, steps: int = 2, rate: float = 1e-2) -> Any:
    """`steps` of AdamW on the tokens themselves; returns the model."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model
