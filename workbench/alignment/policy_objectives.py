"""Reinforcement learning from rewards: objectives whose model writes replies that are scored.

Not here: the training (`training/policy.py`, `training/group_policy.py`), and where rewards come from (`reward_sources.py`).
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from workbench.alignment import reward_sources
from workbench.alignment.objectives import Objective, is_finite
from workbench.errors import RecipeError, named_fields


@dataclass(frozen=True, slots=True)
class PolicyObjective(Objective):
    """What every policy is given: rewards by name, how replies are drawn, and how it is held to its reference, the model it starts from."""

    policy: ClassVar[bool] = True
    rewards: dict[str, Any] = field(default_factory=dict)
    """Name -> a trained reward run (or its folder), a Python function of (prompt, reply), or the URL of an endpoint; `reward_sources.py`
    has them all. One alone may be given without a name. The heads of a reward model become rewards of their own when the run starts:
    "NAME/HEAD"."""
    reward_weights: dict[str, float] = field(default_factory=dict)
    """Name -> weight in the sum; 1 where nothing is said. "NAME/HEAD" weighs one head, and those beside it that are not named weigh 0."""
    gold: str | None = None
    """A grader that is only watched, never trained on: "town", or a function as in `rewards`."""
    own_process: bool = False
    """Whether rewards are scored in a process of their own while the policy goes on generating."""
    reward_device: str | None = None
    """Where reward models are, such as "cuda:1"; None is the policy's own device."""
    beta: float = 0.05
    """Weight of the KL to the reference."""
    temperature: float = 1.0
    reply_tokens: int = 32
    """The longest reply, in tokens."""

    def __post_init__(self):
        given, weights = self.rewards, self.reward_weights
        if given and not isinstance(given, Mapping):
            given = {getattr(given, "__name__", None) if callable(given) else "reward": given}
        if not isinstance(weights, Mapping) or not all(is_finite(weight) for weight in weights.values()):
            raise RecipeError(f"reward_weights is {weights!r}, not numbers by name.", 'Use reward_weights={"helpful": 1.0}.')
        found = {str(name): getattr(source, "folder", source) for name, source in dict(given or {}).items()}
        for name, source in (*found.items(), ("gold", self.gold)):
            if not callable(source) and not (isinstance(source, (str, Path)) and str(source)) and (name, source) != ("gold", None):
                raise RecipeError(f"The reward {name!r} is {source!r}, which scores nothing.",
                                  "Give a trained reward run, a function of (prompt, reply), or \"file.py:function\".")
        object.__setattr__(self, "rewards", {name: str(source) if isinstance(source, Path) else source for name, source in found.items()})
        of_heads = {name: float(weight) for name, weight in weights.items() if str(name).rpartition("/")[0] in self.rewards}
        unknown = sorted(map(str, set(weights) - set(self.rewards) - set(of_heads)))
        if unknown:
            raise RecipeError(f"reward_weights names {unknown[0]!r}, which is none of the rewards.", f"They are {', '.join(self.rewards) or 'none'}.")
        object.__setattr__(self, "reward_weights", {name: float(weights.get(name, 1.0)) for name in self.rewards} | of_heads)
        self._number("beta", 0, 1e6, 0.05)
        self._number("temperature", 1e-3, 100, 1.0)
        self._whole("reply_tokens", 1, 32)
        self._one_of("own_process", (False, True))
        if not (self.reward_device is None or (isinstance(self.reward_device, str) and self.reward_device)):
            raise RecipeError(f"reward_device of {self.name} is {self.reward_device!r}, no name of a device.",
                              'Use reward_device="cuda:1".')

    def prepare(self) -> None:
        if not self.rewards:
            raise RecipeError(f"The objective {self.name} has no rewards, so nothing would be learned.",
                              f'Use objective=wb.{type(self).__name__}(rewards={{"helpful": run}}), run being a trained reward run or a function.')
        known: set[str] = set()
        for name, source in (*self.rewards.items(), *([("gold", self.gold)] if self.gold is not None else [])):
            reward_sources.check(name, source)
            known |= {name, *([] if callable(source) else reward_sources.heads(name, source))}
        for name in set(self.reward_weights) - known:
            model = name.rpartition("/")[0]
            heads = sorted(head for head in known if head.startswith(model + "/"))
            raise RecipeError(f"reward_weights names {name!r}, and the reward {model!r} has no such head.",
                              f"They are {', '.join(heads)}." if heads else f"Use reward_weights={{{model!r}: 1.0}}.")

    def kept_in(self, folder: Path) -> "PolicyObjective":
        rewards, weights = {}, {}
        for name, source in self.rewards.items():
            parts = reward_sources.heads(name, reward_sources.kept(name, source, folder))
            named = any(part != name and part in self.reward_weights for part in parts)
            for part in parts:
                weights[part] = self.reward_weights.get(part, 0.0) if named else self.reward_weights[name] / len(parts)
            rewards |= parts
        gold = None if self.gold is None else reward_sources.kept("gold", self.gold, folder)
        return dataclasses.replace(self, rewards=rewards, reward_weights=weights, gold=gold)

    def check_known(self) -> None:
        for name, source in (*self.rewards.items(), ("gold", self.gold)):
            reward_sources.check_known(name, source, Path())

    def at(self, folder: Path) -> "PolicyObjective":
        return dataclasses.replace(self, rewards={name: reward_sources.at(source, folder) for name, source in self.rewards.items()},
                                   gold=reward_sources.at(self.gold, folder))


