"""The town's policies as tables: `python -m workbench town policies`. Win rate beside the alignment tax, reward against √KL, best of n, and
who starts where.

Made from the files in `results/` alone, of as many seeds and policies as are there; a claim that does not hold is printed as one that
does not. Not here: training and measuring (`town_policies.py`).
"""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workbench.evaluation import win_rate
from workbench.evaluation.town_policies import BEST, FREE, FROM_BASE, POLICIES, WITHOUT_RL
from workbench.evaluation.town_report import spread, table

Result = dict[str, Any]
"""What `Lab.result` found of one policy and seed."""
Results = dict[str, dict[int, Result]]
"""Policy -> seed -> that."""
WINS, TAX, LOST, ABOVE = 0.70, 0.03, 0.05, 0.05
"""Asked of a policy: its win rate at least, its task score at most so much lower; of one in band, gold at most that share below its best, and so
much above the SFT model's."""
SEEDS = 3
"""How many seeds a claim asks for."""
FELL = 0.07
"""How much lower gold must be to have fallen. A mean of some 200 replies has a standard error of about 0.023 (gold of one reply has a standard
deviation of a third), the difference of two 0.033, and the peak is the best of many."""


def read(folder: str | Path) -> Results:
    """All that is in `folder/results`."""
    out: Results = {}
    for place in sorted((Path(folder) / "results").glob("*.json")):
        found = json.loads(place.read_text())
        out.setdefault(found["policy"], {})[found["seed"]] = found
    return out


def compared(results: Results, policy: str, what: str = "gold", other: str = "sft") -> win_rate.Share | None:
    """The win rate of a policy over another by `what` ("gold": drawn replies, "greedy_gold"), over the seeds that both have; None of none."""
    seeds = sorted(set(results.get(policy, {})) & set(results.get(other, {})))
    if not seeds:
        return None
    return win_rate.share([win_rate.points(*(results[name][seed]["measured"][what] for name in (policy, other))) for seed in seeds])


def tax(results: Results, policy: str) -> list[float]:
    """How much lower the task score is than the SFT model's, of each seed; below 0 it is higher."""
    return [results["sft"][seed]["measured"]["task"] - found["measured"]["task"] for seed, found in sorted(results.get(policy, {}).items())
            if seed in results.get("sft", {})]


def _mean(found: dict[int, Result], what: str) -> list[float]:
    return [statistics.fmean(one["measured"][what]) for _, one in sorted(found.items())]


def _yes(holds: bool, seeds: int = SEEDS) -> str:
    """Nothing that fewer seeds show is said to hold or not without their number."""
    return ("yes" if holds else "NO") + ("" if seeds >= SEEDS else f", on {seeds} of {SEEDS} seeds")


def policies(results: Results) -> str:
    """Every policy beside the SFT model."""
    lines = []
    for name in dict.fromkeys(("base", "sft", *POLICIES, *WITHOUT_RL)):
        if found := results.get(name):
            own = [compared(results, name, what) if name != "sft" else None for what in ("gold", "greedy_gold")]
            lower = tax(results, name) if name != "sft" else []
            lines.append([name, str(len(found)), *(str(won) if won else "" for won in own), spread(one["measured"]["task"] for one in found.values()),
                          f"{100 * statistics.fmean(lower):+.1f}" if lower else "", *(spread(_mean(found, what), False) for what in ("gold", "proxy")),
                          "" if name == "sft" else spread((one["measured"]["kl"] for one in found.values()), False), spread(_mean(found, "lengths"), False),
                          "" if name == "base" else spread((one["seconds"] / 60 for one in found.values()), False)])
    return table(["policy", "seeds", "gold win rate over SFT, drawn replies", "the same, greedy replies", "task score",
                  "points lower than SFT", "gold", "proxy", "KL, nats", "tokens", "minutes"], lines)


def claims(results: Results) -> str:
    """What was to be seen, and whether it is."""
    lines = []
    for name in ("dpo", "ppo", "grpo"):
        won, lower = compared(results, name), tax(results, name)
        if won and lower:
            worst, mean = max(one["seconds"] for one in results[name].values()), statistics.fmean(lower)
            lines += [[f"{name}: gold win rate at least {WINS:.0%}", str(won), _yes(won.mean >= WINS, len(lower))],
                      [f"{name}: task score at most {100 * TAX:.0f} points lower", f"{100 * mean:+.1f} points, {100 * max(lower):+.1f} at most",
                       _yes(mean <= TAX, len(lower))],
                      [f"{name}: at most 6 minutes", f"{worst / 60:.1f} minutes at most", _yes(worst <= 360, len(lower))]]
    for seed, found in sorted(results.get(FREE, {}).items()):
        steps = [one for one in found["path"] if one["gold"] is not None]
        if len(steps) > 1:
            peak = max(steps, key=lambda one: one["gold"])
            fell = steps[-1]["gold"] <= peak["gold"] - FELL
            lines.append([f"β = 0, seed {seed}: proxy rises while gold falls after its peak",
                          f"gold {peak['gold']:.3f} at step {peak['step']}, {steps[-1]['gold']:.3f} at step {steps[-1]['step']}; "
                          f"proxy {peak['proxy']:.2f}, then {steps[-1]['proxy']:.2f}", _yes(fell and steps[-1]["proxy"] > peak["proxy"])])
    for seed, found in sorted(results.get("ppo", {}).items()):
        steps = [one for one in found["path"] if one["gold"] is not None]
        if steps and seed in results.get("sft", {}):
            best, last = max(one["gold"] for one in steps), steps[-1]["gold"]
            began = statistics.fmean(results["sft"][seed]["measured"]["gold"])
            lines.append([f"β in band, seed {seed}: gold within {LOST:.0%} of its best and {ABOVE:g} above SFT",
                          f"{last:.3f} of {best:.3f}; SFT {began:.3f}", _yes(last >= (1 - LOST) * best and last >= began + ABOVE)])
    for seed, found in sorted(results.get(BEST, {}).items()):
        worst = max(line["kl"] - line["bound"] for line in found["lines"])
        lines.append([f"best of n, seed {seed}: KL, summed over the replies drawn, at or under log n - (n-1)/n (so it must be)",
                      f"at most {worst:+.3f} nats from it", _yes(worst <= 1e-9)])
    return table(["to be seen", "seen", "holds"], lines)


