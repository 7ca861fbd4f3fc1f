"""LoRA and its variants through peft, and QLoRA: the same on a base of 4 or 8 bits a weight.

Shapes: of a matrix W (d_out × d_in), A is rank × d_in and B is d_out × rank; W + scale · B A takes W's place. Not here: their spectra and
truncation (`adapters/`).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from workbench.errors import RecipeError
from workbench.models import four_bits
from workbench.models.adaptation import Method, Shapes, head_of, is_count, is_number, named_fields, new_modules, on_meta, task_of
from workbench.models.passed_through import check_peft
from workbench.models.quiet import quiet_peft
from workbench.models.saving import saved_by_peft

VARIANTS = ("lora", "rslora", "dora", "pissa")
RSLORA_ALPHA = 16
MUTATING = ("pissa", "olora")
"""Values of peft's `init_lora_weights` that take the start of B A out of the base."""
QUANTIZABLE = ("Linear", "Conv1D", "Linear4bit", "Linear8bitLt")


@named_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class LoRA(Method):
    """Low-rank adaptation (Hu et al. 2021): W + (alpha / rank) B A, with only A and B trained.

    Adds rank * (d_in + d_out) parameters a matrix. B starts at zero, so the first step starts from the base model.
    """

    name: ClassVar[str] = "lora"
    rank: int = 8
    alpha: float | None = None
    """Scale of the update; None is twice the rank, which keeps the scale the same at every rank (of rslora 16, since its scale is to grow
    with the rank)."""
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"
    """Names of the matrices that get an adapter, or "all-linear" (QLoRA's choice: every one but the output head)."""
    bias: str = "none"
    variant: str = "lora"
    """"rslora" scales by alpha / √rank (Kalajdzievski 2023). "dora" trains each row's length apart from its direction (Liu et al. 2024).
    "pissa" starts B A at the largest singular values of W and leaves the rest in W (Meng et al. 2024); it is saved as a LoRA of twice the
    rank that fits the base as it was."""
    rank_pattern: dict[str, int] = field(default_factory=dict)
    """Ranks of matrices that differ from `rank`, by the end of their name: {"layers.0.self_attn.q_proj": 4}. 0 leaves the matrix without an
    adapter. A key may be a regular expression, as in peft. Of several that mean one matrix a plain name counts before an expression, then
    the longer before the shorter, then the first."""
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    """The same for alpha. A matrix named in `rank_pattern` alone keeps the scale of the others."""
    options: dict[str, Any] = field(default_factory=dict)
    """Anything else `peft.LoraConfig` takes."""

    def __post_init__(self):
        if isinstance(self.target_modules, list):
            object.__setattr__(self, "target_modules", tuple(self.target_modules))
        if not is_count(self.rank):
            raise RecipeError(f"LoRA's rank is {self.rank!r}, which is not a whole number of at least 1.", "Use a rank such as 8.")
        if self.alpha is not None and not (is_number(self.alpha) and self.alpha > 0):
            raise RecipeError(f"LoRA's alpha is {self.alpha!r}; it must be above 0.", "Leave it out to get twice the rank.")
        if not (is_number(self.dropout) and 0 <= self.dropout < 1):
            raise RecipeError(f"LoRA's dropout is {self.dropout!r}; it must be at least 0 and below 1.", "Use 0 or 0.1.")
        if self.bias not in ("none", "all", "lora_only"):
            raise RecipeError(f"LoRA's bias is {self.bias!r}.", 'Use "none", "all" or "lora_only".')
        if not isinstance(self.target_modules, (str, tuple)) or not all(isinstance(name, str) for name in self.target_modules):
            raise RecipeError(f"LoRA's target_modules is {self.target_modules!r}, not names of matrices.",
                              'Use target_modules="all-linear".')
        if not self.target_modules:
            raise RecipeError("LoRA has no target modules, so nothing would be trained.", 'Use target_modules="all-linear".')
        if self.variant not in VARIANTS:
            raise RecipeError(f"LoRA's variant is {self.variant!r}, which is none of {', '.join(VARIANTS)}.", 'Use variant="lora".')
        if not isinstance(self.options, dict):
            raise RecipeError(f"LoRA's options are {self.options!r}, not a dict of names.", "Use options={}.")
        check_peft(self.options, "LoRA's options")
        for what in ("rank_pattern", "alpha_pattern"):
            if what in self.options:
                raise RecipeError(f"LoRA's options give {what}, which is a field of its own.", f"Use LoRA({what}=...).")
        self._check_pattern("rank_pattern", lambda v: is_count(v) or (v == 0 and type(v) is int), "a whole number of at least 0")
        self._check_pattern("alpha_pattern", lambda v: is_number(v) and v > 0, "a number above 0")

    def _check_pattern(self, what: str, fits: Callable[[Any], bool], words: str) -> None:
        pattern, remedy = getattr(self, what), f'Use {what}={{"layers.0.self_attn.q_proj": 4}}.'
        if not isinstance(pattern, dict):
            raise RecipeError(f"LoRA's {what} is {pattern!r}, not a dict by matrix.", remedy)
        for name, value in pattern.items():
            if not isinstance(name, str) or not fits(value):
                raise RecipeError(f"LoRA's {what} gives {name!r} {value!r}, which is not {words}.", remedy)
            try:
                re.compile(name)
            except re.error as error:
                raise RecipeError(f"LoRA's {what} names {name!r}, which is no regular expression: {error}.", remedy) from error

    def config_arguments(self) -> dict[str, Any]:
        """What `peft.LoraConfig` is given, but for the task, where the model's matrices are not known: `by_name` ends alike."""
        alpha = self._alpha
        targets = self.target_modules if isinstance(self.target_modules, str) else list(self.target_modules)
        body: dict[str, Any] = {"r": self.rank, "lora_alpha": alpha, "lora_dropout": self.dropout, "bias": self.bias,
                                "target_modules": targets}
        if self.variant != "lora":
            of_variant: dict[str, dict[str, Any]] = {"rslora": {"use_rslora": True}, "dora": {"use_dora": True}, "pissa": {"init_lora_weights": "pissa"}}
            body |= of_variant[self.variant]
        # peft takes the first key that matches
        ordered = {name: self.rank_pattern[name] for name in sorted(self.rank_pattern, key=_weight, reverse=True)}
        ranks = {name: rank for name, rank in ordered.items() if rank}
        alphas = {name: self.alpha_pattern[name] for name in sorted(self.alpha_pattern, key=_weight, reverse=True)}
        for name, rank in ranks.items():
            alphas.setdefault(name, self._own_alpha(rank))
        left_out = []
        for number, (name, rank) in enumerate(ordered.items()):
            if not rank:
                before = "|".join(f"({other})" for other in list(ordered)[:number] if ordered[other])
                left_out.append((rf"(?!(.*\.)?({before})$)" if before else "") + rf"(.*\.)?({name})")
        patterns = {"rank_pattern": ranks, "exclude_modules": "|".join(left_out),
                    "alpha_pattern": {name: alphas[name] for name in alphas if not self._rslora or name in self.alpha_pattern}}
        return body | {name: value for name, value in patterns.items() if value} | self.options

    def by_name(self, matrices: Iterable[str]) -> dict[str, Any]:
        """peft's rank_pattern, alpha_pattern and exclude_modules for these matrices, each by its whole name. peft reads its folders with
        the keys in another order, so none may mean a matrix that another means as well."""
        ranks, alphas, left_out = {}, {}, []
        for name in matrices:
            rank = value_for(self.rank_pattern, name)
            if rank == 0:
                left_out.append(name)
                continue
            alpha = value_for(self.alpha_pattern, name)
            if rank not in (None, self.rank):
                ranks[name] = rank
                alpha = alpha or self._own_alpha(rank)
            if alpha not in (None, self._alpha):
                alphas[name] = alpha
        return {"rank_pattern": ranks, "alpha_pattern": alphas, "exclude_modules": left_out}

    @property
    def _rslora(self) -> bool:
        return self.variant == "rslora" or bool(self.options.get("use_rslora"))

    @property
    def _alpha(self) -> float:
        return self.alpha if self.alpha is not None else RSLORA_ALPHA if self.variant == "rslora" else 2 * self.rank

    def _own_alpha(self, rank: int) -> float:
        """Alpha of a matrix of this rank where none was given for it. The scale is alpha / rank (of rslora alpha / √rank): a rank of its
        own takes its part of alpha with it."""
        return self._alpha if self._rslora else self._alpha * rank / self.rank

    @property
    def by_shapes(self) -> bool:
        plain = not self.options and self.variant != "pissa"  # PiSSA's rank must fit each matrix, and names alone do not tell all-linear's
        return plain and (isinstance(self.target_modules, tuple) or self.target_modules == "all-linear")

    def check_shapes(self, shapes: Shapes) -> None:
        matrices = [name.removesuffix(".weight") for name, shape in shapes.items() if len(shape) == 2 and name.endswith(".weight")]
        named = [("target_modules", name) for name in self.target_modules] if isinstance(self.target_modules, tuple) else []
        named += [(what, name) for what in ("rank_pattern", "alpha_pattern") for name in getattr(self, what)]
        for field_name, name in named:
            wanted = re.escape(name) if field_name == "target_modules" else name  # patterns are regular expressions to peft, as here
            if not any(re.fullmatch(rf"(.*\.)?({wanted})", matrix) for matrix in matrices):
                ends = sorted({matrix.rsplit(".", 1)[-1] for matrix in matrices})
                raise RecipeError(f"LoRA's {field_name} names {name!r}, which this model does not have.",
                                  f"Its matrices are called {', '.join(ends)}.")

    def apply(self, model: Any) -> Any:
        # of the modules, not the parameters: a tied head has none of its own
        weights = {name: module.weight for name, module in model.named_modules() if getattr(module, "weight", None) is not None}
        self.check_shapes({f"{name}.weight": tuple(weight.shape) for name, weight in weights.items()})
        arguments = self._arguments(model)
        start = str(arguments.get("init_lora_weights")).lower()
        if on_meta(model) and isinstance(arguments.get("init_lora_weights"), str):
            arguments["init_lora_weights"] = True  # the others read weights, and these have none
        try:
            with quiet_peft() as peft:
                adapted = peft.get_peft_model(model, peft.LoraConfig(**{"task_type": task_of(model)} | arguments))
        except (ValueError, TypeError) as error:  # peft's own words for an unknown module or option
            raise RecipeError(f"LoRA cannot be applied to this model: {str(error).rstrip('.')}.",
                              f"Its matrices are called {', '.join(matrix_names(model))}.") from error
        return saved_by_peft(adapted, mutated=start.startswith(MUTATING))

    def _arguments(self, model: Any) -> dict[str, Any]:
        """What `peft.LoraConfig` is given for this model. Raises `RecipeError` where a start that is taken out of the weights cannot be."""
        arguments = self.config_arguments()
        matrices = {name: module for name, module in model.named_modules() if self._targets(model, name, module)}
        named, own = self.by_name(matrices), self.options.get("exclude_modules") or []
        left_out = named["exclude_modules"]
        named["exclude_modules"] = "|".join([own, *map(re.escape, left_out)]) if isinstance(own, str) else [*own, *left_out]
        named["modules_to_save"] = [*(self.options.get("modules_to_save") or ()), *new_modules(model)]
        others = {key: value for key, value in arguments.items() if key not in named}
        arguments = others | {key: value for key, value in named.items() if value}
        start = str(arguments.get("init_lora_weights")).lower()
        if start.startswith(MUTATING):
            for name in matrices.keys() - set(left_out):
                called, module = "OLoRA" if start == "olora" else "PiSSA", matrices[name]
                self._check_start(called, name, module, named["rank_pattern"].get(name, self.rank))
                if module.weight is model.get_input_embeddings().weight:
                    raise RecipeError(f"{called} changes the weights it starts from, and {name} shares its own with the input embedding.",
                                      'Use variant="lora" for it.')
        return arguments

    def _check_start(self, called: str, name: str, module: Any, rank: int) -> None:
        kind = type(module).__name__
        if kind == "Embedding":
            raise RecipeError(f"{called} starts from the weights of linear layers, and {name} is none.", 'Use variant="lora".')
        if called == "OLoRA" and kind == "Conv1D":
            raise RecipeError(f"peft cannot start OLoRA from {name}: its weight lies the other way round (Conv1D, as in GPT-2).",
                              'Use variant="pissa" or "lora".')
        least = min(module.weight.shape if kind == "Conv1D" else (module.in_features, module.out_features))
        if rank > least:
            raise RecipeError(f"{called} takes its start, of rank {rank}, out of {name}, whose rank is at most {least}.",
                              f'Use rank={least} at most, rank_pattern for this matrix, or variant="lora".')

    def _targets(self, model: Any, name: str, module: Any) -> bool:
        """Whether peft would put an adapter on this module, as far as its name and class tell."""
        if self.target_modules == "all-linear":
            head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
            return type(module).__name__ in QUANTIZABLE and module is not head and f"{name}.weight" not in head_of(model)
        if getattr(module, "weight", None) is None:
            return False
        if isinstance(self.target_modules, str):
            return re.fullmatch(self.target_modules, name) is not None
        return any(name == wanted or name.endswith(f".{wanted}") for wanted in self.target_modules)

    def script(self) -> str | None:
        if 0 in self.rank_pattern.values() and "exclude_modules" in self.options:
            return None
        arguments = ",\n".join(f"    {name}={value!r}" for name, value in ({"task_type": "CAUSAL_LM"} | self.config_arguments()).items())
        return f"model = peft.get_peft_model(model, peft.LoraConfig(\n{arguments}))"