@named_fields
@dataclass(frozen=True, slots=True)
class PPO(PolicyObjective):
    """Proximal policy optimization with a KL penalty (Schulman et al. 2017, arXiv 1707.06347; Ziegler et al. 2019, arXiv 1909.08593; Ouyang et
    al. 2022, arXiv 2203.02155)."""

    name: ClassVar[str] = "ppo"
    live: ClassVar[tuple[str, ...]] = ("beta", "kl_target", "temperature", "reward_weights")
    optional: ClassVar[tuple[str, ...]] = ("kl_target",)
    kl_target: float | None = None
    """Nats a reply that an adaptive β aims at; None keeps β where it is. Either may become the other while a run goes."""
    kl_estimator: str = "k1"
    """Of the penalty at each token: "k1" (the papers'), "k2" or "k3"."""
    epochs: int = 4
    """Passes over the replies of a round."""
    minibatches: int = 1
    """Optimizer steps of a pass."""
    clip: float = 0.2
    """How far the ratio of a token may go from 1 before it is no longer followed."""
    value_clip: float = 0.2
    """How far a value may go in a round."""
    value_weight: float = 0.1
    """Of the value loss beside the policy's."""
    value_learning_rate: float | None = None
    """The value head's own peak; None is the recipe's."""
    shared_trunk: bool = True
    """Whether the value loss trains the layers under the value head, which are the policy's."""
    value_warmup: int = 0
    """Rounds at the beginning in which the value head alone learns: advantages of a head that knows nothing yet lead the policy away from its
    reference for no reward."""
    gamma: float = 1.0
    lam: float = 0.95
    """λ of generalized advantage estimation."""
    whiten_rewards: bool = False
    whiten_advantages: bool = True
    entropy_bonus: float = 0.0
    unended_penalty: float = 0.0
    """Taken off the reward of a reply that does not end within `reply_tokens`."""
    pretraining_weight: float = 0.0
    """Of the loss of plain texts beside the policy's (PPO-ptx)."""
    pretraining_data: str = "town:texts"
    """Where these texts are: a source of rows."""

    def __post_init__(self):
        PolicyObjective.__post_init__(self)  # slots: the class that super() would mean is not this one
        self._number("kl_target", 1e-9, 1e9, 6.0, optional=True)
        if self.kl_target is not None and self.beta == 0:
            raise RecipeError("kl_target lets beta rise and fall by shares of itself, and beta is 0.", "Use beta=0.1.")
        self._one_of("kl_estimator", ("k1", "k2", "k3"))
        self._whole("epochs", 1, 4)
        self._whole("minibatches", 1, 1)
        self._whole("value_warmup", 0, 5)
        for name, least, most, example in (("clip", 1e-6, 1e6, 0.2), ("value_clip", 1e-6, 1e9, 0.2), ("value_weight", 0, 1e6, 0.1),
                                           ("gamma", 0, 1, 1.0), ("lam", 0, 1, 0.95), ("entropy_bonus", 0, 1e6, 0.01),
                                           ("unended_penalty", 0, 1e9, 1.0), ("pretraining_weight", 0, 1e6, 1.0)):
            self._number(name, least, most, example)
        self._number("value_learning_rate", 1e-12, 1.0, 1e-3, optional=True)
        for name in ("shared_trunk", "whiten_rewards", "whiten_advantages"):
            self._one_of(name, (True, False))
        if not isinstance(self.pretraining_data, str) or not self.pretraining_data:
            raise RecipeError(f"pretraining_data of ppo is {self.pretraining_data!r}, not the name of a source.",
                              'Use pretraining_data="town:texts".')


