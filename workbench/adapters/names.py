"""Names of matrices: which layer and which module a dotted name means, and how adapters of known layouts call their two factors.

Nothing here reads a file.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

CONTAINERS = ("layers", "layer", "h", "blocks", "block")
"""What the list of layers is called in the models there are; the number after it is the layer."""

NO_LAYER = -1
"""The layer of what stands in none: embeddings, the output head."""

_PART = {"A": "a", "B": "b", "a": "a", "b": "b", "down": "a", "up": "b"}
_OF_ONE_ADAPTER = r"(?:\.(?P<adapter>(?!(?:weight|bias)$)[^.]+))?"
_LAYOUTS = tuple(re.compile(pattern) for pattern in (
    rf"(?P<name>.+)\.lora_(?P<part>[AB]){_OF_ONE_ADAPTER}(?:\.weight)?",  # peft (and loralib, without .weight)
    rf"(?P<name>.+)\.lora_(?P<embedding>embedding)_(?P<part>[AB]){_OF_ONE_ADAPTER}",
    r"(?P<name>.+)\.lora_(?P<part>[ab])(?:(?P<weight>\.weight)|(?P<transposed>))",  # torchtune; bare: MLX, whose factors are d_in × r and r × d_out
    r"(?P<name>.+)\.lora_(?P<part>down|up)\.weight",  # kohya's scripts
    r"(?P<name>.+)[._]lora(?:_linear_layer)?\.(?P<part>down|up)\.weight",  # diffusers
))
_MAGNITUDE = re.compile(rf"(?P<name>.+)\.lora_magnitude_vector{_OF_ONE_ADAPTER}(?:\.weight)?")
_BIAS = re.compile(rf"(?P<name>.+)\.lora_B{_OF_ONE_ADAPTER}\.bias")
_ALPHA = re.compile(r"(?P<name>.+?)(?:\.lora)?\.alpha")
_PREFIX = re.compile(r"(?:base_model\.model\.|module\.)*")
_FLAT = re.compile(r"lora_(?:unet|transformer|te\d*|text_encoder)_(?P<name>.+)")


class Key(NamedTuple):
    """What one tensor of an adapter file is: `part` is "a", "b", "bias" (of b), "alpha" or "magnitude" of the matrix `name`."""

    name: str
    part: str
    adapter: str = ""
    transposed: bool = False
    embedding: bool = False


def read_key(key: str) -> Key | None:
    """The part that a tensor called `key` plays, its name as the base model's own; None for one that is no part of a low-rank update."""
    key = key[_PREFIX.match(key).end():]
    for layout in _LAYOUTS:
        if found := layout.fullmatch(key):
            groups = found.groupdict()
            return Key(_unflattened(groups["name"]), _PART[groups["part"]], groups.get("adapter") or "", groups.get("transposed") is not None,
                       groups.get("embedding") is not None)
    for pattern, part in ((_MAGNITUDE, "magnitude"), (_BIAS, "bias")):
        if found := pattern.fullmatch(key):
            return Key(_unflattened(found["name"]), part, found["adapter"] or "")
    if found := _ALPHA.fullmatch(key):
        return Key(_unflattened(found["name"]), "alpha")
    return None


def _unflattened(name: str) -> str:
    """kohya's `lora_te_text_model_encoder_layers_0_self_attn_q_proj` with dots where they are known to have been; other names as they
    are."""
    found = _FLAT.fullmatch(name)
    if not found:
        return name
    dotted = re.sub(r"\.(\d+)_", r".\1.", re.sub(r"_(\d+)(?=_|$)", r".\1", found["name"]))
    return re.sub(r"(^|[._])(self_attn|mlp|attn\d*|ff)_", r"\1\2.", dotted)


def pattern_matches(pattern: str, name: str) -> bool:
    """Whether a key of peft's `rank_pattern` or `alpha_pattern` means this matrix, as peft decides it
    (`peft.utils.other.get_pattern_key`)."""
    return re.match(rf"(.*\.)?({pattern})$", name) is not None


def pattern_value(patterns: dict[str, float] | None, name: str, otherwise: float) -> float:
    """The value of the first pattern that means `name`."""
    return next((value for pattern, value in (patterns or {}).items() if pattern_matches(pattern, name)), otherwise)


def pattern_key(name: str) -> str:
    """What the matrix is called in a `rank_pattern`: its name without the model's own container, as in "layers.0.self_attn.q_proj"."""
    return name.removeprefix("model.")


def places(names: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Name -> (layer, module): `model.layers.3.self_attn.q_proj` is (3, "q_proj"). No two names share a place.

    The module is the shortest ending that tells the matrices of a layer apart: GPT-2's two `c_proj` are "attn.c_proj" and "mlp.c_proj".
    What stands in no layer has layer -1.
    """
    split = {name: _layer_and_rest(name) for name in names}
    kinds = {rest for _, rest in split.values()}
    module = {rest: _shortest_ending(rest, kinds) for rest in kinds}
    return {name: (layer, module[rest]) for name, (layer, rest) in split.items()}


def _layer_and_rest(name: str) -> tuple[int, tuple[str, ...]]:
    parts = name.split(".")
    numbers = [at for at, part in enumerate(parts) if part.isdigit()]
    at = next((at for at in numbers if at and parts[at - 1].rsplit("_", 1)[-1] in CONTAINERS), numbers[0] if numbers else None)
    if at is None:
        return NO_LAYER, tuple(parts)
    return int(parts[at]), (*parts[:at], *parts[at + 1:])


def _shortest_ending(rest: tuple[str, ...], kinds: set[tuple[str, ...]]) -> str:
    for length in range(1, len(rest)):
        if not any(other != rest and other[-length:] == rest[-length:] for other in kinds):
            return ".".join(rest[-length:])
    return ".".join(rest)
