"""A causal language model or a classifier, and its tokenizer, from a folder or a hub id, an adapter on top if there is one, and a greedy reply.

Not here: which name means which folder (`recipes.resolve_model`), a new head for labels (`classifier.py`), and training.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.models import hub
from workbench.models.quiet import quiet_peft

if TYPE_CHECKING:
    import transformers


def check_source(source: str) -> None:
    """Raises `WorkbenchError` where `source` names a folder that holds no model, or a hub id that is neither here nor to be had. Reads no weights."""
    path = Path(source).expanduser()
    if path.is_dir():
        if not any((path / name).exists() for name in ("config.json", "adapter_config.json")):
            raise WorkbenchError(f"The folder {path} holds no model: it has neither config.json nor adapter_config.json.",
                                 "Give the folder that save_pretrained wrote.")
        wanted = _weight_files(path)
        if not any((path / name).exists() for name in wanted):
            pickled = next((f", only {found.name}, which could run code when it is opened" for found in sorted(path.glob("*model*.bin"))), "")
            raise WorkbenchError(f"The folder {path} has no {wanted[0]}{pickled}.",
                                 "Open it where you trust it and write it again with model.save_pretrained(folder), which makes safetensors.")
    elif path.exists():
        raise WorkbenchError(f"{path} is a file, not a model folder.", "Give the folder that holds its config.json.")
    elif source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise WorkbenchError(f"There is no folder {path}.", 'Check the path, or use "town", which needs no download.')
    elif not hub.reachable() and not hub.cached_model(source):
        raise WorkbenchError(f"The model {source!r} is not on this machine, and the hub cannot be reached.",
                             'Check the name and the network, or use "town" or a local folder.')


def _weight_files(folder: Path) -> tuple[str, ...]:
    """Names of which one must be in the folder: weights are read from safetensors alone, which can hold no code."""
    if (folder / "adapter_config.json").exists():
        return ("adapter_model.safetensors",)
    return "model.safetensors", "model.safetensors.index.json"


def load(source: str | Path, *, base: str | None = None, dtype: Any = None, device: str = "cpu", config: Any = None) -> tuple[Any, Any]:
    """`(model, tokenizer)`. `source` is a transformers folder, a peft adapter folder (its base is loaded under it) or a hub id.

    `base` is where an adapter's base model is, if not where the adapter remembers it. `dtype` None is float32. `config` None is the folder's own; a
    classifier is what its `architectures` say, and a classifier's adapter has one beside it, with the labels. Code that a repository brings is never run. Raises `WorkbenchError` where nothing can be loaded.
    """
    source = str(source)
    check_source(source)
    folder = Path(source).expanduser()
    adapter = folder if (folder / "adapter_config.json").exists() else None
    if adapter is None:
        base = source
    else:
        base = base or json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"]
        check_source(base)
    local = Path(base).expanduser().is_dir() or not hub.reachable()
    has_own = adapter and (folder / "tokenizer_config.json").exists()
    tokenizer = load_tokenizer(source if has_own or not adapter else base)
    try:
        if config is None and adapter and (folder / "config.json").exists():
            config = config_of(source)
        model = _model(base, dtype, local, config or config_of(base))
    except OSError as error:  # transformers says so for: not on disk, not on the hub, no network, gated
        raise WorkbenchError(f"The model {base!r} cannot be loaded: {_first_line(error)}",
                             'Check the name and the network, or use "town" or a local folder.') from error
    if adapter:
        with quiet_peft() as peft:
            model = peft.PeftModel.from_pretrained(model, str(folder))
    return model.to(device).eval(), tokenizer


def load_tokenizer(source: str | Path) -> "transformers.PreTrainedTokenizerBase":
    """The tokenizer of a folder or a hub id; no weights are read. Raises `WorkbenchError` where there is none."""
    import transformers

    local = Path(source).expanduser().is_dir() or not hub.reachable()
    try:
        return transformers.AutoTokenizer.from_pretrained(str(source), trust_remote_code=False, local_files_only=local)
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"The model {str(source)!r} cannot be loaded: {_first_line(error)}",
                             'Check the name and the network, or use "town" or a local folder.') from error


def config_of(source: str | Path) -> "transformers.PretrainedConfig":
    """The configuration of a transformers folder or a hub id; no weights are read. Raises `WorkbenchError` where there is none."""
    import transformers

    source = str(source)
    local = Path(source).expanduser().is_dir() or not hub.reachable()
    try:
        return transformers.AutoConfig.from_pretrained(source, trust_remote_code=False, local_files_only=local)
    except (OSError, ValueError) as error:
        raise WorkbenchError(f"The model {source!r} cannot be loaded: {_first_line(error)}",
                             'Check the name and the network, or use "town" or a local folder.') from error


def classifies(config: Any) -> bool:
    """Whether a model of this configuration tells labels (rather than next tokens)."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def _model(source: str, dtype: Any, local: bool, config: Any) -> "transformers.PreTrainedModel":
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()  # seconds at most, and a bar in a cell or a log says nothing more
    kind = transformers.AutoModelForSequenceClassification if classifies(config) else transformers.AutoModelForCausalLM
    return kind.from_pretrained(source, config=config, dtype=dtype or torch.float32, trust_remote_code=False, use_safetensors=True, local_files_only=local)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") + "." if str(error).strip() else type(error).__name__ + "."


def prepare_tokenizer(tokenizer: Any, model_config: Any) -> list[str]:
    """Give `tokenizer` a pad token if it has none. Returns sentences a person should know.

    Padding is told apart by position, never by token id, so a pad token that is also the end token costs nothing: the end is still trained.
    """
    notes = []
    if tokenizer.eos_token_id is None:
        raise WorkbenchError("The tokenizer has no end-of-text token, so the model could not learn where to stop.",
                             "Set tokenizer.eos_token and save it into the model folder.")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        notes.append(f"The tokenizer pads with its end token {tokenizer.eos_token!r}; padding is masked by position, so the end is still trained.")
    if model_config is not None and len(tokenizer) > model_config.vocab_size:
        raise WorkbenchError(f"The tokenizer knows {len(tokenizer)} tokens but the model only {model_config.vocab_size}.",
                             "Use the tokenizer that belongs to the model.")
    return notes


def generate(model: Any, tokenizer: Any, prompt_ids: list[int], *, max_new_tokens: int = 64, temperature: float = 0.0, seed: int | None = None) -> str:
    """The model's continuation of `prompt_ids` as text; greedy at temperature 0. Leaves the model's train/eval mode as it found it."""
    import torch

    training = model.training
    model.eval()
    room = getattr(model.config, "max_position_embeddings", None)
    if room and len(prompt_ids) + max_new_tokens > room:
        max_new_tokens = max(1, room - len(prompt_ids))
    ids = torch.tensor([prompt_ids], device=model.device)
    choice = dict(do_sample=True, temperature=temperature) if temperature > 0 else dict(do_sample=False)
    if seed is not None:
        torch.manual_seed(seed)
    try:
        with torch.no_grad():
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, use_cache=True,
                                 pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id, **choice)
    finally:
        model.train(training)
    return tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True).strip()


def parameter_count(model: Any) -> tuple[int, int]:
    """`(all, trainable)` parameters, tied ones counted once."""
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.parameters() if p.requires_grad)