def _weight(name: str) -> tuple[bool, int]:
    """How much a key of a pattern counts where others mean the same matrix."""
    return re.fullmatch(r"[\w.]+", name) is not None, len(name)


def value_for(pattern: dict[str, Any], name: str) -> Any:
    """The value of the key that counts most of those that mean this matrix; None where none does. As in peft
    (`peft.utils.other.get_pattern_key`) a key is a regular expression for the end of a name."""
    meant = [key for key in pattern if re.fullmatch(rf"(.*\.)?({key})", name)]
    return pattern[max(meant, key=_weight)] if meant else None


def matrix_names(model: Any) -> list[str]:
    """The last words of its linear layers' names, each once."""
    return sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules() if type(module).__name__ in QUANTIZABLE})


@named_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class QLoRA(LoRA):
    """LoRA on a base of 4 bits a weight (Dettmers et al. 2023), or 8 (LLM.int8(), Dettmers et al. 2022), by bitsandbytes; the base is
    rounded as it is read.

    What is saved is the LoRA and these settings, so that the base is rounded the same way when it is opened again. Merging takes the
    rounded weights as they are.
    """

    name: ClassVar[str] = "qlora"
    bits: int = 4
    quant_type: str = "nf4"
    """Code book of 4 bits: "nf4" (quantiles of a normal distribution) or "fp4"."""
    double: bool = True
    """Whether the constants of the blocks are rounded in turn, which saves 0.37 bits a weight (4 bits only)."""

    def __post_init__(self):
        LoRA.__post_init__(self)
        if self.bits not in (4, 8) or isinstance(self.bits, bool):
            raise RecipeError(f"QLoRA's bits are {self.bits!r}, neither 4 nor 8.", "Use bits=4.")
        if self.quant_type not in ("nf4", "fp4"):
            raise RecipeError(f"QLoRA's quant_type is {self.quant_type!r}, neither nf4 nor fp4.", 'Use quant_type="nf4".')
        if not isinstance(self.double, bool):
            raise RecipeError(f"QLoRA's double is {self.double!r}; it is True or False.", "Use double=True.")
        if self.variant == "pissa":
            raise RecipeError("PiSSA takes the largest singular values out of weights before they are rounded; QLoRA's are rounded as they are read.",
                              'Use variant="lora", or LoRA(variant="pissa").')

    def load_kwargs(self) -> dict[str, Any]:
        import torch
        import transformers

        if self.bits == 8:
            return {"quantization_config": transformers.BitsAndBytesConfig(load_in_8bit=True)}
        compute = torch.bfloat16 if torch.cuda.is_available() else torch.float32
        four_bits.mend()
        return {"quantization_config": transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=self.quant_type, bnb_4bit_use_double_quant=self.double, bnb_4bit_compute_dtype=compute)}

    @property
    def by_shapes(self) -> bool:
        return False

    def script(self) -> None:
        return None

    def apply(self, model: Any) -> Any:
        if not on_meta(model) and not getattr(model, "is_quantized", False):
            raise RecipeError("QLoRA stands on a base that was rounded as it was read, and this one was not.",
                              "Read it with wb.load(model, method=wb.QLoRA()).")
        head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
        # named as peft's "all-linear" would find them: the matrices that bitsandbytes rounds
        if not any(type(module).__name__ in QUANTIZABLE and module is not head for module in model.modules()):
            raise RecipeError("QLoRA rounds linear layers, and this model has none but its head.", "Use wb.LoRA, or wb.Full.")
        if not on_meta(model):
            with quiet_peft() as peft:
                model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        return saved_by_peft(LoRA.apply(self, model), self)
