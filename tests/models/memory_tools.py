"""The memory that a training step really takes, as torch's profiler sees it allocated and freed on the CPU; and models to try it on.

A step is the Trainer's: forward, loss, backward, AdamW, gradients dropped. The first step makes the optimizer's states and is not looked at.
"""

from typing import Any

import torch
import transformers


def model_of(layers: int = 2, hidden: int = 64, heads: int = 4, kv_heads: int = 2, inner: int = 176, vocabulary: int = 1000, tied: bool = True,
             family: str = "qwen2") -> transformers.PretrainedConfig:
    """The config of a small decoder."""
    kind = {"qwen2": transformers.Qwen2Config, "llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config}[family]
    return kind(vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
                num_key_value_heads=kv_heads, tie_word_embeddings=tied, max_position_embeddings=2048, bos_token_id=0, eos_token_id=0)


def bytes_held(model: Any, optimizer: Any = None) -> dict[str, int]:
    """Bytes of the tensors that are there between two steps, by what they are; those that share their memory are counted once."""
    def of(tensors: Any) -> int:
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    states = [value for state in (optimizer.state.values() if optimizer else ()) for value in state.values() if torch.is_tensor(value)]
    extra = [t for p in model.parameters() if (state := getattr(p, "quant_state", None)) is not None for t in _tensors(state)]
    return {"weights": of([*model.parameters(), *extra]), "optimizer": of(states), "buffers": of(model.buffers())}


def _tensors(state: Any) -> list[torch.Tensor]:
    """Of a bitsandbytes quantization state: the scales, quantized again or not."""
    nested = _tensors(state.state2) if getattr(state, "state2", None) is not None else []
    return [value for value in (state.absmax, getattr(state, "offset", None), state.code) if torch.is_tensor(value)] + nested


def peak_of_step(model: Any, batch: int, length: int, checkpointing: bool = False, autocast: bool = False) -> dict[str, float]:
    """{"peak": most bytes at one moment of the second step, "held": bytes between the steps}; the first counts what is held and what the step allocates."""
    torch.manual_seed(0)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(dict(use_reentrant=False))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    ids = torch.randint(0, model.config.vocab_size, (batch, length))

    def loss_of() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return model(input_ids=ids, labels=ids, use_cache=False).loss

    def step() -> None:
        loss_of().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    held = sum(bytes_held(model, optimizer).values())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    return {"peak": held + highest(profile), "held": held}


def highest(profile: Any) -> int:
    """The most bytes that were there at once, above what was there before, in the profiler's timeline of allocations on the CPU."""
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]" and event.device_type() == torch.profiler.DeviceType.CPU]
    now = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


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
