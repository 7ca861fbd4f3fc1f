"""What to train, as a typed value: every field checked with a remedy, to JSON and back.

A recipe imports neither torch nor transformers, so a notebook builds one at once and a mistake in it is known before anything slow
starts. It holds what was *asked*; what was changed while the run went is in the run's journal.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench import launching, town
from workbench.alignment import objectives, policy_objectives, preference_objectives  # noqa: F401 - their objectives are known once they are imported
from workbench.data import comparisons, labelled, prompts, run_rows, verdicts
from workbench.data.mixture import Mixture
from workbench.data.stages import Stages
from workbench.errors import DataError, RecipeError, WorkbenchError
from workbench.models import frozen, kernels, loading, methods, passed_through

TOWN_MODELS = {"town" if size == "medium" else f"town-{size}": size for size in town.SIZES}
"""Names of the shipped base models, and their sizes."""
OBJECTIVES = {"sft": run_rows.IMITATION, "pretraining": run_rows.IMITATION, "classification": labelled.RULES,
              "reward": comparisons.RULES, **dict.fromkeys(("dpo", "ipo", "orpo", "rrhf"), comparisons.RULES), "kto": verdicts.RULES,
              "ppo": prompts.RULES, "grpo": prompts.RULES, "rloo": prompts.RULES}
"""What can be learned, and what each asks of its rows; how each trains is in `training/objectives.py`."""
HEADED = ("classification", "reward")
"""Objectives that put a new head on the model."""
SCHEDULES = ("constant", "linear", "cosine")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
TRACKERS = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb", "trackio": "trackio", "comet_ml": "comet_ml", "clearml": "clearml",
            "swanlab": "swanlab", "neptune": "neptune", "dvclive": "dvclive", "codecarbon": "codecarbon"}
"""What transformers reports to, and the package that each needs."""
LIVE: dict[str, tuple[float, float]] = {"learning_rate": (0.0, 1.0), "evaluate_every": (1, 10**9), "mixture": (0.0, 1e12)} | objectives.RANGES
"""Settings that can be changed while a run goes, with the range a value (of `mixture` and `reward_weights`: each weight) must lie in. Those
of `objectives.RANGES` only runs of an objective that has them can change."""


@methods.named_fields
@dataclass(slots=True, kw_only=True)
class Recipe:
    """One training run, before it runs. Raises `RecipeError` for a value that cannot work."""

    model: Any = "town"
    """"town", a transformers or adapter folder, a hub id, or a run: what it learned."""
    data: Any = "town:instructions"
    """"town:NAME", a JSONL/JSON/CSV/TSV/Parquet file, a hub id, a `datasets.Dataset` or a DataFrame (kept in the run folder); or a `Mixture` or `Stages` of such."""
    objective: Any = "sft"
    """"sft" (answers), "pretraining" (text as it is), "classification" (a label for each text), "reward" (which of two replies is better), or
    one with settings of its own, by name or as a value: `DPO(beta=0.1)`, `PPO(rewards={...})`, ..."""
    settings: Any = None
    """The objective's own settings; filled in from `objective`."""
    method: Any = field(default_factory=methods.LoRA)
    """What is trained of the model: `wb.LoRA(rank=8)`, `wb.Full()`, `wb.QLoRA()`, ..."""
    learning_rate: float = 3e-4
    """The schedule's peak."""
    steps: int | None = None
    """Optimizer steps in all; None takes `epochs`. Neither given: 200 steps, or those that `Stages` have rows for."""
    epochs: float | None = None
    """Of a mixture: as often as many rows as its sources have together."""
    batch_size: int = 8
    """Rows a forward pass (and a device)."""
    gradient_accumulation: int = 1
    """Forward passes before each optimizer step."""
    max_length: int = 512
    """Tokens; longer rows are cut (and counted). Never above what the model has positions for."""
    packing: bool = False
    """Put several rows into one of `max_length`, kept apart, so that no time goes into padding."""
    completions_only: bool = True
    """Train on answers alone; False trains on every token."""
    schedule: str = "cosine"
    """How the learning rate goes after the warm-up: "constant", "linear" or "cosine"."""
    warmup_steps: int | float = 0.03
    """A whole number of steps, or a share of all of them below 1."""
    optimizer: str = "adamw_torch"
    """Any name `transformers.TrainingArguments(optim=...)` takes."""
    optimizer_arguments: dict[str, float] = field(default_factory=dict)
    """beta1, beta2, epsilon."""
    weight_decay: float = 0.0
    """The optimizer's own; 0 is none."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; 0 does not clip."""
    heldout: float | str = 0.1
    """A share of the rows (at most 200 of them), another source, or 0 for none."""
    evaluate_every: int | None = None
    """Steps between evaluations; None is a tenth of the run."""
    early_stopping: int | None = None
    """Stop after so many evaluations without a new lowest held-out loss."""
    keep_best: bool = False
    """The result is the checkpoint with the lowest held-out loss, not the last one."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; None is a tenth of the run."""
    keep_checkpoints: int = 4
    """How many of the last ones stay on disk (the best one stays beside them)."""
    sample_prompts: int | list[str] = 3
    """Prompts answered at each evaluation: a list, or how many to take from the held-out rows."""
    sample_tokens: int = 32
    """The most tokens of such an answer."""
    precision: str = "auto"
    """auto is bf16 on a GPU that has it and fp32 on a CPU."""
    attention: str = "auto"
    """"auto", "sdpa", "eager" or "flash": see `models/kernels.py`."""
    compile: bool = False
    """The forward and backward pass compiled by torch (`sft` and `pretraining`); the first step takes longer."""
    report_to: tuple[str, ...] = ()
    """Trackers that hear of every step too: "tensorboard" (its files lie in RUN/tensorboard; `tensorboard --logdir runs` opens them), "mlflow",
    any of `workbench.recipes.TRACKERS`."""
    seed: int = 0
    """Of the order of the rows, of new weights and of dropout."""
    launch: launching.Launch | None = None
    """Several processes, `wb.Launch(processes=2, strategy="ddp")`; None is one."""
    training_arguments: dict[str, Any] = field(default_factory=dict)
    """Anything else of `transformers.TrainingArguments`, passed through."""
    data_hash: str = ""
    """SHA-256 of the rows, filled in when the run starts."""

    def __post_init__(self):
        self.model = getattr(self.model, "folder", self.model)
        if isinstance(self.report_to, (str, list)):
            self.report_to = (self.report_to,) if isinstance(self.report_to, str) else tuple(self.report_to)
        for name in ("model", "data", "heldout"):
            if isinstance(getattr(self, name), Path):
                setattr(self, name, str(getattr(self, name)))
        if isinstance(self.objective, objectives.Objective):
            self.objective, self.settings = self.objective.name, self.objective
        if not isinstance(self.settings, objectives.Objective):
            self.settings = objectives.of(self.objective, self.settings)
        if isinstance(self.data, dict):
            self.data = run_rows.data_from_json(self.data)
        if isinstance(self.method, dict):
            self.method = methods.from_json(self.method)
        self.launch = launching.from_json(self.launch)
        check(self)
        if self.steps is None and self.epochs is None:
            self.steps = math.ceil(self.data.rows / launching.rows_a_step(self)) if isinstance(self.data, Stages) else 200

    def to_json(self) -> dict[str, Any]:
        """Plain values for `recipe.json`. Raises `RecipeError` while the rows are still in memory."""
        try:
            data = run_rows.data_to_json(self.data)
        except DataError as error:
            raise RecipeError(error.what, error.remedy) from error
        if not isinstance(data, (str, dict)):
            raise RecipeError("This recipe holds its rows in memory, so it has no JSON form of its own.",
                              "Start it (the rows are kept in the run folder), or give a file.")
        body = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        settings = {"settings": self.settings.to_json()} if self.settings else {}
        body["launch"] = self.launch.to_json() if self.launch else None
        return {k: v for k, v in body.items() if k != "settings"} | {"data": data, "method": self.method.to_json()} | settings

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> "Recipe":
        """The recipe `to_json` wrote. Raises `RecipeError` for a field it does not know or cannot read, `DataError` for a mixture that is none."""
        names = [f.name for f in dataclasses.fields(cls)]
        unknown = sorted(set(body) - set(names))
        if unknown:
            raise RecipeError(f"A recipe has no field {unknown[0]!r}.", _nearest(unknown[0], names))
        if not isinstance(body.get("data", ""), (str, dict)):
            raise RecipeError("The data of a recipe in JSON are named, not listed in it.", "Put the rows into a file, and its path into the recipe.")
        try:
            return cls(**body)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:  # anybody may have written it
            raise RecipeError(f"This is no recipe that can be read: {type(error).__name__}: {error}.", "Look at its fields, or build it anew.") from error

    def replace(self, **changes: Any) -> "Recipe":
        """A copy with some fields changed, checked again. `method.rank` and `objective.beta` and the like reach into the method and the
        objective's settings, and of `steps` and `epochs` the one that is named takes the place of the other."""
        own = {k: v for k, v in changes.items() if "." not in k}
        inner, deeper = ({k.split(".", 1)[1]: v for k, v in changes.items() if k.startswith(part)} for part in ("method.", "objective."))
        names = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if "." in name and not name.startswith(("method.", "objective.")):
                raise RecipeError(f"A recipe has no field {name!r}.",
                                  "Only the method's and the objective's own fields are named with a dot, such as method.rank.")
        for name in own:
            if name not in names:
                raise RecipeError(f"A recipe has no field {name!r}.", _nearest(name, names))
        if inner:
            method = own.get("method", self.method)
            own["method"] = methods.from_json(method.to_json() | inner)
        if "objective" in own:
            own.setdefault("settings", None)
        if deeper:
            asked = own.get("objective", self.objective)
            settings = asked if isinstance(asked, objectives.Objective) else objectives.of(asked, own.get("settings", self.settings and self.settings.to_json()))
            if settings is None:
                raise RecipeError(f"The objective {asked!r} has no settings of its own.", "Name another field.")
            own |= {"objective": settings.name, "settings": objectives.of(settings.name, settings.to_json() | deeper)}
        for name, other in (("steps", "epochs"), ("epochs", "steps")):
            if own.get(name) is not None:
                own.setdefault(other, None)
        return dataclasses.replace(self, **own)


