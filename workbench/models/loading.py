"""A causal language model or a classifier, and its tokenizer, from a folder or a hub id, what any method added on top if there is
something, and a greedy reply.

Not here: what a folder says before it is loaded (`folders.py`), which name means which folder (`recipes.resolve_model`), a new head for
labels (`classifier.py`), and training.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import WorkbenchError
from workbench.models import folders, passed_through, saving
from workbench.models.adaptation import Method
from workbench.models.added import without_prompt
from workbench.models.folders import check_mergeable, check_source, config_of, first_line
from workbench.models.quiet import quiet_peft

if TYPE_CHECKING:
    import transformers


def load(source: str | Path, *, base: str | None = None, dtype: Any = None, device: str = "cpu", config: Any = None,
         method: Method | None = None, adapter_name: str = "default") -> tuple[Any, Any]:
    """`(model, tokenizer)`. `source` is a transformers folder, a folder with what any method added (its base is loaded under it, quantized
    if it was), or a hub id of either.

    `base` is where an adapter's base model is, if not where the adapter remembers it. `dtype` None is float32. `config` None is the
    folder's own; a classifier is what its `architectures` say, and what was added to a classifier has one beside it, with the labels. With
    `method` it is the base for that to be applied to (`load_base`). `adapter_name` is what peft calls the adapter in the model. Code that a
    repository brings is never run. Raises `WorkbenchError` where nothing can be loaded.
    """
    source = str(source)
    check_source(source)
    if method is not None:
        return load_base(source, method, dtype=dtype, device=device, config=config)
    if not folders.is_adapter(source):
        return _model(source, dtype, device, config).eval(), load_tokenizer(source)
    base = base or folders.base_of(source)
    check_source(base)
    tokenizer = load_tokenizer(source if (folders.local(source) / "tokenizer_config.json").exists() else _tokenizer_place(base))
    if config is None and (folders.local(source) / "config.json").exists():
        config = config_of(source)
    model, _ = load_base(base, method_of(source), dtype=dtype, device=device, config=config)
    return _with_added(model, source, adapter_name).eval(), tokenizer


def load_base(source: str | Path, method: Method | None = None, *, dtype: Any = None, device: str = "cpu",
              config: Any = None) -> tuple[Any, Any]:
    """`(model, tokenizer)` for `method` to be applied to: what an adapter folder added becomes part of the weights, and they are rounded
    where the method wants it.

    Raises `WorkbenchError` where the folder's adapter cannot become part of the weights.
    """
    source, wanted = str(source), method.load_kwargs() if method else {}
    if not folders.is_adapter(source):
        check_source(source)
        return _model(source, dtype, device, config, **wanted).eval(), load_tokenizer(source)
    model, tokenizer = merged(source, dtype=dtype, device=device, config=config)
    if wanted:
        with tempfile.TemporaryDirectory() as folder:  # transformers rounds as it reads files
            model.save_pretrained(folder)
            model = _model(folder, dtype, device, config, **wanted).eval()
    # so that what is trained on it is saved as standing on it
    model.config._name_or_path = model.name_or_path = source if folders.on_hub(source) else str(Path(source).expanduser().resolve())
    return model, tokenizer


def merged(source: str | Path, *, dtype: Any = None, device: str = "cpu", config: Any = None) -> tuple[Any, Any]:
    """`(model, tokenizer)`: the plain model with what a peft adapter folder adds in its weights; a rounded base is taken as it was rounded.

    Raises `WorkbenchError` where it cannot become part of them.
    """
    check_mergeable(source)
    tokenizer, method = load_tokenizer(_tokenizer_place(source)), method_of(source)
    if config is None and (folders.local(source) / "config.json").exists():
        config = config_of(source)
    model, _ = load_base(folders.base_of(source), method, dtype=dtype, device=device, config=config)
    if getattr(model, "is_quantized", False):
        model = dequantized(model)
    return _with_added(model, source).merge_and_unload().eval(), tokenizer


def dequantized(model: Any) -> Any:
    """A model that bitsandbytes rounded, as a plain one of the layers it had before, with the rounded weights."""
    import torch
    import transformers
    from transformers.pytorch_utils import Conv1D

    turned = [name for name, module in model.named_modules() if issubclass(getattr(module, "source_cls", object), Conv1D)]

    level = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # in which precision is said where the model was loaded
    try:
        model = model.dequantize(model.dtype)
    finally:
        transformers.utils.logging.set_verbosity(level)
    for name in turned:  # transformers makes a Linear of every layer, whose weight lies the other way round
        linear = model.get_submodule(name)
        with torch.device("meta"):
            layer = Conv1D(linear.out_features, linear.in_features)
        layer.weight, layer.bias = torch.nn.Parameter(linear.weight.detach().t().contiguous()), linear.bias
        model.set_submodule(name, layer)
    return model


def untie(model: Any) -> None:
    """Give the head of a peft model a weight of its own where it shares the input embedding's and either has an adapter: merged into the
    one weight, the adapter of one would be the other's too."""
    import torch

    base = model.get_base_model()
    inputs, outputs = base.get_input_embeddings(), base.get_output_embeddings()
    if outputs is None or getattr(outputs, "weight", None) is not inputs.weight:
        return
    if hasattr(inputs, "base_layer") or hasattr(outputs, "base_layer"):
        head = getattr(outputs, "base_layer", outputs)
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = False


