"""A model repository of the hub as a folder on this disk: what loading needs of it, fetched into the hub client's cache.

Whatever is loaded is loaded from that folder, so a hub id and a folder are read by one code, and no library goes looking on its own for
other files: pickled weights and Python code are never fetched. A repository is looked up once in a process's life, so that all of it is of
one commit. The file that says what the folder is comes last: where that is, all the small ones are. Not here: what the hub says when it
refuses (`hub.py`), and what the files mean (`folders.py`).
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import WorkbenchError
from workbench.models import hub

CONFIG, PEFT_FILE, METHOD_FILE = "config.json", "adapter_config.json", "adapter_method.json"
"""METHOD_FILE holds the method's JSON and its base; beside PEFT_FILE where the base must be loaded in a way of its own, such as
quantized."""
WEIGHTS, INDEX, ADDED_WEIGHTS = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"
MARKERS = (CONFIG, METHOD_FILE, PEFT_FILE)
"""One of these is in each folder of a model; they are fetched last, in this order."""
SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
"""Configurations and tokenizers."""
LEFT_OUT = ("trainer_state.json",)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
AT_ONCE = 8
_looked_up: dict[tuple[str, str], "Repository"] = {}


@dataclass(frozen=True, slots=True)
class Repository:
    """`folder` holds the small files; `files` are the names of all on the hub, or without a network of those here."""

    name: str
    folder: Path
    files: tuple[str, ...]

    @property
    def weights(self) -> tuple[str, ...]:
        """The files with its weights. Raises `WorkbenchError` where the index of them is none."""
        if any(name in self.files for name in (PEFT_FILE, METHOD_FILE)):
            return (ADDED_WEIGHTS,)
        if WEIGHTS in self.files or INDEX not in self.files:
            return (WEIGHTS,)
        try:
            shards = sorted(set(json.loads((self.folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise WorkbenchError(f"The {INDEX} of {self.name!r} is no index of shards.", "Use another model, or ask its makers to mend it.") from error
        odd = next((shard for shard in shards if Path(str(shard)).name != shard or not shard.endswith(".safetensors")), None)
        if odd is not None:
            raise WorkbenchError(f"The {INDEX} of {self.name!r} names {odd!r}, which is no safetensors file beside it.",
                                 "Use another model, or ask its makers to mend it.")
        return tuple(shards)


def folder_of(name: str, weights: bool = False) -> Path:
    """The folder with what loading the model or adapter `name` needs; `weights`: its safetensors too, else only what is small.

    Raises `WorkbenchError` where the hub has no such repository or refuses it, the connection breaks, it holds no model, or only pickled
    weights; without a network, where not all of it is here.
    """
    key = hub.endpoint(), name
    found = _looked_up.get(key)
    if found is None or not found.folder.is_dir():
        found = _looked_up[key] = _look_up(name)
    if weights:
        missing = [file for file in found.weights if not (found.folder / file).is_file()]
        if missing and not hub.reachable():
            raise WorkbenchError(f"The weights of the model {name!r} are not all on this machine, and the hub cannot be reached.",
                                 'Check the network, or use "town" or a local folder.')
        _fetch(name, missing, found.folder.name, {})
    return found.folder


def _look_up(name: str) -> Repository:
    if not hub.reachable():
        here = _here(name)
        if here is None:
            raise _not_here(name)
        return here
    try:
        told = hub.listing(name)
        _check(name, told.files)
        small = [file for file in told.files if "/" not in file and file.endswith(SMALL) and file not in LEFT_OUT]
        _fetch(name, [file for file in small if file not in MARKERS], told.commit, _quietly())
        paths = [_fetch(name, [file], None, _quietly())[0] for file in MARKERS if file in small]
        if any(path.parent.name != told.commit for path in paths):
            raise WorkbenchError(f"The model {name!r} was changed on the hub while it was fetched.", "Try again.")
    except WorkbenchError:
        here = _here(name)  # what came whole another time: the client's own rule
        if here is None:
            raise
        return here
    return Repository(name, paths[0].parent, told.files)


def _not_here(name: str) -> WorkbenchError:
    """A name without an owner, or in a folder that is here, is most likely a folder's: that there is none is said first."""
    if "/" not in name or Path(name).parent.is_dir():
        return WorkbenchError(f"There is no folder {name} here, the model {name!r} is not on this machine, and the hub cannot be reached.",
                              'Check the path, or use "town", a run\'s folder or a model folder.')
    return WorkbenchError(f"The model {name!r} is not on this machine, and the hub cannot be reached.",
                          'Check the name and the network (HF_TOKEN, or `hf auth login`, is read where a model needs it), '
                          'or use "town" or a local folder.')


def _check(name: str, files: Sequence[str]) -> None:
    """Raises `WorkbenchError` where these are not the files of a model that can be loaded without running code."""
    if not any(marker in files for marker in MARKERS):
        raise WorkbenchError(f"The repository {name!r} holds no model: it has neither config.json nor adapter_config.json.",
                             "Use one that transformers or peft wrote.")
    wanted = (ADDED_WEIGHTS,) if any(marker in files for marker in (PEFT_FILE, METHOD_FILE)) else (WEIGHTS, INDEX)
    if not any(file in files for file in wanted):
        pickles = sorted(file for file in files if "/" not in file and file.endswith(PICKLES) and "model" in file)
        pickled = f", only {pickles[0]}, which could run code when it is opened" if pickles else ""
        raise WorkbenchError(f"The model {name!r} has no {wanted[0]}{pickled}.",
                             "Ask its makers for safetensors, or open it where you trust it and write it again with model.save_pretrained(folder).")


def _here(name: str) -> Repository | None:
    """The repository as the client's cache has it, from another time."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [path for marker in MARKERS if isinstance(path := try_to_load_from_cache(name, marker), str)]
    except HFValidationError:
        return None
    if not found:
        return None
    folder = Path(found[-1]).parent
    return Repository(name, folder, tuple(sorted(path.name for path in folder.iterdir() if path.is_file())))


def _fetch(name: str, files: Sequence[str], commit: str | None, how: dict[str, Any]) -> list[Path]:
    """The files' paths, fetched where they are not here. A file is in its place once it is there whole. Raises `WorkbenchError`."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError, XetDownloadError

    def one(file: str) -> Path:
        return Path(hf_hub_download(name, file, revision=commit, endpoint=hub.endpoint(), **how))

    try:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            return list(threads.map(one, files))
    except (HTTPError, OSError, ValueError, RuntimeError, XetDownloadError) as error:  # RuntimeError is what hf_xet raises
        raise hub.refusal(error, name) from error


def _quietly() -> dict[str, Any]:
    """Without a bar: what is small is here in a moment."""
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **options: Any):
            super().__init__(*args, **options | {"disable": True})

    return {"tqdm_class": Silent}
