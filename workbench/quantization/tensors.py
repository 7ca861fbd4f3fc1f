"""Weights on disk, tensor by tensor: one safetensors file, a sharded folder, a model of the hub's cache, or tensors in memory under the
same interface.

Files are memory mapped: opening reads headers only, and a tensor's pages are read when they are looked at. Nothing is ever unpickled.
Not here: what is done with the tensors (`inspection`).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"
VECTOR_ROW = 4096
"""A vector is sampled in runs of so many."""

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
          "I64": "int64",
          "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool"}
"""safetensors' names of dtypes → torch's; one that is not listed keeps its own name."""


class Weights:
    """Named tensors, read one at a time.

    `.names` in the order of the layers, `.shapes[name]`, `.dtypes[name]` (torch's name, as "bfloat16"), `.sizes[name]` in bytes, `.bytes`
    of all.
    """

    def __init__(self, title: str, entries: Mapping[str, tuple[tuple[int, ...], str, int]], readers: Mapping[str, Any]):
        self.title = title
        self.names = sorted(entries, key=_natural)
        self.shapes = {name: entries[name][0] for name in self.names}
        self.dtypes = {name: entries[name][1] for name in self.names}
        self.sizes = {name: entries[name][2] for name in self.names}
        self._readers = readers

    def __repr__(self) -> str:
        return f"<Weights {self.title}: {len(self.names)} tensors, {self.bytes:,} bytes>"

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.shapes

    @property
    def bytes(self) -> int:
        return sum(self.sizes.values())

    @property
    def quantizable(self) -> list[str]:
        """Names of floating-point tensors that hold something."""
        return [name for name in self.names if self.dtypes[name].startswith(("float", "bfloat")) and self.sizes[name]]

    def check(self, name: str) -> None:
        """Raises `DataError` where there is no tensor of that name."""
        if name not in self.shapes:
            import difflib

            near = difflib.get_close_matches(str(name), self.names, n=1)
            raise DataError(f"{self.title} has no tensor {name!r}.", f"Did you mean {near[0]!r}?" if near else "Its names are in .names.")

    def read(self, name: str) -> "torch.Tensor":
        """The tensor, not copied: its pages are read from the file as they are looked at. Do not write into it."""
        self.check(name)
        return self._readers[name](name)

    def sample_rows(self, name: str, elements: int = 1 << 20, seed: int = 0) -> "torch.Tensor | None":
        """(n,) int64, ascending: rows drawn without replacement that hold about `elements` weights; None where the tensor holds no more
        than that.

        A row is what lies under one index of the first dimension; a vector counts as rows of 4,096, a rest left out.
        """
        import math

        import torch

        self.check(name)
        shape = self.shapes[name]
        total = math.prod(shape)
        width = total // shape[0] if len(shape) > 1 and shape[0] else VECTOR_ROW
        if total <= max(elements, width):
            return None
        rows = total // width
        drawn = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))[: max(1, elements // width)]
        return drawn.sort().values

    def take(self, name: str, rows: "torch.Tensor | None") -> "torch.Tensor":
        """Those rows of a tensor, as `sample_rows` drew them: (n × what lies under an index). None takes the tensor as it is. Reads no
        other row."""
        tensor = self.read(name)
        if rows is None:
            return tensor
        return (tensor if tensor.dim() > 1 else tensor[:tensor.numel() // VECTOR_ROW * VECTOR_ROW].view(-1, VECTOR_ROW))[rows]

    def sample(self, name: str, elements: int = 1 << 20, seed: int = 0) -> "torch.Tensor":
        """Whole rows of about `elements` weights in all, drawn by `seed`; the tensor itself where it holds no more than that."""
        return self.take(name, self.sample_rows(name, elements, seed))

    def tree(self) -> dict[str, Any]:
        """Names as nested dicts by their dots: {"model": {"layers": {"0": {"mlp": {"up_proj": {"weight":
        "model.layers.0.mlp.up_proj.weight"}}}}}}."""
        root: dict[str, Any] = {}
        for name in self.names:
            *folders, leaf = name.split(".")
            place = root
            for folder in folders:
                inner = place.setdefault(folder, {})
                place = inner if isinstance(inner, dict) else place.setdefault(f"{folder}.", {"": inner})
            place[leaf] = name
        return root


def open_weights(source: Any) -> Weights:
    """Open a `.safetensors` file, a folder of them (sharded or not), a hub id whose files are in the hub's cache, a model, or a dict of
    tensors.

    Reads headers only. Raises `DataError` where there is nothing to open, a shard is missing, a file is damaged, or only pickled weights
    are there.
    """
    if hasattr(source, "state_dict"):
        source = source.state_dict()
    if isinstance(source, Mapping):
        return _in_memory(source)
    path = Path(str(source)).expanduser()
    if path.is_file():
        return _open_files(str(path), _files_of_index(path) if path.name.endswith(".json") else {None: path})
    if path.is_dir():
        return _open_files(str(path), _files_of(path))
    text = str(source)
    if text.count("/") == 1 and not text.startswith((".", "/", "~")):
        return _open_files(text, _files_of(_cached(text)))
    raise DataError(f"There is no file or folder {path}.",
                    "Give a folder that save_pretrained wrote, a .safetensors file, or a hub id such as \"org/name\".")


def _in_memory(tensors: Mapping[str, "torch.Tensor"]) -> Weights:
    held = {name: tensor.detach() for name, tensor in tensors.items()}
    entries = {name: (tuple(t.shape), str(t.dtype).removeprefix("torch."), t.numel() * t.element_size()) for name, t in held.items()}
    return Weights("tensors in memory", entries, {name: held.__getitem__ for name in held})


def _cached(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError):
        raise DataError(f"{name!r} is neither a folder here nor in the hub's cache.",
                        f"Download its weights first: hf download {name} --include '*.safetensors*' '*.json'.") from None


def _files_of(folder: Path) -> dict[str | None, Path]:
    """Tensor name → file, from the folder's index; or {None: file} for a file that holds everything, {"*1": ...} for several without an
    index."""
    if (folder / INDEX).exists():
        return _files_of_index(folder / INDEX)
    found = sorted(folder.glob("*.safetensors"))
    whole = [file for file in found if file.name in ("model.safetensors", "adapter_model.safetensors")]
    if whole:
        return {None: whole[0]}
    if found:
        return {f"*{i}": file for i, file in enumerate(found)}
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if indexes:
        return _files_of_index(indexes[0])
    pickled = next((file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLES), None)
    if pickled:
        raise DataError(f"The folder {folder} has no safetensors, only {pickled}, which could run code when it is opened.",
                        "Open it where you trust it and write it again with model.save_pretrained(folder).")
    raise DataError(f"The folder {folder} holds no safetensors.", "Give the folder that save_pretrained wrote.")


def _files_of_index(index: Path) -> dict[str | None, Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {name: str(file) for name, file in weight_map.items()}
    except (ValueError, KeyError, AttributeError, TypeError):
        raise DataError(f"{index} is not an index of shards.",
                        "It should be JSON with a weight_map from tensor to file; copy it again.") from None
    for file in sorted(set(files.values())):
        if Path(file).name != file:
            raise DataError(f"{index} names the shard {file!r}, which is not in its own folder.",
                            "Use an index whose shards lie beside it.")
        if not (index.parent / file).exists():
            raise DataError(f"The shard {file} that {index.name} names is missing in {index.parent}.", "Copy or download it again.")
    return {name: index.parent / file for name, file in files.items()}


def _open_files(title: str, files: Mapping[str | None, Path]) -> Weights:
    import safetensors

    entries: dict[str, tuple[tuple[int, ...], str, int]] = {}
    readers: dict[str, Any] = {}
    for file in sorted(set(files.values())):
        if file.suffix in PICKLES:
            raise DataError(f"{file} may be a pickle, which could run code when it is opened.",
                            "Open it where you trust it and write it again with model.save_pretrained(folder).")
        try:
            handle = safetensors.safe_open(file, framework="pt")
        except (safetensors.SafetensorError, OSError) as error:
            raise DataError(f"{file} is not a readable safetensors file: {error}.", "Copy or download it again.") from None
        for name in handle.keys():
            if name in files and files[name] != file:
                continue
            piece = handle.get_slice(name)
            shape, dtype = tuple(piece.get_shape()), piece.get_dtype()
            dtype = DTYPES.get(dtype, dtype)
            entries[name] = (shape, dtype, _bytes(shape, dtype))
            readers[name] = handle.get_tensor
    missing = [name for name in files if name and not name.startswith("*") and name not in entries]
    if missing:
        raise DataError(f"The shard {files[missing[0]].name} does not hold the tensor {missing[0]!r} that the index says it does.",
                        "Copy or download it again.")
    return Weights(title, entries, readers)


def _bytes(shape: Sequence[int], dtype: str) -> int:
    import math

    import torch

    found = getattr(torch, dtype, None)
    return math.prod(shape) * (found.itemsize if found else 1)


def _natural(name: str) -> list[tuple[bool, int | str]]:
    """Sorts layers.2 before layers.10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else part) for part in name.split(".")]