def check(recipe: Recipe) -> None:
    """Raises `RecipeError` for the first field that cannot work. Looks at no weights and no rows."""
    def need(good: bool, what: str, remedy: str) -> None:
        if not good:
            raise RecipeError(what, remedy)

    def one_of(name: str, known: tuple[str, ...]) -> None:
        value = getattr(recipe, name)
        need(value in known, f"{name} is {value!r}, which is none of {', '.join(known)}.", f'Use {name}="{known[0]}".')

    def whole(name: str, least: int, example: int, optional: bool = False) -> None:
        value = getattr(recipe, name)
        if optional and value is None:
            return
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        need(good, f"{name} is {value!r}; it must be a whole number of at least {least}.", f"Use {name}={example}.")

    def number(name: str, least: float, most: float, example: float) -> None:
        value = getattr(recipe, name)
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and least <= value <= most
        need(good, f"{name} is {value!r}; it must be a number from {least:g} to {most:g}.", f"Use {name}={example:g}.")

    def plain(name: str, body: dict[str, Any]) -> None:
        for key, value in body.items():
            try:
                json.dumps(value)
            except (TypeError, ValueError) as error:
                raise RecipeError(f"{name}'s {key} cannot be written as JSON, so the run could not keep it: {error}.",
                                  "Use text, numbers, lists and dicts.") from error

    need(isinstance(recipe.model, str) and bool(recipe.model), f"model is {recipe.model!r}, not a name or folder.", 'Use model="town".')
    need(isinstance(recipe.method, methods.Method), f"method is {recipe.method!r}, not a method.", "Use method=wb.LoRA(rank=8) or wb.Full().")
    one_of("objective", tuple(OBJECTIVES))
    need(recipe.settings is None or recipe.settings.name == recipe.objective, f"settings are of another objective than {recipe.objective!r}.",
         "Give objective alone: a name, or a value such as wb.DPO(beta=0.1).")
    one_of("schedule", SCHEDULES)
    one_of("precision", PRECISIONS)
    number("learning_rate", *LIVE["learning_rate"], 3e-4)
    need(recipe.learning_rate > 0, "learning_rate is 0, so nothing would be learned.", "Use learning_rate=0.0003.")
    need(recipe.steps is None or recipe.epochs is None, "Both steps and epochs are given.", "Keep one of the two.")
    whole("steps", 1, 200, optional=True)
    if recipe.epochs is not None:
        number("epochs", 1e-6, 1e6, 1)
    for name, least, example in (("batch_size", 1, 8), ("gradient_accumulation", 1, 1), ("max_length", 8, 512), ("keep_checkpoints", 1, 4),
                                 ("sample_tokens", 1, 32)):
        whole(name, least, example)
    for name, example in (("evaluate_every", 20), ("checkpoint_every", 20), ("early_stopping", 3)):
        whole(name, 1, example, optional=True)
    number("warmup_steps", 0, 10**9, 0.03)
    need(recipe.warmup_steps < 1 or float(recipe.warmup_steps).is_integer(),
         f"warmup_steps is {recipe.warmup_steps!r}; it must be a whole number of steps, or a share of them below 1.", "Use warmup_steps=0.03.")
    number("weight_decay", 0, 10, 0.01)
    number("max_grad_norm", 0, 1e9, 1.0)
    whole("seed", 0, 0)
    need(isinstance(recipe.heldout, str) or (isinstance(recipe.heldout, (int, float)) and 0 <= recipe.heldout < 1),
         f"heldout is {recipe.heldout!r}; it must be a share below 1, or a source of rows.", "Use heldout=0.1.")
    for name in ("early_stopping", "keep_best"):
        need(not getattr(recipe, name) or recipe.heldout != 0, f"{name} needs held-out rows, and heldout is 0.", "Use heldout=0.1.")
    one_of("attention", kernels.ATTENTION)
    for name in ("packing", "completions_only", "keep_best", "compile"):
        need(isinstance(getattr(recipe, name), bool), f"{name} is {getattr(recipe, name)!r}; it is True or False.", f"Use {name}=False.")
    for name in ("optimizer_arguments", "training_arguments"):
        value = getattr(recipe, name)
        need(isinstance(value, dict) and all(isinstance(key, str) for key in value), f"{name} is {value!r}, not a dict of names.", f"Use {name}={{}}.")
        plain(name, value)
    plain("method", recipe.method.to_json())
    for name in ("optimizer", "data_hash"):
        need(isinstance(getattr(recipe, name), str), f"{name} is {getattr(recipe, name)!r}, not a name.", "Leave it out.")
    need(recipe.data is not None, "data is None, so there is nothing to train on.", 'Use data="town:instructions".')
    mixed = isinstance(recipe.data, (Mixture, Stages))
    need(not (mixed and recipe.packing), "A mixture is drawn row by row, so that its weights can change, and packing puts rows together beforehand.",
         "Use packing=False.")
    need(not recipe.packing or recipe.method.packs, f"The method {recipe.method.name} puts tokens of its own before each row, and packing puts several rows into one.",
         "Use packing=False.")
    need(recipe.objective not in HEADED or recipe.method.classifies,
         f"The method {recipe.method.name} puts embeddings before each text, and a head given embeddings cannot tell where a padded text ends.", "Use wb.LoRA(rank=8).")
    need(not (recipe.packing and recipe.objective == "classification"), "Packing puts several texts into one row, and each text has a label of its own.",
         "Use packing=False.")
    need(not (recipe.packing and recipe.objective == "reward"), "Packing puts several replies into one row, and each reply has a reward of its own.",
         "Use packing=False.")
    need(recipe.objective in HEADED or not isinstance(recipe.method, frozen.FrozenBackbone),
         "FrozenBackbone trains the head of a classifier, and this recipe's objective is " + f"{recipe.objective!r}.",
         'Use objective="classification", or wb.Freeze for a language model.')
    asked = recipe.sample_prompts
    need((type(asked) is int and asked >= 0) or (isinstance(asked, list) and all(isinstance(p, str) for p in asked)),
         f"sample_prompts is {asked!r}; it must be a number of held-out rows, or a list of prompts.", "Use sample_prompts=3.")
    policy = recipe.settings is not None and recipe.settings.policy
    for name in ("keep_best", "early_stopping"):
        need(not (policy and getattr(recipe, name)), f"{name} goes by a held-out loss, and a policy has none: its rewards are in the journal.",
             "Leave it out, and fork from the checkpoint you like.")
    need(not policy or recipe.gradient_accumulation == 1, "A step of a policy is one round of replies, and gradient_accumulation would split it.",
         "Use gradient_accumulation=1 and a larger batch_size.")
    need(recipe.settings is None or not recipe.packing, f"Packing puts several texts into one row, and {recipe.objective} scores each reply alone.",
         "Use packing=False.")
    imitates = recipe.objective in ("sft", "pretraining")
    need(imitates or not recipe.compile, f"compile=True compiles sft and pretraining, and this recipe's objective is {recipe.objective!r}.", "Use compile=False.")
    need(imitates or recipe.attention != "flash", f"attention='flash' is for sft and pretraining, and this recipe's objective is {recipe.objective!r}.",
         'Use attention="auto".')
    need(not (recipe.compile and recipe.attention == "flash"), "The flash kernel is told anew with each batch where examples begin, and would be compiled anew with each.",
         'Use compile=False, or attention="sdpa".')
    need(isinstance(recipe.report_to, tuple) and all(isinstance(name, str) and name in TRACKERS for name in recipe.report_to),
         f"report_to is {recipe.report_to!r}; trackers are {', '.join(TRACKERS)}.", 'Use report_to=("tensorboard",).')
    need(recipe.objective != "reward" or type(asked) is int, "sample_prompts names prompts, and a reward model writes no replies to them.",
         "Use sample_prompts=3, held-out comparisons.")
    unknown = sorted(set(recipe.optimizer_arguments) - {"beta1", "beta2", "epsilon"})
    need(not unknown, f"optimizer_arguments has {unknown[:1]}, which is none of beta1, beta2, epsilon.",
         "Give other optimizer options as training_arguments={'optim_args': ...}.")
    launching.check(recipe)
    passed_through.check_trainer(recipe.training_arguments)