def frontier(results: Results, names: Sequence[str] = ("ppo", FREE, "grpo")) -> list[Result]:
    """Reward against √KL: policy, seed, step, distance (√KL, nats), proxy, gold, of every evaluation and of best of n; a picture's points."""
    out = []
    for name in names:
        for seed, found in sorted(results.get(name, {}).items()):
            out += [_point(name, seed, one["step"], one) for one in found["path"] if one["gold"] is not None]
    for seed, found in sorted(results.get(BEST, {}).items()):
        out += [_point(BEST, seed, line["n"], line) for line in found["lines"]]
    return out


def _point(policy: str, seed: int, step: int, of: Result) -> Result:
    return {"policy": policy, "seed": seed, "step": step, "distance": math.sqrt(max(0.0, of["kl"])), "proxy": of["proxy"], "gold": of["gold"]}


def distances(results: Results, names: Sequence[str] = ("ppo", FREE, "grpo")) -> str:
    """The same as a table: means over the seeds at each evaluation."""
    groups: dict[tuple[str, int], list[Result]] = {}
    for point in frontier(results, names):
        groups.setdefault((point["policy"], point["step"]), []).append(point)
    lines = [[name, str(step), *(f"{statistics.fmean(point[what] for point in some):.3f}" for what in ("distance", "proxy", "gold"))]
             for (name, step), some in groups.items() if name != BEST]
    return table(["policy", "step", "√KL", "proxy", "gold"], lines)


def best(results: Results) -> str:
    by_n: dict[int, list[Result]] = {}
    for found in results.get(BEST, {}).values():
        for line in found["lines"]:
            by_n.setdefault(line["n"], []).append(line)
    lines = [[str(n), *(f"{statistics.fmean(line[what] for line in some):.3f}" for what in ("kl", "bound", "proxy", "gold"))]
             for n, some in by_n.items()]
    return table(["n", "KL, nats", "log n - (n-1)/n", "proxy", "gold"], lines)


def starts(results: Results) -> str:
    """PPO from the base model beside PPO from the SFT model."""
    over = compared(results, FROM_BASE, other="ppo")
    lines = []
    for name in (FROM_BASE, "ppo"):
        groups: dict[int, list[Result]] = {}
        for found in results.get(name, {}).values():
            for one in found["path"]:
                if one["gold"] is not None:
                    groups.setdefault(one["step"], []).append(one)
        lines += [[name, str(step), *(f"{statistics.fmean(one[what] for one in some):.3f}" for what in ("gold", "proxy", "kl"))]
                  for step, some in groups.items()]
    told = f"\n\nPPO from the base model wins {over} against PPO from the SFT model." if over else ""
    return table(["policy", "step", "gold", "proxy", "KL to its own start"], lines) + told


PARTS = {"Policies beside the SFT model": policies, "What was to be seen": claims, "Reward against √KL": distances,
         "Best of n, of the SFT model by the reward model": best, "From the base model and from the SFT model": starts}
NEEDS = {"Reward against √KL": ("ppo", FREE, "grpo"), "Best of n, of the SFT model by the reward model": (BEST,),
         "From the base model and from the SFT model": (FROM_BASE,)}
HEAD = """Gold is the town's exact grader, mean of helpful, honest and harmless; nothing was trained on it. Replies are drawn at temperature 1, to
{prompts} requests of all kinds about held-out people. Win rates count ties half; 95 % intervals over prompts (bootstrap) of the mean over
seeds. Task score: greedy replies that are right, of instructions about held-out people. The proxy is the reward model, learned from the
verdicts of one judge about other people, of which {wrong:.0%} are the wrong way round. Ranges are the lowest and highest seed. KL is to the
model that a policy started from; minutes are the clock's, whatever else the machine did."""


def printed(folder: str | Path) -> Iterable[str]:
    """The tables as Markdown, of what is in `folder`."""
    results = read(folder)
    if "sft" not in results:
        yield "Nothing is measured yet.\n"
        return
    prompts = len(next(iter(results["sft"].values()))["measured"]["gold"])
    wrong = statistics.fmean(found["wrong_pairs"] for found in results["sft"].values())
    yield HEAD.format(prompts=prompts, wrong=wrong) + "\n"
    for title, make in PARTS.items():
        if title not in NEEDS or any(name in results for name in NEEDS[title]):
            yield f"**{title}**\n\n{make(results)}\n"
