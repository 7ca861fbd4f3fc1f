"""Small decoders to plan for, and what autograd keeps of them."""

from typing import Any

import torch
import transformers


def model_of(
    layers: int = 2,
    hidden: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    inner: int = 176,
    vocabulary: int = 1000,
    tied: bool = True,
    family: str = "qwen2",
) -> transformers.PretrainedConfig:
    """The config of a small decoder."""
    kind = {"qwen2": transformers.Qwen2Config, "llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config}[family]
    return kind(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=tied,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
    )


def kept_by_autograd(model: Any, batch: int, length: int, autocast: bool = False) -> int:
    """Bytes that the graph of one forward pass holds, weights and the labels left out; tensors that share their memory are counted once."""
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    found: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own and tensor.is_floating_point():
            found[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    model.train()
    ids = torch.randint(0, model.config.vocab_size, (batch, length))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    assert loss.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())
