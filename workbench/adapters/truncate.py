"""An adapter cut to a smaller rank: of every matrix the r leading singular directions of ΔW, which no other matrix of rank r comes closer
to (Eckart and Young 1936; Mirsky 1960), in the Frobenius and in the spectral norm.

Not here: scoring what is left on rows (`workbench.evaluation.truncation`).

Shapes: A is [r × d_in], B is [d_out × r].
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.adapters.names import pattern_matches
from workbench.adapters.opening import Adapter, Factor, changes_base, open_adapter
from workbench.adapters.spectra import decompose
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    import torch

BESIDE = ("config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "chat_template*",
          "adapter_method.json")
"""Files of an adapter's folder that go with it; `config.json` is a classifier's, with its labels."""


def truncate(source: Any, rank: int | dict[str, int], folder: str | Path, names: dict[str, str] | None = None) -> Path:
    """Write the best adapter of rank `rank` into `folder`, as peft loads it; returns the folder.

    `source` and `names` as `open_adapter` takes them. `rank` is one for all, or {"q_proj": 4, "layers.0.mlp.up_proj": 2} by the end of a
    matrix's name as in peft's `rank_pattern`; matrices not named keep theirs, those of rank 0 lose their update. alpha becomes the rank, so
    that B·A is ΔW itself. Of DoRA the direction is cut and the magnitude kept; the vector of `lora_bias` is kept too. Raises
    `WorkbenchError` for a rank or a name that cannot be, and for a folder that holds an adapter already.
    """
    import safetensors.torch

    adapter = open_adapter(source, names)
    refuse_moved_base(adapter)
    folder = Path(folder).expanduser()
    if (folder / "adapter_config.json").exists():
        raise WorkbenchError(f"{folder} holds an adapter already.", "Give another folder.")
    ranks = {factor.name: min(wanted, factor.rank, *factor.shape) for factor, wanted in zip(adapter.factors, ranks_of(adapter, rank), strict=True)}
    kept = [factor for factor in adapter.factors if ranks[factor.name]]
    if not kept:
        raise WorkbenchError("Every matrix would lose its update.", "Keep a rank of at least 1 somewhere; without any update it is the base model.")
    tensors = dict(adapter.rest)
    for factor in kept:
        tensors |= _stored(factor, ranks[factor.name])
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.contiguous() for key, tensor in tensors.items()}
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(_config(adapter, kept, ranks), indent=2) + "\n")
    for pattern in BESIDE:
        for found in adapter.path.glob(pattern):
            shutil.copy2(found, folder / found.name)
    return folder


def refuse_moved_base(adapter: Adapter) -> None:
    """Raises `WorkbenchError` for PiSSA and its like as peft saves them by default: loading puts another part of the base under the
    update."""
    if changes_base(adapter):
        raise WorkbenchError(f"{adapter.path} began as {adapter.config['init_lora_weights']}, so what it changed cannot be told from its factors.",
                             "Save it with save_pretrained(folder, path_initial_model_for_weight_conversion=...), which makes a plain LoRA of it.")


def ranks_of(adapter: Adapter, rank: int | dict[str, int]) -> list[int]:
    """The rank asked for of each factor, in the adapter's order. Raises `WorkbenchError` for what is no rank, or names nothing."""
    given = rank.values() if isinstance(rank, dict) else (rank,)
    for value in given:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise WorkbenchError(f"A rank of {value!r} is none.", "Use a whole number such as 4.")
    if not isinstance(rank, dict):
        return [rank] * len(adapter.factors)
    for pattern in rank:
        if not any(pattern_matches(pattern, factor.name) for factor in adapter.factors):
            raise WorkbenchError(f"The adapter has no update of {pattern!r}.",
                                 f"It has {', '.join(sorted({factor.module for factor in adapter.factors}))}.")
    return [next((value for pattern, value in rank.items() if pattern_matches(pattern, factor.name)), factor.rank) for factor in adapter.factors]


def cut(factor: Factor, rank: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """(A [rank × d_in], B [d_out × rank]), float64, with B·A the part of ΔW on its `rank` leading directions: √σ on either side."""
    left, values, right = decompose(factor)
    root = values[:rank].sqrt()
    return root[:, None] * right[:, :rank].mT, left[:, :rank] * root


def projected(factor: Factor, ranks: list[int]) -> "dict[int, torch.Tensor]":
    """Rank -> a B' [d_out × r] that with A and the scale as they are makes ΔW's leading directions: U_k U_kᵀ B, in B's own format. For a
    loaded model."""
    left, _, _ = decompose(factor)
    inner = left.mT @ factor.b.double()
    return {rank: (left[:, :rank] @ inner[:rank]).to(factor.b.dtype) for rank in ranks}


def _stored(factor: Factor, rank: int) -> "dict[str, torch.Tensor]":
    """The tensors of one matrix under peft's names."""
    a, b = (part.to(stored.dtype) for part, stored in zip(cut(factor, rank), (factor.a, factor.b), strict=True))
    start = f"base_model.model.{factor.name}.lora_"
    if factor.kind == "embedding":
        return {f"{start}embedding_A": a, f"{start}embedding_B": b}
    if factor.kind == "convolution":
        a, b = a.reshape(rank, *factor.kernel), b.reshape(*b.shape, *(1 for _ in factor.kernel[1:]))
    magnitude = {} if factor.magnitude is None else {f"{start}magnitude_vector": factor.magnitude}
    # alpha / r is 1 from now on, for the vector as well
    bias = {} if factor.bias is None else {f"{start}B.bias": (factor.scale * factor.bias.double()).to(factor.bias.dtype)}
    return {f"{start}A.weight": a, f"{start}B.weight": b} | magnitude | bias


def _config(adapter: Adapter, kept: list[Factor], ranks: dict[str, int]) -> dict[str, Any]:
    """adapter_config.json: the one there was, with the new ranks; r is the largest, and each matrix's alpha is its rank."""
    most = max(ranks.values())
    own = {factor.name: ranks[factor.name] for factor in kept if ranks[factor.name] != most}
    body = {"peft_type": "LORA", "base_model_name_or_path": adapter.base, "task_type": "CAUSAL_LM"}
    if "lora_alpha" in adapter.config:
        body = adapter.config
    return body | {"r": most, "lora_alpha": most, "rank_pattern": own, "alpha_pattern": dict(own), "use_rslora": False,
                   "init_lora_weights": True, "target_modules": sorted(factor.name for factor in kept), "exclude_modules": None}