@named_fields
@dataclass(frozen=True, slots=True)
class GRPO(PolicyObjective):
    """Group relative policy optimization (Shao et al. 2024, arXiv 2402.03300): the advantage of a reply is its reward less the mean of its
    group, the replies to one prompt, by the group's standard deviation; β weighs the k3 estimate of the KL at each token, in the loss."""

    name: ClassVar[str] = "grpo"
    live: ClassVar[tuple[str, ...]] = ("beta", "temperature", "reward_weights")
    losses: ClassVar[tuple[str, ...]] = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")
    scales: ClassVar[tuple[str, ...]] = ("group", "batch", "none")
    replies_per_prompt: int = 8
    """The group; a step has `batch_size` prompts with as many replies each."""
    epochs: int = 1
    """Passes over the replies of a round."""
    minibatches: int = 1
    """Optimizer steps of a pass."""
    clip: float = 0.2
    """How far the ratio of a token may go from 1 before it is no longer followed."""
    scale_rewards: str = "group"
    """The standard deviation that advantages are divided by: of the "group", of the "batch", or "none" (Dr. GRPO, arXiv 2503.20783)."""
    loss: str = "grpo"
    """By trl's names: "grpo" (a mean over each reply, then over replies), "dapo" and "bnpo" (over all tokens), "dr_grpo", "cispo", "sapo",
    "luspo", "vespo"."""

    def __post_init__(self):
        PolicyObjective.__post_init__(self)
        _check_groups(self)
        self._one_of("scale_rewards", self.scales)
        self._one_of("loss", self.losses)


@named_fields
@dataclass(frozen=True, slots=True)
class RLOO(PolicyObjective):
    """REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740): the advantage of a reply is its reward less the
    mean of the other replies to its prompt; β weighs the k1 estimate of the reply's KL, in the reward."""

    name: ClassVar[str] = "rloo"
    live: ClassVar[tuple[str, ...]] = ("beta", "temperature", "reward_weights")
    replies_per_prompt: int = 4
    """A step has `batch_size` prompts with as many replies each."""
    epochs: int = 1
    """Passes over the replies of a round."""
    minibatches: int = 1
    """Optimizer steps of a pass."""
    clip: float = 0.2
    """How far the ratio of a reply may go from 1 before it is no longer followed."""
    normalize_advantages: bool = False
    """Whether advantages are brought to mean 0 and variance 1 over the round."""

    def __post_init__(self):
        PolicyObjective.__post_init__(self)
        _check_groups(self)
        self._one_of("normalize_advantages", (False, True))


def _check_groups(settings: GRPO | RLOO) -> None:
    settings._whole("replies_per_prompt", 2, 8)
    settings._whole("epochs", 1, 1)
    settings._whole("minibatches", 1, 1)
    settings._number("clip", 1e-6, 1e6, 0.2)
