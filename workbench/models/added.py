"""Methods that add weights beside the model's own: bottleneck adapters, tuned prompts, and whatever else peft has.

Not here: LoRA (`lora.py`), and the layers of an adapter (`bottleneck.py`).
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from workbench.errors import RecipeError
from workbench.models.adaptation import Method, head_of, is_count, named_fields, new_modules, on_meta, task_of
from workbench.models.folders import PROMPTS
from workbench.models.passed_through import check_peft
from workbench.models.quiet import quiet_peft
from workbench.models.saving import give, restore_trained, save_trained, saved_by_peft

EMBEDDED = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "CPT")
"""peft's types that put embeddings before those of the input; the others of `PROMPTS` leave the tokens as they are."""


@named_fields
@dataclass(frozen=True, slots=True)
class Adapters(Method):
    """A small bottleneck after the attention and the feed-forward part of each block (Houlsby et al. 2019), beginning as the identity.

    Trains 2 (2 size·d + size + d) parameters a block, and the layer norms in it. They are not linear, so they cannot be merged.
    """

    name: ClassVar[str] = "adapters"
    size: int = 64
    """Width of the bottleneck."""
    layer_norms: bool = True
    """Whether the blocks' layer norms are trained too, as in the paper."""

    def __post_init__(self):
        if not is_count(self.size):
            raise RecipeError(f"Adapters' size is {self.size!r}, which is not a whole number of at least 1.", "Use size=64.")
        if not isinstance(self.layer_norms, bool):
            raise RecipeError(f"Adapters' layer_norms is {self.layer_norms!r}; it is True or False.", "Use layer_norms=True.")

    def apply(self, model: Any) -> Any:
        from workbench.models import bottleneck

        blocks = bottleneck.insert(model, self.size)
        model.requires_grad_(False)
        for block in blocks:
            for module in block.modules():
                if isinstance(module, bottleneck.Bottleneck) or (self.layer_norms and "norm" in type(module).__name__.lower()):
                    module.requires_grad_(True)
        head = set(head_of(model))
        for name, parameter in model.named_parameters():
            if name in head:
                parameter.requires_grad_(True)
        give(model, lambda model, folder, **options: save_trained(model, folder, self), restore_trained)
        return model


@named_fields
@dataclass(frozen=True, slots=True, kw_only=True)
class Peft(Method):
    """Any of peft's methods by its own config: `wb.Peft(config={"peft_type": "IA3"})`, with the fields of `peft.IA3Config`; the task is
    filled in."""

    name: ClassVar[str] = "peft"
    config: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        kind = self.config.get("peft_type") if isinstance(self.config, dict) else None
        if not isinstance(kind, str) or not kind:
            raise RecipeError(f"Peft's config is {self.config!r}, which names no peft_type.",
                              'Use wb.Peft(config={"peft_type": "IA3"}), or another of peft\'s types.')
        check_peft(self.config, "Peft's config")
        object.__setattr__(self, "config", self.config | {"peft_type": kind.upper()})

    @property
    def packs(self) -> bool:
        return self.config["peft_type"] not in PROMPTS

    @property
    def classifies(self) -> bool:
        return self.config["peft_type"] not in EMBEDDED

    def apply(self, model: Any) -> Any:
        return peft_applied(model, self.config)

    def script(self) -> str:
        return f"model = peft.get_peft_model(model, peft.get_peft_config({({'task_type': 'CAUSAL_LM'} | self.config)!r}))"


@named_fields
@dataclass(frozen=True, slots=True)
class PromptTuning(Method):
    """Embeddings of a few tokens before every input are trained, and nothing else (Lester et al. 2021): tokens·d parameters."""

    name: ClassVar[str] = "prompt"
    tokens: int = 8
    start: str = "vocabulary"
    """"vocabulary" starts at the embeddings of tokens drawn at random, which the paper found better than "random" numbers."""

    def __post_init__(self):
        if not is_count(self.tokens):
            raise RecipeError(f"PromptTuning's tokens are {self.tokens!r}, which is not a whole number of at least 1.", "Use tokens=8.")
        if self.start not in ("vocabulary", "random"):
            raise RecipeError(f"PromptTuning's start is {self.start!r}, neither vocabulary nor random.", 'Use start="vocabulary".')

    @property
    def packs(self) -> bool:
        return False

    @property
    def classifies(self) -> bool:
        return False

    @property
    def by_shapes(self) -> bool:
        return True  # there is no model it could not be put before

    def _config(self) -> dict[str, Any]:
        start = "SAMPLE_VOCAB" if self.start == "vocabulary" else "RANDOM"
        return {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": self.tokens, "prompt_tuning_init": start}

    def apply(self, model: Any) -> Any:
        # a model without weights has no embeddings to start at
        return peft_applied(model, self._config() | ({"prompt_tuning_init": "RANDOM"} if on_meta(model) else {}))

    def script(self) -> str:
        return f"model = peft.get_peft_model(model, peft.get_peft_config({({'task_type': 'CAUSAL_LM'} | self._config())!r}))"


def peft_applied(model: Any, config: dict[str, Any]) -> Any:
    """`model` with the adapter that peft makes of `config`. Raises `RecipeError` for a config that peft or the model does not take."""
    body = {"task_type": task_of(model)} | config
    with quiet_peft() as peft:
        if body["peft_type"] not in peft.PEFT_TYPE_TO_CONFIG_MAPPING:
            raise RecipeError(f"peft has no type {config['peft_type']!r}.",
                              f"Its types are {', '.join(sorted(kind.value for kind in peft.PEFT_TYPE_TO_CONFIG_MAPPING))}.")
        new = new_modules(model)
        if new:
            if body["peft_type"] in PROMPTS or not hasattr(peft.PEFT_TYPE_TO_CONFIG_MAPPING[body["peft_type"]], "modules_to_save"):
                raise RecipeError(
                    f"This base brings no {new[0]}, which a classifier of its kind needs, and {body['peft_type']} trains no module.",
                    "Use wb.LoRA, or wb.Full.",
                )
            body["modules_to_save"] = [*(body.get("modules_to_save") or ()), *new]
        try:
            adapted = peft.get_peft_model(model, peft.get_peft_config(body))
        except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:  # each type has its own way to say so
            raise RecipeError(f"peft cannot apply {body['peft_type']} to this model: {str(error).strip().splitlines()[0].rstrip('.')}.",
                              "Mend the config; its fields are those of peft's class for the type.") from error
    return saved_by_peft(without_prompt(adapted))


def without_prompt(model: Any) -> Any:
    """A peft model whose logits are those of the tokens given: of a tuned prompt's own positions, which come first, nobody asks
    anything."""
    if getattr(model.active_peft_config, "is_prompt_learning", False):
        model.register_forward_hook(_cut, with_kwargs=True)
    return model


def _cut(model: Any, arguments: tuple, named: dict[str, Any], output: Any) -> Any:
    given = named.get("input_ids", arguments[0] if arguments else named.get("inputs_embeds"))
    logits = getattr(output, "logits", None)
    if given is not None and logits is not None and logits.dim() == 3 and logits.shape[1] > given.shape[1]:
        output.logits = logits[:, -given.shape[1]:]
    return output
