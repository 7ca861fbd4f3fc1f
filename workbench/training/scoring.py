"""Rewards of replies while a policy trains: reward models, functions and endpoints, in this process or in one of their own.

    with open_scorer(settings, folder) as scorer:
        ticket = scorer.submit(prompts, replies, references)     # the policy may write the next replies meanwhile
        scorer.collect(ticket)["helpful"]                        # float32, one a reply
        scorer.take_waits()                                      # seconds each side waited since the last call

A prompt is a list of messages, a reply and a reference are texts. A reward model reads the conversation with its own tokenizer and
template; a function is given the text that the reply answers. An endpoint is sent {"prompts": [[messages], ...], "replies": [...],
"references": [...]} and answers {"rewards": [...]}; its key, if it wants one, is the environment's WORKBENCH_REWARD_KEY. Whatever cannot
score ends the run with a sentence that names the reward and the prompt. The process of its own is `scoring_process.py`; not here: weights
(the caller's, since they change while a run goes) and which rewards there may be (`alignment/reward_sources.py`).
"""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from workbench.alignment import reward_sources
from workbench.alignment.policy_objectives import PolicyObjective
from workbench.alignment.reward_sources import Source
from workbench.data.endpoint import Endpoint
from workbench.errors import RunError

Messages = list[dict[str, str]]
Judge = Callable[[list[Messages], list[str], list[str]], np.ndarray]
"""Rewards of replies, float32 N."""
AGAIN = "Mend the function and start the run anew: a run keeps its functions as they were when it began."
KEY = "WORKBENCH_REWARD_KEY"
SHOWN = 80
"""Letters of a prompt in a sentence."""


def open_scorer(settings: PolicyObjective, folder: Path | None = None, device: str = "cpu") -> "Scorer":
    """What scores with the rewards of `settings`, whose relative paths are those of the run in `folder`; models are loaded on
    `settings.reward_device`, else on `device`. Raises `RecipeError` or `WorkbenchError` where one of them is not to be had."""
    device = settings.reward_device or device
    for name, source in (*settings.rewards.items(), ("gold", settings.gold)) if folder is not None else ():
        reward_sources.check_known(name, source, folder)
    if settings.own_process:
        from workbench.training.scoring_process import ProcessScorer

        return ProcessScorer(settings, folder, device)
    return Scorer(settings.rewards, settings.gold, folder, device)


class Scorer:
    """Scores at once, in this process. Tickets may be collected in any order, each once."""

    def __init__(self, rewards: dict[str, Any], gold: Any = None, folder: Path | None = None, device: str = "cpu"):
        models: dict[tuple[str, int], Any] = {}
        self.judges = {name: judge(name, source, folder, device, models) for name, source in rewards.items()}
        self._gold = judge("gold", gold, folder, device, models) if gold is not None else None
        self.names = tuple(self.judges)
        self.waits = {"policy": 0.0, "reward": 0.0}
        """Seconds since `take_waits`: the policy's wait for rewards, and how long the rewards had nothing to score."""
        self._done: dict[int, dict[str, np.ndarray]] = {}
        self._tickets = 0
        self._idle_since: float | None = None

    def submit(self, prompts: Sequence[Messages], replies: Sequence[str], references: Sequence[str] | None = None) -> int:
        """Hand over replies, one to each prompt; the ticket that `collect` takes. Raises `RunError` where a reward fails."""
        start = time.perf_counter()
        self.waits["reward"] += start - (self._idle_since or start)
        self._tickets += 1
        self._done[self._tickets] = self.score(list(prompts), list(replies), list(references or [""] * len(replies)))
        self._idle_since = time.perf_counter()
        self.waits["policy"] += self._idle_since - start
        return self._tickets

    def collect(self, ticket: int) -> dict[str, np.ndarray]:
        """Name -> float32 N of what was handed over for this ticket."""
        return self._done.pop(ticket)

    def score(self, prompts: list[Messages], replies: list[str], references: list[str]) -> dict[str, np.ndarray]:
        return {name: judge(prompts, replies, references) for name, judge in self.judges.items()}

    def gold(self, prompts: Sequence[Messages], replies: Sequence[str], references: Sequence[str] | None = None) -> np.ndarray | None:
        """What the grader says that is only watched, float32 N; None where there is none. Always scored here and at once."""
        if self._gold is None:
            return None
        return self._gold(list(prompts), list(replies), list(references or [""] * len(replies)))

    def take_waits(self) -> dict[str, float]:
        waits, self.waits = self.waits, {"policy": 0.0, "reward": 0.0}
        return waits

    def close(self) -> None:
        """Let go of the models, or end the process. A second time does nothing."""
        self.judges, self._gold = {}, None

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(self, *_error: Any) -> None:
        self.close()