def check_live(values: dict[str, Any], sources: Collection[str] = (), recipe: Recipe | None = None) -> None:
    """Raises `RecipeError` where a change cannot be made while a run goes; `sources` are the names of the run's mixture, `recipe` is the
    run's, where it has one."""
    if not values:
        raise RecipeError("Nothing to change was given.", f"Name one of {', '.join(LIVE)}.")
    for name, value in values.items():
        if name not in LIVE:
            raise RecipeError(f"{name!r} cannot be changed while a run goes.", f"These can: {', '.join(LIVE)}. For others, start a new run.")
        if name in objectives.RANGES:
            objectives.check_live(name, value, recipe.settings if recipe else None, recipe.objective if recipe else "of a script")
        elif name == "mixture":
            _check_weights(value, sources)
        elif not _in_range(name, value) or (name == "evaluate_every" and not float(value).is_integer()):
            least, most = LIVE[name]
            raise RecipeError(f"{name} cannot be {value!r}; it must lie between {least:g} and {most:g}.", "Nothing was changed.")


def _in_range(name: str, value: Any) -> bool:
    least, most = LIVE[name]
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and least <= value <= most


def _check_weights(weights: Any, sources: Collection[str]) -> None:
    if not sources:
        raise RecipeError("This run draws from one source, so it has no mixture to change.", "Start one with data=wb.Mixture({...}).")
    if not isinstance(weights, dict) or not weights:
        raise RecipeError(f"mixture is {weights!r}; it must be weights by source.", f"Use mixture={{{next(iter(sources))!r}: 0.5}}.")
    for name, weight in weights.items():
        if name not in sources:
            raise RecipeError(f"mixture names {name!r}, which is no source.", f"The sources are {', '.join(sources)}.")
        if not _in_range("mixture", weight):
            raise RecipeError(f"mixture gives {name!r} {weight!r}; a weight is a number of at least 0.", "Nothing was changed.")
    if set(weights) == set(sources) and not any(weights.values()):
        raise RecipeError("mixture gives every source the weight 0, so nothing would be drawn.", "Give one of them a weight above 0.")


