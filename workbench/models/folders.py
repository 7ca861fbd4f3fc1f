"""What a model folder says of itself before a weight is read: which model it holds or stands on, its config, the names and shapes of its
tensors.

A folder is of one of three kinds: a whole model (`config.json`), a peft adapter (`adapter_config.json`) or what a method of ours added
(`adapter_method.json`). The last two name their base. A hub id is read as the folder that was fetched of it (`hub_folders.py`). Not here:
loading (`loading.py`).
"""

import json
import struct
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.models import hub, hub_folders
from workbench.models.hub_folders import ADDED_WEIGHTS, CONFIG, INDEX, METHOD_FILE, PEFT_FILE, WEIGHTS

PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "CPT", "PREFIX_TUNING", "CARTRIDGE", "ADAPTION_PROMPT")
"""peft's types that add something to the input or the attention, which no weight of the base can hold."""


def check_source(source: str) -> None:
    """Raises `WorkbenchError` where `source` names a folder that holds no model, or a hub id that is neither here nor to be had. Reads no
    weights, and fetches none: of a hub id only what is small."""
    path = Path(source).expanduser()
    if path.is_dir():
        if not any((path / name).exists() for name in hub_folders.MARKERS):
            raise WorkbenchError(f"The folder {path} holds no model: it has neither config.json nor adapter_config.json.",
                                 "Give the folder that save_pretrained wrote.")
        # weights are read from safetensors alone, which can hold no code
        wanted = (ADDED_WEIGHTS,) if is_adapter(path) else (WEIGHTS, INDEX)
        if not any((path / name).exists() for name in wanted):
            pickles = sorted(path.glob("*model*.bin"))
            pickled = f", only {pickles[0].name}, which could run code when it is opened" if pickles else ""
            raise WorkbenchError(f"The folder {path} has no {wanted[0]}{pickled}.",
                                 "Open it where you trust it and write it again with model.save_pretrained(folder), as safetensors.")
    elif path.exists():
        raise WorkbenchError(f"{path} is a file, not a model folder.", "Give the folder that holds its config.json.")
    elif not hub.is_id(source):
        raise WorkbenchError(f"There is no folder {path}.", 'Check the path, or use "town", which needs no download.')
    else:
        hub_folders.folder_of(source)


def on_hub(source: str | Path) -> bool:
    """Whether this is the name of a repository, since there is no such folder here."""
    return hub.is_id(str(source)) and not Path(source).expanduser().exists()


def local(source: str | Path, weights: bool = False) -> Path:
    """The folder of `source` on this disk: itself, or of a hub id what is fetched of it, with `weights` those too. Raises `WorkbenchError`
    where it cannot be had."""
    return hub_folders.folder_of(str(source), weights) if on_hub(source) else Path(source).expanduser()


def is_adapter(folder: str | Path) -> bool:
    """Whether the folder (or hub id) holds what was added to a base, not a whole model."""
    return any((local(folder) / name).exists() for name in (PEFT_FILE, METHOD_FILE))


def said_by(folder: str | Path, name: str) -> dict[str, Any]:
    """The JSON file `name` of the folder (or hub id); {} where there is none. Raises `WorkbenchError` where it cannot be read."""
    path = local(folder) / name
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WorkbenchError(f"{path} is not JSON: {error}.", "Save the model again.") from error


def base_of(source: str | Path) -> str:
    """The folder or hub id of the model under an adapter folder; `source` itself where it is a whole model."""
    if not is_adapter(source):
        return str(source)
    base = said_by(source, PEFT_FILE).get("base_model_name_or_path") or said_by(source, METHOD_FILE).get("base_model_name_or_path")
    if not base:
        raise WorkbenchError(f"The adapter in {source} does not say which model it is for.", "Give it: wb.load(folder, base=...).")
    return base


def check_mergeable(source: str | Path) -> None:
    """Raises `WorkbenchError` for a folder whose adapter cannot become part of its base's weights."""
    why = unmergeable(source)
    if why:
        raise WorkbenchError(f"What was trained in {source} cannot be merged into its base: {why}.",
                             "Open it as it is with wb.load(folder).")


def unmergeable(source: str | Path) -> str:
    """Why what this folder adds cannot become part of its base's weights, as the end of a sentence; "" where it can, or where it is a whole
    model."""
    kind = said_by(source, PEFT_FILE).get("peft_type")
    if kind in PROMPTS:
        return "it works on the input, and no weight of the model can hold that"
    if kind is None and is_adapter(source):
        return "its bottlenecks are not linear, and no weight of the model can hold them"
    return ""


def config_of(source: str | Path) -> Any:
    """The transformers config of a folder (of an adapter: its base's, unless it brings one) or hub id. Raises `WorkbenchError` where there
    is none."""
    import transformers

    source = str(source)
    check_source(source)
    place = source
    while is_adapter(place) and not (local(place) / CONFIG).exists():
        place = base_of(place)
        check_source(place)
    _no_code_from_afar(place)
    try:
        config = transformers.AutoConfig.from_pretrained(local(place), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:  # what its values may do to transformers' classes
        raise WorkbenchError(f"The model {place!r} cannot be loaded: {first_line(error)}",
                             'Check its config.json, or use "town" or another folder.') from error
    if on_hub(place):
        config._name_or_path = place
    return config


def _no_code_from_afar(place: str) -> None:
    """Raises `WorkbenchError` where the configuration wants Python code that its repository brings, or kernels from the hub: neither is
    ever run."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    said = said_by(place, CONFIG)
    if not isinstance(said, dict):
        raise WorkbenchError(f"The config.json of {place!r} is no configuration.", "Save the model again.")
    if said.get("auto_map") and said.get("model_type") not in CONFIG_MAPPING:
        raise WorkbenchError(f"The model {place!r} needs Python code that its repository brings, which is never run here.",
                             "Use a model of an architecture that transformers has.")
    kernels = [str(value) for key, value in said.items() if key.endswith("_implementation") or "_implementation_" in key]
    afar = next((value for value in kernels if "/" in value), None)
    if afar is not None:
        raise WorkbenchError(f"The model {place!r} asks for code of the hub, {afar[:80]!r}, which is never run here.",
                             'Take the line out of a copy of its config.json, or use another model.')


def shapes_of(source: str | Path) -> dict[str, tuple[int, ...]] | None:
    """Shape of every tensor by its name, from the headers of the safetensors files; None for what is not on this disk. Imports nothing
    heavy."""
    place = base_of(source)
    while is_adapter(place):  # one trained on another
        place = base_of(place)
    folder = Path(place).expanduser()
    if not folder.is_dir():
        return None
    shards = sorted(set(said_by(folder, INDEX).get("weight_map", {}).values())) if not (folder / WEIGHTS).exists() else [WEIGHTS]
    shapes: dict[str, tuple[int, ...]] = {}
    for shard in shards:
        try:
            shapes |= {name: tuple(tensor["shape"]) for name, tensor in _header(folder / shard).items() if name != "__metadata__"}
        except (OSError, ValueError, KeyError, struct.error) as error:
            raise WorkbenchError(f"{folder / shard} cannot be read as safetensors: {first_line(error)}",
                                 "Copy or download the file again.") from error
    return shapes


def _header(path: Path) -> dict[str, Any]:
    """A safetensors file begins with the length of its header, 8 bytes, little end first; then the header, JSON."""
    with open(path, "rb") as file:
        length, = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError(f"its header would be {length} bytes long")
        return json.loads(file.read(length))


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") + "." if str(error).strip() else type(error).__name__ + "."
