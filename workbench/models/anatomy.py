"""Reads the architecture of a model: which linear maps and norms its layers have, what each is for, and which are trained.

Once for a model on the meta device (`counting.outline`), so no weight is loaded. Knows decoders and encoders of the usual build:
attention, then a multilayer perceptron, gated or not. Of others it says so and leaves the layers out.
"""

import itertools
from collections.abc import Iterable
from typing import Any

from workbench.models.architecture import Architecture, Layer, Map, Norm

INPUTS = frozenset(
    {
        "q_proj",
        "k_proj",
        "v_proj",
        "query",
        "key",
        "value",
        "q_lin",
        "k_lin",
        "v_lin",
        "q",
        "k",
        "v",
        "c_attn",
        "qkv_proj",
        "query_key_value",
        "qkv",
        "Wqkv",
        "in_proj",
    }
)
"""Names of an attention's maps from the hidden state; its other maps lead back to it."""
LINEAR = ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")
RECKONED = {"LORA", "PROMPT_TUNING", "P_TUNING"}
"""Of peft's types those whose own activations are known."""
ADAPTED_NAMES = ("lora_A", "lora_B", "lora_magnitude_vector", "lora_dropout", "lora_embedding_A", "lora_embedding_B")


def read(model: Any, bits: int = 0, double: bool = True) -> Architecture:
    """The architecture of `model`, on the meta device or not. `bits` 4 or 8 says that its matrices are quantized once weights are loaded, 4
    bits with `double` quantization of their scales."""
    config, blocks = _text_config(model), _blocks(model)
    rotary = any("Rotary" in type(module).__name__ for module in model.modules())
    layers = [_layer(block, config, bits, rotary) for block in blocks]
    parameters = _once(model.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    embedding, head = _call(model, "get_input_embeddings"), _call(model, "get_output_embeddings") or _classifier(model)
    matrices = (
        _once(_base(module).weight for block in blocks for _, module in _linears(block)) if bits else [p for p in parameters if _bits_of(p)]
    )
    quantized = {id(weight): weight for weight in matrices if not weight.requires_grad}
    counted = sum(map(_numel, quantized.values()))
    bits = (bits or max(map(_bits_of, quantized.values()))) if quantized else 0
    trained_count = sum(map(_numel, trained))
    prompt = _prompt_tokens(model)
    own = set().union(*({id(module) for module in block.modules()} for block in blocks)) if blocks else set()
    norms = [module for module in model.modules() if _is_norm(module) and id(module) not in own]
    return Architecture(
        kind=type(_bare(model)).__name__,
        stacks=tuple((layer, len(list(alike))) for layer, alike in itertools.groupby(layers)),
        hidden=layers[0].hidden if layers else 0,
        trained=trained_count,
        frozen=sum(map(_numel, parameters)) - trained_count - counted,
        quantized=counted,
        bits=bits,
        constants=_constants(list(quantized.values()), bits, double),
        largest_trained=max(map(_numel, trained), default=0),
        largest_quantized=max(map(_numel, quantized.values()), default=0),
        largest_layer=max((sum(map(_numel, _once(block.parameters()))) for block in blocks), default=0),
        embedding=_numel(embedding.weight) if embedding is not None else 0,
        embedding_trained=embedding is not None and embedding.weight.requires_grad,
        tied=head is not None and embedding is not None and _base(head).weight is embedding.weight,
        head=_map(head, 0) if head is not None else None,
        every_token=not type(_bare(model)).__name__.endswith("ForSequenceClassification"),
        norm=_norm(norms[-1]) if norms else None,
        input_learns=prompt > 0 or any(p.requires_grad for p in embedding.parameters()) if embedding is not None else False,
        rotary=layers[0].head_dim if layers and rotary else 0,
        capped=bool(getattr(config, "final_logit_softcapping", None)),
        notes=_notes(model, config, layers),
        buffers=sum(buffer.numel() * buffer.element_size() for buffer in _once(model.buffers())),
        prompt_tokens=prompt,
        positions=getattr(config, "max_position_embeddings", None),
    )


def _constants(weights: list[Any], bits: int, double: bool) -> float:
    """Of 4 bits one fp32 scale a block of 64, or, quantized again, 8 bits of it and one fp32 a 256 of these (Dettmers et al. 2023, section
    3); of 8 bits one fp32 a row."""
    if bits != 4:
        return 4 * sum(weight.shape[0] for weight in weights) / max(1, sum(map(_numel, weights)))
    states = [state for weight in weights if (state := getattr(weight, "quant_state", None)) is not None]
    double = all(state.nested for state in states) if states else double
    return (1 + 4 / 256) / 64 if double else 4 / 64


# ---- a block


def _layer(block: Any, config: Any, bits: int, rotary: bool) -> Layer:
    groups: dict[str, list[Any]] = {"attention_in": [], "attention_out": [], "mlp_in": [], "mlp_out": [], "added": []}
    hidden = _hidden(config)
    for name, module in _linears(block):
        groups[_role(name, module, hidden)].append(module)
    made = {role: tuple(_map(module, bits) for module in modules) for role, modules in groups.items()}
    if experts := _experts(config):
        inner = experts * (_first(config, "moe_intermediate_size", "intermediate_size") or 0)
        trained = any(p.requires_grad for p in block.parameters() if p.dim() == 3) or any(of.trained for of in made["mlp_out"])
        made |= {"mlp_in": (Map(experts * hidden, 2 * inner, trained),), "mlp_out": (Map(inner, hidden, trained),)}
    heads = _first(config, "num_attention_heads", "n_head", "n_heads", "num_heads") or 1
    head_dim = getattr(config, "head_dim", None) or hidden // heads
    inner = max((of.d_in for of in made["mlp_out"]), default=0)
    norms = [_norm(module) for module in block.modules() if _is_norm(module)]
    parameters = _once(block.parameters())
    return Layer(
        hidden=hidden,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=head_dim,
        inner=inner,
        gated=sum(of.d_out for of in made["mlp_in"]) >= 2 * inner > 0,
        activation=str(_first(config, "hidden_act", "activation_function", "hidden_activation", "activation") or ""),
        dropout=float(_first(config, "resid_pdrop", "hidden_dropout_prob", "hidden_dropout", "dropout") or 0.0),
        capped=bool(getattr(config, "attn_logit_softcapping", None)),
        rotary=rotary,
        **made,
        norms=tuple(norm for norm in norms if norm.width != head_dim or head_dim == hidden),
        head_norms=tuple(norm for norm in norms if norm.width == head_dim != hidden),
        trained=sum(_numel(p) for p in parameters if p.requires_grad),
        parameters=sum(map(_numel, parameters)),
    )


def _role(name: str, module: Any, hidden: int) -> str:
    parts = name.split(".")
    last = parts[-1]
    if any("adapter" in part.lower() or "bottleneck" in part.lower() for part in parts):
        return "added"
    if any("attn" in part.lower() or "attention" in part.lower() for part in parts[:-1]):
        return "attention_in" if last in INPUTS else "attention_out"
    of = _map(module, 0)
    if of.trained and hidden not in (of.d_in, of.d_out):
        return "added"
    return "mlp_out" if of.d_out == hidden and (of.d_in != hidden or last in ("down_proj", "fc2", "c_proj", "fc_out", "w2")) else "mlp_in"


def _linears(block: Any) -> list[tuple[str, Any]]:
    """Every linear map by its name; one with a low-rank adapter counts as one."""
    found, inside = [], set()
    for name, module in block.named_modules():
        if any(part in ADAPTED_NAMES for part in name.split(".")) or id(module) in inside:
            continue
        if hasattr(module, "lora_A") and hasattr(module, "base_layer"):
            inside.add(id(module.base_layer))
            if _is_linear(module.base_layer):
                found.append((name, module))
        elif _is_linear(module):
            found.append((name, module))
    return found


def _is_linear(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return (
        weight is not None
        and weight.dim() == 2
        and (type(module).__name__ in LINEAR or hasattr(module, "in_features") and hasattr(module, "out_features"))
    )


def _map(module: Any, bits: int) -> Map:
    base = _base(module)
    if type(base).__name__ == "Conv1D":
        d_in, d_out = base.weight.shape
    else:
        d_in, d_out = getattr(base, "in_features", base.weight.shape[-1]), getattr(base, "out_features", base.weight.shape[0])
    ranks = [a.weight.shape[0] for a in getattr(module, "lora_A", {}).values()] if module is not base else []
    dropouts = [float(getattr(d, "p", 0.0)) for d in getattr(module, "lora_dropout", {}).values()] if ranks else []
    bias = getattr(base, "bias", None)
    return Map(
        d_in,
        d_out,
        base.weight.requires_grad,
        biased=bias is not None and bias.requires_grad,
        rank=sum(ranks),
        dropout=max(dropouts, default=0.0),
        decomposed=bool(ranks) and len(getattr(module, "lora_magnitude_vector", ())) > 0,
        bits=bits or _bits_of(base.weight),
        rounded=type(base).__name__ == "RoundedLinear",
    )


def _base(module: Any) -> Any:
    return getattr(module, "base_layer", module)


def _is_norm(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return "Norm" in type(module).__name__ and getattr(weight, "dim", lambda: 0)() == 1


def _norm(module: Any) -> Norm:
    return Norm(
        module.weight.shape[0],
        module.weight.requires_grad,
        any(p.requires_grad for p in module.parameters()),
        "RMS" not in type(module).__name__,
    )


def _experts(config: Any) -> int:
    """Experts that each token is sent to; 0 where a layer has no experts."""
    return _first(config, "num_experts_per_tok", "num_experts_per_token", "top_k_experts") or 0


def _notes(model: Any, config: Any, layers: list[Layer]) -> tuple[str, ...]:
    notes = []
    if not layers:
        notes.append("The layers of this model are of a kind not known here, so activations are left out.")
    if layers and _experts(config):
        notes.append("Activations of the experts are reckoned as if tokens were spread evenly over them; that was not measured.")
    for kind in _peft_types(model) - RECKONED:
        notes.append(f"What {kind} keeps for the backward pass beyond the model's own is not known here, and left out.")
    return tuple(notes)


# ---- the model


def _blocks(model: Any) -> list[Any]:
    """The layers: the list of modules of one kind that holds most of the parameters."""
    import torch

    if getattr(getattr(_bare(model), "config", None), "is_encoder_decoder", False):
        return []  # two stacks, with attention across: not reckoned here
    lists = [
        list(found) for found in model.modules() if isinstance(found, torch.nn.ModuleList) and len({type(each) for each in found}) == 1
    ]
    lists = [blocks for blocks in lists if _linears(blocks[0])]
    return max(lists, key=lambda blocks: sum(p.numel() for block in blocks for p in block.parameters()), default=[])


def _bare(model: Any) -> Any:
    """The transformers model within a peft one."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _text_config(model: Any) -> Any:
    config = getattr(_bare(model), "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _hidden(config: Any) -> int:
    return _first(config, "hidden_size", "n_embd", "d_model", "dim") or 0


def _first(config: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


def _call(model: Any, name: str) -> Any:
    try:
        return getattr(_bare(model), name)()
    except (AttributeError, NotImplementedError):
        return None


def _classifier(model: Any) -> Any:
    return next(
        (
            _base(found)
            for name in ("score", "classifier")
            if (found := getattr(_bare(model), name, None)) is not None and hasattr(_base(found), "weight")
        ),
        None,
    )


def _prompt_tokens(model: Any) -> int:
    configs = getattr(model, "peft_config", {})
    return sum(getattr(config, "num_virtual_tokens", None) or 0 for config in configs.values()) if isinstance(configs, dict) else 0


def _peft_types(model: Any) -> set[str]:
    configs = getattr(model, "peft_config", {})
    kinds = (config.peft_type for config in configs.values()) if isinstance(configs, dict) else ()
    return {str(getattr(kind, "value", kind)) for kind in kinds}


def _bits_of(weight: Any) -> int:
    return {"Params4bit": 4, "Int8Params": 8}.get(type(weight).__name__, 0)


def _numel(parameter: Any) -> int:
    """Weights in a parameter; those of 4 bits lie two to a byte."""
    state = getattr(parameter, "quant_state", None)
    return state.shape.numel() if state is not None else parameter.numel()


def _once(tensors: Iterable[Any]) -> list[Any]:
    return list({id(tensor): tensor for tensor in tensors}.values())