def live_value(value: Any) -> Any:
    """A live setting as JSON has it: a `Mixture` as its rates."""
    return value.rates if isinstance(value, Mixture) else value


def read(folder: str | Path) -> Recipe:
    """The recipe that a run folder keeps; nothing it names is opened. Raises `RecipeError` where the file is damaged or no recipe."""
    path = Path(folder) / "recipe.json"
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path.parent.name}/{path.name} cannot be read: {str(error) or type(error).__name__}.", "Copy the run folder anew.") from error
    if not isinstance(body, dict):
        raise RecipeError(f"{path.parent.name}/{path.name} holds no recipe.", "Copy the run folder anew.")
    return Recipe.from_json(body)


def resolve_model(model: str) -> str:
    """The folder or hub id behind a recipe's `model`: "town" is the shipped one."""
    if model in TOWN_MODELS:
        return str(town.base_folder(TOWN_MODELS[model]))
    path = Path(model).expanduser()
    try:
        a_run = (path / "recipe.json").is_file()
    except OSError as error:  # a name too long, a folder that may not be read
        raise RecipeError(f"The model {model!r} cannot be opened: {error.strerror}.", 'Check the path, or use model="town".') from error
    if a_run:
        path = path / "result"
        if not path.is_dir():
            raise RecipeError(f"The run {path.parent.name} has no result yet.", "Let it finish (run.wait(), or run.resume() where it was stopped), or name one of its checkpoints.")
        model = str(path)
    check_source(model)
    return str(path.resolve()) if path.is_dir() else model


