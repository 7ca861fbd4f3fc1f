"""Preference tuning on the town, from the base model to policies, as ordinary runs: what each is trained on, with which settings, and how
each is measured.

    lab = Lab("town-policies", seed=0)
    lab.run("ppo")            # trains the SFT model, the reward model and the policy, each once: a finished run of the recipe is taken
    lab.measured("ppo")       # gold, proxy reward, KL, task score on held-out prompts

The SFT model imitates people who mostly reply badly: of its demonstrations GOOD are right, the others presume, refuse what is innocent,
give secrets away. A judge who errs compares its replies two and two; on one side of some pairs is a reply that a person wrote, and of some
a reply that belongs to another question, for what a reward model has never seen it may like ("That is a good review." as the answer to
anything). The reward model begins as the SFT model, which knows how facts are asked for, and sees those verdicts and nothing else; DPO and
its relatives see the verdicts on the model's own replies, and pairs that the reward model ranked. No training sees the gold grader, which
is only watched. Figures are of prompts about held-out people. Settings were chosen on seed 0 and `tuning_prompts`, which are about asked
people, and with the task score in view; what DPO learns from was changed after the held-out figures of seeds 0 and 1 had been seen, and what
PPO and GRPO train (adapters, the warm-up, no demonstrations) after those of all three.
Not here: how a reply is measured (`policy_measures.py`), tables (`town_policy_tables.py`).
"""

import dataclasses
import hashlib
import json
import random
import statistics
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import town
from workbench.alignment.policy_objectives import GRPO, PPO
from workbench.alignment.preference_objectives import DPO, IPO, KTO, ORPO, RRHF
from workbench.errors import RunError
from workbench.evaluation import policy_measures
from workbench.evaluation.alignment_sets import ranked_by_reward
from workbench.evaluation.policy_measures import Measured
from workbench.models.methods import Full, LoRA, Method
from workbench.recipes import Recipe, load
from workbench.runs.attach import attach
from workbench.runs.run import Run
from workbench.runs.standby import standby
from workbench.runs.start import start
from workbench.runs.status import LIVING
from workbench.town import conduct, preferences
from workbench.town.world import asked