def judge(name: str, source: Any, folder: Path | None, device: str, models: dict[tuple[str, int], Any]) -> Judge:
    """What scores with one reward; `models` keeps the reward models by folder, each loaded once. Raises `WorkbenchError`."""
    if callable(source):
        return _by_function(name, source, f"the function {getattr(source, '__name__', source)}")
    seen = reward_sources.found(name, source, folder)
    if seen.kind == "town":
        from workbench.town import conduct

        return _by_function(name, getattr(conduct, seen.part), f"the town's {seen.part}")
    if seen.kind == "function":
        place = Path(seen.place)
        kept = folder is not None and place.is_relative_to(folder)
        return _by_function(name, reward_sources.function_of(name, seen),
                            f"{seen.part} (kept with the run, in {place.relative_to(folder)})" if kept else f"{seen.part} of {place.name}")
    if seen.kind == "endpoint":
        return _by_endpoint(name, Endpoint(seen.place, name, key_variable=KEY))
    place = seen.place, seen.max_length  # type: ignore[assignment]
    if place not in models:
        models[place] = _Model(seen, device)  # type: ignore[index]
    return _by_model(name, models[place], seen.part)  # type: ignore[index]


def _by_function(name: str, function: Callable[..., float], words: str) -> Judge:
    more = reward_sources.takes_reference(name, function)

    def rewards(prompts: list[Messages], replies: list[str], references: list[str]) -> np.ndarray:
        out = np.zeros(len(replies), np.float32)
        for row, (prompt, reply, reference) in enumerate(zip(prompts, replies, references, strict=True)):
            asked = prompt[-1]["content"]
            try:
                given = function(asked, reply, reference=reference) if more else function(asked, reply)
            except Exception as error:  # whatever a person's function may raise: told, and the run ends
                what = f"The reward {name!r}, {words}, raised {reward_sources.told(error)} on {_row(asked, reply)}."
                raise RunError(what, AGAIN) from error
            try:
                value = float(given)
            except (TypeError, ValueError):
                value = math.nan
            if not math.isfinite(value):
                raise RunError(f"The reward {name!r}, {words}, gave {given!r} for {_row(asked, reply)}.", "Let it give a finite number.")
            out[row] = value
        return out

    return rewards


def _row(asked: str, reply: str) -> str:
    prompt, answer = (text if len(text) <= SHOWN else text[:SHOWN] + "…" for text in (asked, reply))
    return f"the reply {answer!r} to {prompt!r}"


def _by_endpoint(name: str, endpoint: Endpoint) -> Judge:
    def rewards(prompts: list[Messages], replies: list[str], references: list[str]) -> np.ndarray:
        content = endpoint.post("", {"prompts": prompts, "replies": replies, "references": references})
        try:
            given = orjson.loads(content)["rewards"]
            out = np.array(given, np.float32)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            out = np.zeros(0)
        if out.shape != (len(replies),) or not np.isfinite(out).all():
            many = f"a finite number for each of {len(replies)} replies"
            raise RunError(f"The reward {name!r} at {endpoint.address} did not answer with {many}.", 'Let it answer {"rewards": [...]}.')
        return out

    return rewards


def _by_model(name: str, model: "_Model", head: str) -> Judge:
    def rewards(prompts: list[Messages], replies: list[str], references: list[str]) -> np.ndarray:
        values = model.rewards(prompts, replies)
        out = values[:, model.heads.index(head)].copy() if head else values.mean(1)
        if not np.isfinite(out).all():
            row = int(np.flatnonzero(~np.isfinite(out))[0])
            raise RunError(f"The reward {name!r} gave {out[row]} for {_row(prompts[row][-1]['content'], replies[row])}.",
                           "Use another reward model.")
        return out

    return rewards


class _Model:
    """A reward model, whose heads read the same replies once."""

    def __init__(self, source: Source, device: str):
        from workbench import recipes
        from workbench.models import reward
        from workbench.probes import RewardProbes

        model, tokenizer = recipes.load(source.place, device=device)
        self.heads = reward.heads_of(model.config)
        self._probes = RewardProbes(model, tokenizer, source.max_length)
        self._replies: list[str] | None = None
        self._values = np.zeros((0, len(self.heads)), np.float32)

    def rewards(self, prompts: list[Messages], replies: list[str]) -> np.ndarray:
        """Float32 N x heads; of the very same lists again what was found."""
        if replies is not self._replies:
            self._values = self._probes.rewards([[*prompt, {"role": "assistant", "content": reply}]
                                                 for prompt, reply in zip(prompts, replies, strict=True)])
            self._replies = replies
        return self._values