def check_source(model: str) -> None:
    """As `loading.check_source`; what is nearly the name of a model of the town is told so."""
    try:
        loading.check_source(model)
    except WorkbenchError as error:
        close = difflib.get_close_matches(str(model), TOWN_MODELS, n=1)
        if not close or Path(model).expanduser().exists():
            raise
        raise RecipeError(error.what, f"Did you mean {close[0]!r}? The town's models are {', '.join(TOWN_MODELS)}.") from error


def load(model: str = "town", **options: Any) -> tuple[Any, Any]:
    """`(model, tokenizer)` of "town", a folder or a hub id, in this process."""
    return loading.load(resolve_model(model), **options)


def load_tokenizer(model: str = "town") -> Any:
    """The tokenizer of "town", a folder or a hub id; no weights are read. Raises `WorkbenchError` where there is none."""
    return loading.load_tokenizer(resolve_model(model))


def difference(first: Recipe, second: Recipe) -> list[tuple[str, Any, Any]]:
    """`(field, in first, in second)` for every field that differs, the method's own fields as `method.rank`."""
    a, b = (_flat(recipe) for recipe in (first, second))
    return [(name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]


def _flat(recipe: Recipe) -> dict[str, Any]:
    body = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
    method = body.pop("method").to_json()
    body |= _mixture_of(body.pop("data"))
    settings = body.pop("settings")
    body |= {f"objective.{name}": value for name, value in settings.to_json().items()} if settings else {}
    return body | {"method": method.pop("name")} | {f"method.{name}": value for name, value in method.items()}


def _mixture_of(data: Any) -> dict[str, Any]:
    """`data` itself, or of a mixture its sources and each one's share."""
    if isinstance(data, Stages):
        return {"data": " then ".join(", ".join(mixture.sources) for mixture, _ in data.stages), "replay": data.replay} | {
            f"mixture.{name} of stage {number}": rate for number, rates in enumerate(data.rates, start=1) for name, rate in rates.items()}
    if isinstance(data, Mixture):
        return {"data": ", ".join(data.sources)} | {f"mixture.{name}": rate for name, rate in data.rates.items()}
    return {"data": data}


def warmup_count(recipe: Recipe, steps: int) -> int:
    """Warm-up in steps."""
    return math.ceil(recipe.warmup_steps * steps) if recipe.warmup_steps < 1 else int(recipe.warmup_steps)


def schedule_shape(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of step `step` + 1 as a share of the peak, as transformers' schedules have it (`get_scheduler`)."""
    warmup = warmup_count(recipe, steps)
    if step < warmup:
        return step / max(1, warmup)
    if recipe.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, steps - warmup)
    if recipe.schedule == "linear":
        return max(0.0, 1.0 - progress)
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else "Its fields are " + ", ".join(names) + "."