def _with_added(model: Any, source: str | Path, adapter_name: str = "default") -> Any:
    """`model` with what the adapter folder `source` adds to it."""
    folder = folders.local(source, weights=True)
    if not (folder / folders.PEFT_FILE).exists():
        model = method_of(source).apply(model)
        saving.restore(model, folder)
        return model
    passed_through.check_adapter(folders.said_by(folder, folders.PEFT_FILE), folder.name)
    with quiet_peft() as peft:
        adapted = peft.PeftModel.from_pretrained(model, str(folder), adapter_name=adapter_name)
    untie(adapted)
    return without_prompt(adapted)


def _tokenizer_place(source: str | Path) -> str:
    """Where the tokenizer of an adapter folder is: beside it, or with its base."""
    beside = not folders.is_adapter(source) or (folders.local(source) / "tokenizer_config.json").exists()
    return str(source) if beside else _tokenizer_place(folders.base_of(source))


def method_of(folder: str | Path) -> Method | None:
    """The method that a folder names in its own file; None where peft's says all."""
    body = folders.said_by(folder, folders.METHOD_FILE)
    if not body:
        return None
    from workbench.models import methods

    return methods.from_json(body["method"])


def load_tokenizer(source: str | Path) -> "transformers.PreTrainedTokenizerBase":
    """The tokenizer of a folder or a hub id; no weights are read. Raises `WorkbenchError` where there is none."""
    import transformers

    folder = folders.local(source)
    try:
        return transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:  # by what is wrong in which of its files
        if folders.said_by(source, "tokenizer_config.json").get("auto_map"):
            raise WorkbenchError(f"The tokenizer of {str(source)!r} needs Python code that its repository brings, which is never run here.",
                                 "Use a model whose tokenizer transformers has.") from error
        raise WorkbenchError(f"The tokenizer of {str(source)!r} cannot be loaded: {first_line(error)}",
                             'Save it again with tokenizer.save_pretrained(folder), or use "town" or another model.') from error


def classifies(config: Any) -> bool:
    """Whether a model of this configuration tells labels (rather than next tokens)."""
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or ())


def _model(source: str, dtype: Any, device: str, config: Any = None, **wanted: Any) -> "transformers.PreTrainedModel":
    """On `device`; `wanted` is what a method asks of from_pretrained. A quantized model is put where it belongs as it is read."""
    import safetensors
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()  # seconds at most, and a bar in a cell or a log says nothing more
    given, config = config is not None, config or config_of(source)
    place = str(folders.local(source, weights=True))
    kind = transformers.AutoModelForSequenceClassification if classifies(config) else transformers.AutoModelForCausalLM
    if wanted:
        wanted.setdefault("device_map", {"": device})
    level = transformers.utils.logging.get_verbosity()
    try:
        if given:  # for a head that these files do not have: a new one, or one that an adapter brings
            transformers.utils.logging.set_verbosity_error()
        wanted |= dict(config=config, dtype=dtype or torch.float32, trust_remote_code=False, use_safetensors=True, local_files_only=True)
        model, missing, lacking = _read(kind, place, wanted)
        fresh = [name for name in missing if hasattr(model.get_submodule(name), "source_cls")]
        if fresh:  # bitsandbytes rounds what it reads, and of these there was nothing to read
            wanted["quantization_config"].llm_int8_skip_modules = missing
            model, missing, lacking = _read(kind, place, wanted)
    except (OSError, ValueError, ImportError, RuntimeError, safetensors.SafetensorError) as error:
        # a file that is missing or cut short, sizes that are not the config's, a rounding that needs a package that is not here
        if "alloc" in str(error).lower():  # there is no memory for it: what a run says of that is more
            raise
        raise WorkbenchError(f"The model {source!r} cannot be loaded: {first_line(error)}",
                             'Copy or download it again, or use "town" or another model.') from error
    finally:
        transformers.utils.logging.set_verbosity(level)
    if lacking and not given and not classifies(config):  # transformers would draw them from noise
        raise WorkbenchError(f"The model {source!r} has no weights for {len(lacking)} of its tensors, such as {lacking[0]}.",
                             "Copy or download it again, whole; or correct its config.json, which describes another model.")
    if folders.on_hub(source):  # its name, not where this machine's cache has it: what is trained on it says so
        model.config._name_or_path = model.name_or_path = source
    if classifies(config):
        model.new_parameters = _parameters_under(model, [name for name in missing if name.startswith(model.base_model_prefix + ".")])
    if "device_map" not in wanted:
        return model.to(device)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            # in eval mode bitsandbytes would lay the weights out anew for this processor, with constants of fewer bits and only where 32
            # divides d_out: an evaluation would change the base under the training, and logits would depend on the machine
            module.support_avx512bf16_for_cpu = False
    return model


def _read(kind: Any, place: str, wanted: dict[str, Any]) -> tuple[Any, list[str], list[str]]:
    """A model of the files in `place`, the modules of which they did not bring every parameter, and these parameters."""
    model, told = kind.from_pretrained(place, output_loading_info=True, **wanted)
    return model, sorted({name.rpartition(".")[0] for name in told["missing_keys"]}), sorted(told["missing_keys"])


def _parameters_under(model: Any, modules: list[str]) -> tuple[str, ...]:
    return tuple(name for name, _ in model.named_parameters() if name.rpartition(".")[0] in modules)


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


def without_dropout(model: Any) -> None:
    """Turn off the dropout that the model's own config has (GPT-2's is 0.1), before a method adds any of its own: where the probabilities of
    a policy are compared with those of a reference or of an earlier moment, it would be noise in each comparison (trl's `disable_dropout`)."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0


def parameter_count(model: Any) -> tuple[int, int]:
    """`(all, trainable)` parameters, tied ones counted once."""
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.parameters() if p.requires_grad)