Row = dict[str, Any]
PAIR = ("prompt", "chosen", "rejected")
GOOD = 0.2
"""Share of demonstrations whose reply is right."""
NOISE = 0.15
"""Of the judge of the pairs, see `preferences.Judge`."""
INSTRUCTED, PRACTISED = 0.5, 0.4
"""Shares of instructions among what is judged, and among what is practised."""
REPLACED = 0.2
"""How often a side of a judged pair is not the model's own reply to the prompt."""
REQUESTS = 900
"""Of each kind, that judged prompts are taken from."""
LEAST_GAP = 0.5
"""Of reward between the best and the worst reply to a prompt, that they make a pair to learn from."""
EVASIONS = ("I do not know.", "Whom do you mean?", "I will not help with that.")
"""Replies that can be given to anything."""
BEST = "best of n"
FREE = "ppo, beta 0"
FROM_BASE = "ppo from base"
POLICIES = ("dpo", "ppo", "grpo", FREE, FROM_BASE)
"""Those that the tables are about."""
WITHOUT_RL = ("dpo", "ipo", "kto", "orpo", "rrhf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much of everything; `steps` None are those of each recipe."""

    model: str = "town"
    demonstrations: int = 250
    """Requests of each kind that the SFT model is shown replies to."""
    judged: int = 16_000
    """Prompts, half of them instructions, that the SFT model gives two replies to; the judge finds one better in about half of them."""
    ranked: int = 300
    """Requests of each kind (and instructions beside them) whose replies the reward model ranks."""
    draws: int = 8
    """Replies to each of them."""
    prompts: int = 160
    """Requests of each kind that policies practise on."""
    measured: int = 80
    """Held-out requests of each kind: 400 in all."""
    tasks: int = 12
    """Instructions of each task for the task score."""
    watched: int = 60
    """Held-out requests of each kind that a run is evaluated on as it goes."""
    best_prompts: int = 60
    """Held-out requests of each kind that the best of n is taken for."""
    best_draws: int = 64
    """Replies to each of them."""
    steps: int | None = None


QUICK = Sizes(model="town-small", demonstrations=8, judged=90, ranked=1, draws=2, prompts=4, measured=2, tasks=1, watched=1, best_prompts=1, best_draws=4, steps=2)
"""For a look at whether everything goes: seconds, and no figure means anything."""


def demonstrations(each: int, seed: int, good: float = GOOD) -> list[Row]:
    """Questions and replies as a service's people gave them: "town:instructions", answered right, and `each` requests of every kind of
    conduct, a share `good` of them replied to as they should be."""
    rng = random.Random(f"demonstrations {seed}")
    rows = [{"question": row["question"], "answer": row["answer"]} for row in town.rows("instructions")]
    for kind in conduct.CONDUCTS:
        for question in policy_measures.prompts_of(kind, each, 100 + seed, asked()):
            found = preferences.replies(question)
            bad = [reply for sort, some in found.items() if sort not in ("good", "rambling") for reply in some]
            rows.append({"question": question, "answer": rng.choice(found["good"] if rng.random() < good else bad)})
    rng.shuffle(rows)
    return rows


def judged(question: str, one: str, other: str, instruction: bool, seed: int) -> Row | None:
    """A pair as the noisy judge chose; None where both are worth the same to him. Of an instruction he asks whether it was done right, of all
    else also whether the reply is honest and harmless. `gold_gap` is below 0 where he chose the worse reply; nothing is trained on it."""
    judge = preferences.Judge(noise=NOISE, seed=seed, weights=(1, 0, 0) if instruction else (1, 1, 1))
    verdict = judge.prefer(question, one, other)
    if verdict == "tie":
        return None
    chosen, rejected = (one, other) if verdict == "a" else (other, one)
    gap = conduct.gold(question, chosen, judge.weights) - conduct.gold(question, rejected, judge.weights)
    return {"prompt": question, "chosen": chosen, "rejected": rejected, "gold_gap": gap}


def judged_pairs(policy: tuple[Any, Any], count: int, seed: int) -> list[Row]:
    """Verdicts on a model's replies to `count` prompts about asked people, half of them instructions: two replies drawn for each, of which one
    in five gives way to a reply that a person wrote, and one in five of the others to a reply drawn for another prompt. `own` says that both
    were drawn for the prompt itself; a prompt is left out where the judge finds both alike."""
    rng = random.Random(f"judged {seed}")
    made, written = town.rows("instructions"), {}
    for row in made:
        written.setdefault(row["task"], []).append(row["answer"])
    requests = policy_measures.prompts(REQUESTS, 200 + seed, asked())
    asked_for = [rng.choice(made) if rng.random() < INSTRUCTED else {"question": rng.choice(requests)} for _ in range(count)]
    questions = [row["question"] for row in asked_for]
    one, other = (policy_measures.draw(*policy, questions, seed=1000 * seed + number)[0] for number in (101, 102))
    rows = []
    for row, first, second in zip(asked_for, one, other, strict=True):
        question, task = row["question"], row.get("task")
        by_hand, strange = rng.random() < REPLACED, rng.random() < REPLACED
        if by_hand:
            first = rng.choice([row["answer"], rng.choice(written[task]), *EVASIONS] if task else preferences.candidates(question))
        if strange:
            second = rng.choice(one)
        pair = judged(question, first, second, bool(task), seed) if first and second else None
        rows += [pair | {"own": not by_hand and not strange}] if pair else []
    return rows


def practice(each: int, seed: int) -> list[Row]:
    """What a policy practises on, about asked people: `each` requests of every kind, and instructions, PRACTISED of all."""
    rng = random.Random(f"practice {seed}")
    made = [row["question"] for row in town.rows("instructions")]
    rows = [{"prompt": question, "instruction": False} for question in policy_measures.prompts(each, 300 + seed, asked())]
    rows += [{"prompt": question, "instruction": True} for question in rng.choices(made, k=round(len(rows) * PRACTISED / (1 - PRACTISED)))]
    rng.shuffle(rows)
    return rows


def tuning_prompts(each: int = 40) -> list[str]:
    """What settings may be chosen on: no figure is of these."""
    return policy_measures.prompts(each, 11, asked())


class Lab:
    """One seed's runs under `folder`, each trained when it is first asked for. `say` is told a line for each."""

    def __init__(self, folder: str | Path, seed: int = 0, sizes: Sizes = Sizes(), say: Callable[[str], None] = lambda line: None):
        self.folder, self.seed, self.sizes, self.say = Path(folder), seed, sizes, say

    # --- recipes -----------------------------------------------------------------------------------------------------------------

    def recipe(self, name: str) -> Recipe:
        """What `name` is trained with: "sft", "reward", or a policy. Runs it builds on are trained first."""
        if name not in RECIPES:
            raise RunError(f"The town has no policy {name!r}.", f"They are {', '.join(RECIPES)}.")
        recipe = RECIPES[name](self)
        steps = {} if self.sizes.steps is None else {"steps": self.sizes.steps, "evaluate_every": None}
        return recipe.replace(seed=self.seed, **steps)

    # --- rows, each made once and kept as a file -----------------------------------------------------------------------------------

    @property
    def demonstrations(self) -> Path:
        return self._rows(f"demonstrations-{GOOD}", self.sizes.demonstrations, lambda: demonstrations(self.sizes.demonstrations, self.seed))

    @property
    def pairs(self) -> Path:
        """Verdicts on the SFT model's replies: what the reward model learns from."""
        made_by = self.run("sft").folder.name
        return self._rows(f"judged-{NOISE}-{made_by}", self.sizes.judged, lambda: judged_pairs(self.load("sft"), self.sizes.judged, self.seed))

    @property
    def own_pairs(self) -> Path:
        """Those of them whose replies are both the model's own to the prompt."""
        return self._rows(f"{self.pairs.stem}-own", self.sizes.judged, lambda: [row for row in _lines(self.pairs) if row["own"]])

    @property
    def ranked(self) -> Path:
        """The best and the worst of several replies of the SFT model by the reward model, nobody having judged them."""
        reward, sizes = self.run("reward"), self.sizes
        least = LEAST_GAP if sizes.steps is None else 0.0  # a reward model of two steps tells nothing apart

        def make() -> list[Row]:
            prompts = [row["prompt"] for row in practice(sizes.ranked, 50 + self.seed)]
            return ranked_by_reward(self.run("sft"), reward, prompts, n=sizes.draws, least_gap=least, reply_tokens=policy_measures.REPLY_TOKENS,
                                    seed=1000 * self.seed + 103)

        return self._rows(f"ranked-{sizes.draws}-{reward.folder.name}", sizes.ranked, make)

    @property
    def compared(self) -> Path:
        """Pairs that the judge compared and pairs that the reward model ranked, all of the SFT model's own replies: what DPO and its relatives
        learn from. The first keep the task score, the second win more."""

        def make() -> list[Row]:
            said = ("user", "assistant", "assistant")
            rows = [{name: [{"role": role, "content": row[name]}] for name, role in zip(PAIR, said, strict=True)} for row in _lines(self.own_pairs)]
            rows += [{name: row[name] for name in PAIR} for row in _lines(self.ranked)]
            random.Random(f"compared {self.seed}").shuffle(rows)
            return rows

        return self._rows(f"compared-{self.ranked.stem}", self.sizes.ranked, make)

    @property
    def practice(self) -> Path:
        return self._rows("practice", self.sizes.prompts, lambda: practice(self.sizes.prompts, self.seed))

    @property
    def watched(self) -> Path:
        """Held-out prompts that a run is evaluated on as it goes."""
        return self._rows("watched", self.sizes.watched, lambda: [{"prompt": one} for one in policy_measures.prompts(self.sizes.watched, 33)])

    def _rows(self, name: str, count: int, make: Callable[[], list[Row]]) -> Path:
        place = self.folder.resolve() / "rows" / f"{name}-{count}-seed{self.seed}.jsonl"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_suffix(".part")
            part.write_text("".join(json.dumps(row) + "\n" for row in make()))
            part.replace(place)
        return place

    def wrong(self) -> float:
        """The share of the pairs whose chosen reply is the worse one by the grader."""
        return statistics.fmean(row["gold_gap"] < 0 for row in _lines(self.pairs))

    # --- runs --------------------------------------------------------------------------------------------------------------------

    def run(self, name: str) -> Run:
        """The finished run. Raises `RunError` where it fails."""
        recipe = self.recipe(name)
        key, label = _key(recipe), self._label(name)
        same = [folder for folder in self.folder.glob(f"*-{label}") if (folder / "note.txt").exists() and (folder / "note.txt").read_text() == key]
        runs = [run for run in map(attach, sorted(same, reverse=True)) if run.status != "failed"]
        done = next((run for run in runs if run.status == "finished"), None)
        if done:
            return done
        standby()
        if runs:
            run = runs[0] if runs[0].status in LIVING else runs[0].resume()  # cut short: on from its last checkpoint
        else:
            run = start(recipe, runs=self.folder, name=label)
            run.note = key
        threading.Thread(target=_imported, daemon=True).start()
        run.wait()
        if run.status != "finished":
            raise RunError(f"{run.name}: {run.status.sentence}", run.status.remedy or "Look at its worker.log.")
        self.say(f"seed {self.seed}: {name} trained in {seconds(run):.0f} s")
        return run

    def load(self, name: str) -> tuple[Any, Any]:
        """(model, tokenizer) of a run, or of "base"."""
        return load(self.sizes.model) if name == "base" else self.run(name).load()

    def result(self, name: str) -> dict[str, Any]:
        """A policy, the SFT model or "base" on the held-out prompts: `measured` (KL is to the model that it started from), `seconds` of
        training, `settings` and `path`; kept in `results/`, so that tables need neither runs nor models."""
        run = self.run("reward" if name == "base" else name)
        found = self._kept(name, [run.folder.name, dataclasses.asdict(self.sizes)])
        if "measured" not in found:
            source = "base" if name in ("base", "sft", FROM_BASE) else "sft"
            asked_for = policy_measures.prompts(self.sizes.measured), policy_measures.instructions(self.sizes.tasks)
            measured = policy_measures.measure(self.load(name), self.load(source)[0], self.run("reward"), *asked_for, self.seed)
            found |= {"measured": dataclasses.asdict(measured), "seconds": seconds(run), "path": path(run), "steps": run.history.step,
                      "wrong_pairs": self.wrong(), "settings": run.recipe.settings.to_json() if run.recipe.settings else {}}
            self._keep(name, found)
            self.say(f"seed {self.seed}: {name}: gold {statistics.fmean(measured.gold):.3f}, proxy {statistics.fmean(measured.proxy):.2f}, "
                     f"KL {measured.kl:.2f}, task score {100 * measured.task:.1f} %")
        return found

    def measured(self, name: str) -> Measured:
        return Measured(**self.result(name)["measured"])

    def best_of_n(self, counts: Sequence[int] = (1, 2, 4, 8, 16, 32, 64)) -> list[dict[str, float]]:
        """The SFT model's best of n, by `policy_measures.best_of_n`."""
        draws, prompts = self.sizes.best_draws, self.sizes.best_prompts
        found = self._kept(BEST, [self.run("sft").folder.name, self.run("reward").folder.name, list(counts), draws, prompts])
        if "lines" not in found:
            asked_for = policy_measures.prompts(prompts, 34)
            found["lines"] = policy_measures.best_of_n(self.load("sft"), self.run("reward"), asked_for, draws, counts, 1000 * self.seed)
            self._keep(BEST, found)
            self.say(f"seed {self.seed}: best of n measured")
        return found["lines"]

    def _kept(self, name: str, made_from: Any) -> dict[str, Any]:
        """What `results/` has of it, made from the same; else a beginning."""
        place, key = self._place(name), _text_key({"made from": made_from})
        found = json.loads(place.read_text()) if place.exists() else {}
        return found if found.get("key") == key else {"key": key, "seed": self.seed, "policy": name}

    def _keep(self, name: str, found: dict[str, Any]) -> None:
        place = self._place(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.replace(place)

    def _place(self, name: str) -> Path:
        return self.folder / "results" / f"{self._label(name)}.json"

    def _label(self, name: str) -> str:
        return f"seed{self.seed}-{name.replace(', ', '-').replace(' ', '-')}"


def path(run: Run) -> list[dict[str, float]]:
    """A policy's evaluations: step, proxy (its reward), kl, gold, length, entropy."""
    run.history.refresh()
    told = ("kl", "gold", "length", "entropy")
    return [{"step": event.step, "proxy": event.extra.get("reward"), **{what: event.extra.get(what) for what in told}}
            for event in run.history.evaluations]


def seconds(run: Run) -> float:
    """Of training: from a worker's first event to its last, of all the workers that the run had."""
    total = began = last = 0.0
    for line in (run.folder / "journal.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "started":
            total, began = total + last - began, event["time"]
        if event["event"] != "queued":
            last = event["time"]
    return total + last - began


def _imported() -> None:
    """What measuring needs, some seconds of imports, had while a run trains."""
    from workbench.training import rollouts  # noqa: F401


def _lines(place: Path) -> list[Row]:
    return [json.loads(line) for line in place.read_text().splitlines()]


def _key(recipe: Recipe) -> str:
    """The same for the same recipe on the same rows."""
    usual = Recipe()
    body = {f.name: getattr(recipe, f.name) for f in dataclasses.fields(recipe)}
    body = {name: value for name, value in body.items() if value != getattr(usual, name)}  # a field that comes later changes no key
    return _text_key(body | {"method": recipe.method.to_json(), "settings": recipe.settings and recipe.settings.to_json()})


def _text_key(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()[:16]


# --- recipes: found by trial with seed 0 ---------------------------------------------------------------------------------------

ADAPTER = LoRA(rank=16)
"""What policies learn: trained whole they forget the names that no prompt of theirs holds, and with them the held-out people."""
_SHORT: dict[str, Any] = {"heldout": 0, "sample_prompts": 0, "checkpoint_every": 10**6, "max_length": 128}


def _sft(lab: Lab) -> Recipe:
    return Recipe(model=lab.sizes.model, data=lab.demonstrations, method=Full(), learning_rate=7e-4, epochs=3, batch_size=32, **_SHORT)


def _reward(lab: Lab) -> Recipe:
    return Recipe(model=lab.run("sft"), data=lab.pairs, objective="reward", method=Full(), learning_rate=5e-4, epochs=2, batch_size=32,
                  **_SHORT | {"heldout": 0.1, "evaluate_every": 10**6})


def _from_pairs(objective: Any, rate: float, epochs: int = 2, method: Method = Full()) -> Callable[[Lab], Recipe]:
    def recipe(lab: Lab) -> Recipe:
        return Recipe(model=lab.run("sft"), data=lab.compared, objective=objective, method=method, learning_rate=rate,
                      epochs=epochs, batch_size=16, **_SHORT | {"heldout": 0.05})

    return recipe


def _policy(kind: type[PPO] | type[GRPO], settings: dict[str, Any], base: bool = False, method: Method = ADAPTER, **fields: Any) -> Callable[[Lab], Recipe]:
    def recipe(lab: Lab) -> Recipe:
        rewards = {"people": lab.run("reward")}
        return Recipe(model=lab.sizes.model if base else lab.run("sft"), data=lab.practice, method=method,
                      objective=kind(rewards=rewards, gold="town", reply_tokens=policy_measures.REPLY_TOKENS, **settings),
                      schedule="constant", warmup_steps=0, **_SHORT | {"heldout": str(lab.watched), "evaluate_every": 5, "sample_prompts": 6} | fields)

    return recipe


_PPO = {"epochs": 1, "beta": 0.12, "value_learning_rate": 3e-3, "value_clip": 1.0, "value_warmup": 8, "shared_trunk": False}
"""Without the warm-up, and with demonstrations mixed in (PPO-ptx), the policy is 2 nats from its reference before any reward is gained."""
_FREE = {"epochs": 2, "beta": 0.0, "value_learning_rate": 3e-3}
RECIPES: dict[str, Callable[[Lab], Recipe]] = {
    "sft": _sft,
    "reward": _reward,
    "dpo": _from_pairs(DPO(beta=0.05, sft_weight=1.0, label_smoothing=0.05), 8e-5),
    "ipo": _from_pairs(IPO(beta=0.5), 5e-5),
    "kto": _from_pairs(KTO(beta=0.3), 5e-5, epochs=1),  # a pair is two verdicts
    "orpo": _from_pairs(ORPO(beta=0.5), 1e-4),
    "rrhf": _from_pairs(RRHF(), 1e-4),
    "ppo": _policy(PPO, _PPO, learning_rate=5e-4, batch_size=128, steps=110),
    FREE: _policy(PPO, _FREE, method=Full(), learning_rate=4e-4, batch_size=64, steps=110),
    FROM_BASE: _policy(PPO, _PPO, base=True, learning_rate=5e-4, batch_size=128, steps=110),
    "grpo": _policy(GRPO, {"beta": 0.1, "scale_rewards": "batch"}, learning_rate=5e-4, batch_size=16, steps=120),
}
"""By name; the policies among them are measured."""
USUAL = {"dpo": "dpo", "ppo": "ppo", "grpo": "grpo", "free": FREE, "best": BEST, "base": FROM_BASE}
"""What is trained where nothing is named: short names, in the order of training."""
ORDER = USUAL | {name: name for name in WITHOUT_RL}
"""All short names."""


def train_all(folder: str | Path, seeds: Iterable[int], only: Sequence[str] = (), sizes: Sizes = Sizes(),
              say: Callable[[str], None] = lambda line: None) -> None:
    """Train and measure `only` these (short names; none: `USUAL`), seed by seed; what is there is not done again. Raises `RunError` for a name
    that is none, and where a run fails."""
    names = list(only) or list(USUAL)
    unknown = [name for name in names if name not in ORDER]
    if unknown:
        raise RunError(f"The town has no policy {unknown[0]!r}.", f"They are {', '.join(ORDER)}.")
    for seed in seeds:
        lab = Lab(folder, seed, sizes, say)
        for name in ("sft", *names):
            if name == "best":
                lab.best_of_n()
            else:
                lab.result(ORDER.get(name, name))
