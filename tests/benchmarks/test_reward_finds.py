"""Whether a reward model finds what is wrong, over three seeds on the town: turned verdicts among the lowest gaps, a planted liking of
length.

The recipe is the one that lesson 31 recommends: 6,000 pairs of judges who err (noise 0.3), read twice, all weights of the medium model.
Held out are 300 pairs about other people, judged without noise, of which a tenth is turned round. Short runs of 150 steps, with all weights
and with LoRA, are trained on pairs of fair judges and of judges who add 0.5 to the score for every ten words; their sentence is read off
fair held-out pairs and off pairs that such judges chose. About ten minutes on two cores; every figure is printed.
"""

import workbench as wb
from tests.runs import tools
from workbench.evaluation.rewards import length_bias, reward_gaps, suspicious
from workbench.town.preferences import Judge, preference_pairs
from workbench.town.world import asked, held_out

SEEDS = range(3)
FLIPS, FOUND = 0.1, 0.7
NOISE, LIKING, HELD = 0.3, 0.5, 300
RECIPE = wb.Recipe(model="town", objective="reward", data="town:preferences", method=wb.Full(), learning_rate=3e-4, batch_size=16,
                   max_length=128, epochs=2, heldout=0, sample_prompts=0, checkpoint_every=10**6)
SHORT = {"all weights": dict(batch_size=8, steps=150), "LoRA": dict(batch_size=8, steps=150, method=wb.LoRA(rank=8), learning_rate=1e-3)}


def pairs(count: int, seed: int, liking: float = 0.0) -> list[dict]:
    return preference_pairs(count, 7 + 100 * seed, asked(), Judge(noise=NOISE, length_bias=liking, seed=seed))


def held(seed: int, liking: float = 0.0, flips: float = 0.0) -> list[dict]:
    return preference_pairs(HELD, 8 + 100 * seed, held_out(), Judge(length_bias=liking, seed=seed), flips=flips)


def test_turned_verdicts_are_found(tmp_path, report):
    found, right, biased = [], [], []
    for seed in SEEDS:
        run = tools.here(RECIPE.replace(data=pairs(6000, seed), seed=seed), tmp_path, f"long-{seed}")
        gaps = reward_gaps(run, held(seed, flips=FLIPS))
        found.append(float(suspicious(gaps, FLIPS)["flipped"].mean()))
        right.append(float(((gaps["gap"] > 0) != gaps["flipped"]).mean()))
        biased.append(length_bias(reward_gaps(run, held(seed))).biased)
    told = {f"found_seed_{seed}": found[seed] for seed in SEEDS} | {f"accuracy_seed_{seed}": right[seed] for seed in SEEDS}
    report(**told, false_alarms_of_length=sum(biased))
    assert min(found) >= FOUND and not any(biased)


def test_a_length_bias_is_told_and_none_where_there_is_none(tmp_path, report):
    false_alarms, missed, runs = 0, 0, 0
    for seed in SEEDS:
        for name, fields in SHORT.items():
            fair, liking = (tools.here(RECIPE.replace(data=pairs(1000, seed, one), seed=seed, **fields), tmp_path, f"{name}-{one}-{seed}")
                            for one in (0.0, LIKING))
            false_alarms += length_bias(reward_gaps(fair, held(seed))).biased
            told = [length_bias(reward_gaps(liking, held(seed, one))).sentence for one in (0.0, LIKING)]
            missed += sum(not sentence.startswith("It likes longer") for sentence in told)
            runs += 1
    report(runs_of_each=runs, false_alarms=false_alarms, missed=missed, sentences_of_a_bias=2 * runs)
    assert not false_alarms and not missed
