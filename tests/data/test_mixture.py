"""Mixtures against published numbers, hand computations and invariants: rates, the order of a draw, its permutations, held-out tasks, JSON.

Stages are in test_stages.py; what a draw costs is in tests/benchmarks/test_mixture.py.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path

import datasets
import numpy as np
import pytest

from workbench.data import drawing
from workbench.data.mixture import Mixture
from workbench.errors import DataError

GLUE = {"mnli": 392702, "qqp": 363846, "qnli": 104743, "sst2": 67349, "cola": 8551, "stsb": 5749, "mrpc": 3668, "rte": 2490, "wnli": 635}
ROOT = Path(__file__).resolve().parents[2]


def texts(letter, count):
    return [{"text": f"{letter}{i}"} for i in range(count)]


def letters(drawn):
    return Counter(row["text"][0] for row in drawn)


# ---- rates

@pytest.mark.parametrize(("cap", "expected"), [
    (30000, ".1738 .1738 .1738 .1738 .0928 .0761 .0608 .0501 .0253"), (None, ".2960 .2849 .1529 .1226 .0437 .0358 .0286 .0236 .0119")])
def test_glue_has_the_published_rates(cap, expected):
    rates = Mixture(GLUE, cap=cap, temperature=2).rates
    assert [f"{rate:.4f}".lstrip("0") for rate in rates.values()] == expected.split() and list(rates) == list(GLUE)
    assert abs(sum(rates.values()) - 1) < 1e-12


def by_hand(rows, scale, cap, temperature):
    """seqio's four steps in floats: scale, cap, temperature, normalise."""
    scores = [min(n * s, cap or math.inf) ** (1 / temperature) for n, s in zip(rows, scale, strict=True)]
    return [score / sum(scores) for score in scores]


@pytest.mark.parametrize("seed", range(20))
def test_any_setting_gives_what_the_four_steps_give(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, 10**6, int(rng.integers(1, 40)))
    scale = rng.choice([0.1, 0.5, 1, 1, 1, 3, 7.25], len(rows))
    cap, temperature = [None, 3000, 30000][seed % 3], float(rng.choice([1, 2, 0.5, 8]))
    names = [f"s{i}" for i in range(len(rows))]
    multipliers = dict(zip(names, scale.tolist(), strict=True))
    mixture = Mixture(dict(zip(names, rows, strict=True)), cap=cap, temperature=temperature, multipliers=multipliers)
    assert list(mixture.rates.values()) == pytest.approx(by_hand(rows, scale, cap, temperature), rel=1e-6, abs=2e-11)
    assert sum(mixture.shares().values()) == 1


def test_equal_hand_set_weights_and_zeros():
    three = {"a": 5, "b": 70, "c": 900}
    assert set(Mixture(three, rule="equal").rates.values()) == {1 / 3}
    assert Mixture(three, rule="equal", multipliers={"c": 2}).rates == {"a": 0.25, "b": 0.25, "c": 0.5}
    by_hand = Mixture(three, rule="weights", weights={"a": 0.1, "b": 0.3, "c": 0})
    assert by_hand.shares() == {"a": Fraction(1, 4), "b": Fraction(3, 4), "c": 0}
    squares = Mixture(three, rule="weights", weights={"a": 1, "b": 4, "c": 9}, temperature=2)
    assert squares.rates == pytest.approx({"a": 1 / 6, "b": 2 / 6, "c": 3 / 6})


def test_an_extreme_temperature_is_the_largest_or_all_the_same():
    assert Mixture(GLUE, temperature=0.01).rates["mnli"] > 0.999
    assert list(Mixture(GLUE, temperature=1e6).rates.values()) == pytest.approx([1 / 9] * 9, rel=1e-4)


def test_the_share_of_pretraining_text_is_held_and_the_others_keep_their_proportions():
    mixture = Mixture({"a": 100, "b": 300, "web": 10**6}, pretraining=("web",), pretraining_share=0.2)
    assert mixture.shares() == {"a": Fraction(1, 5), "b": Fraction(3, 5), "web": Fraction(1, 5)}
    labelled = [{"label": "spam", "text": f"Win {i}"} for i in range(40)]
    found = Mixture({"chat": [{"question": "?", "answer": "!"}] * 60, "book": texts("b", 70), "mail": labelled}, pretraining_share=0.5)
    assert found.plain() == {"book"} and found.shares() == {"chat": Fraction(30, 100), "book": Fraction(1, 2), "mail": Fraction(20, 100)}
    with pytest.raises(DataError, match="no source is plain text"):
        found.without(["book"]).rates
    unasked = Mixture({"a": 100, "web": 900}, pretraining=("web",))
    assert unasked.shares() == {"a": Fraction(1, 10), "web": Fraction(9, 10)}, "no share asked for leaves it to the rule, named or not"
    assert unasked.changed(multipliers={"web": 0}).rates == {"a": 1, "web": 0}
    found = Mixture({"chat": [{"question": "?", "answer": "!"}] * 9, "book": texts("b", 70), "wiki": texts("w", 30)}, pretraining_share=0.5)
    assert found.shares() == {"chat": Fraction(1, 2), "book": Fraction(35, 100), "wiki": Fraction(15, 100)}


# ---- epochs and tokens

def test_a_proportional_draw_of_all_rows_is_one_epoch_of_each_and_every_row_once():
    mixture = Mixture({"a": texts("a", 7), "b": texts("b", 301), "c": texts("c", 92)})
    assert mixture.epochs(400) == {"a": 1.0, "b": 1.0, "c": 1.0}
    drawn = mixture.draw(400, seed=5)["text"]
    assert len(set(drawn)) == 400


def test_epochs_in_tokens_by_hand():
    # 2:1 examples of 10 and 40 tokens: 60 tokens a triple, so 6000 tokens are 200 and 100 examples, of 50 and 400 rows
    mixture = Mixture({"short": 50, "long": 400}, rule="weights", weights={"short": 2, "long": 1})
    tokens = {"short": 500, "long": 16000}
    assert mixture.epochs(6000, tokens) == {"short": 4.0, "long": 0.25} and mixture.examples(6000, tokens) == 300
    assert mixture.epochs(300) == {"short": 4.0, "long": 0.25}
    assert mixture.token_shares(tokens) == {"short": 20 / 60, "long": 40 / 60}


def test_the_draw_takes_what_epochs_says_rounded_to_a_row():
    mixture = Mixture(GLUE, cap=30000, temperature=3, multipliers={"rte": 1.7})
    for budget in (1, 999, 54321):
        taken = mixture.position(budget).taken
        assert sum(taken.values()) == budget
        for name, epochs in mixture.epochs(budget).items():
            assert abs(taken[name] - epochs * GLUE[name]) < 1


# ---- the order

def families():
    """Weights that are hard in different ways: one that is nearly all, fifty that fall due together, powers, drawn ones."""
    yield {"a": 1}
    yield {"a": 1, "b": 10**6}
    yield {f"s{i}": 1 for i in range(50)}
    yield {"big": 450} | {f"s{i}": 1 for i in range(50)}
    yield {f"s{i}": 2**i for i in range(25)}
    yield {"half": 500_001, "less": 499_999, "rare": 1}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        yield {f"s{i}": int(x) + 1 for i, x in enumerate(rng.pareto(0.6, 30) * 1000)}


@pytest.mark.parametrize("weights", [*families()], ids=lambda weights: f"{len(weights)}-{sum(weights.values())}")
def test_after_any_number_of_rows_each_source_has_given_its_share_rounded_up_or_down(weights):
    mixture = Mixture(dict.fromkeys(weights, 1000), rule="weights", weights=weights)
    order = mixture.order(drawing.BLOCK + 5000, seed=1)
    total, after = sum(weights.values()), np.arange(1, len(order.source) + 1)
    assert mixture.shares() == {name: Fraction(weight, total) for name, weight in weights.items()}
    for i, weight in enumerate(weights.values()):
        given = np.cumsum(order.source == i)
        assert np.all(np.abs(given * total - weight * after) < total)  # whole numbers: |given - rate x after| < 1, exactly


def test_a_source_with_rate_0_never_comes():
    assert letters(Mixture({"a": texts("a", 3), "b": texts("b", 3)}, multipliers={"b": 0}).draw(50)) == {"a": 50}


def test_an_order_begins_the_same_however_long_it_is_and_goes_on_from_anywhere():
    mixture = Mixture({"a": 11, "b": 5000, "c": 70}, temperature=3)
    whole = mixture.order(70_000, seed=9)
    for start, rows in ((0, 1), (0, 999), (1, 50), (31, 4000), (65_530, 20), (69_999, 1), (500, 0)):
        at = drawing.Position.from_json(json.loads(json.dumps(mixture.position(start, seed=9).to_json())))
        for part in (mixture.order(rows, 9, start), mixture.order(rows, 9, at)):
            for what in ("source", "item", "row"):
                assert np.array_equal(getattr(part, what), getattr(whole, what)[start:start + rows])
            assert part.end.rows == start + rows
    assert mixture.position(30_000, 9, mixture.position(40_000, 9)) == whole.end


def test_simple_rates_begin_anywhere_at_once():
    mixture = Mixture({"a": 3, "b": 4}, rule="equal")
    far = mixture.order(4, start=2 * 10**12)
    assert far.item.tolist() == [10**12, 10**12, 10**12 + 1, 10**12 + 1] and set(far.source[:2]) == {0, 1}


def test_another_seed_is_another_order_and_names_may_come_in_any_order():
    sources = {"a": texts("a", 400), "b": texts("b", 500)}
    first = Mixture(sources).draw(300, seed=1)["text"][:]
    assert Mixture(dict(reversed(sources.items()))).draw(300, seed=1)["text"][:] == first
    assert Mixture(sources).draw(300, seed=2)["text"][:] != first


def test_which_rows_of_a_source_come_first_does_not_depend_on_the_others():
    def of_a(mixture):
        return [text for text in mixture.draw(400, seed=3)["text"] if text[0] == "a"][:80]

    a = texts("a", 90)
    assert of_a(Mixture({"a": a, "b": texts("b", 200)})) == of_a(Mixture({"c": texts("c", 30), "a": a}, rule="equal"))


def test_the_order_is_the_same_in_another_process_with_other_hashes():
    script = ("import hashlib; from workbench.data.mixture import Mixture\n"
              "order = Mixture({'a': 9, 'b': 12345, 'c': 400}, temperature=2).order(9000, seed=4)\n"
              "print(hashlib.sha256(order.source.tobytes() + order.row.tobytes()).hexdigest())")
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    other = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    order = Mixture({"a": 9, "b": 12345, "c": 400}, temperature=2).order(9000, seed=4)
    assert other.stdout.strip() == hashlib.sha256(order.source.tobytes() + order.row.tobytes()).hexdigest()


def test_processes_and_batches_only_cut_the_same_order():
    from datasets.distributed import split_dataset_by_node

    drawn = Mixture({"a": texts("a", 13), "b": texts("b", 40)}).draw(120, seed=2)
    whole = drawn["text"][:]
    for processes in (1, 2, 3):
        parts = [split_dataset_by_node(drawn, rank, processes)["text"][:] for rank in range(processes)]
        assert sorted(itertools.chain(*parts)) == sorted(whole) and all(set(part) <= set(whole) for part in parts)
    for size in (1, 7, 64):
        assert [text for batch in drawn.iter(size) for text in batch["text"]] == whole


# ---- permutations

@pytest.mark.parametrize("rows", [1, 2, 3, 5, 100, 4095, 4096, 4097, 5003, 65536, 70001])
def test_every_epoch_has_every_row_once_in_an_order_of_its_own(rows):
    drawn = drawing.permuted(np.arange(3 * rows), rows, key=123).reshape(3, rows)
    assert all(sorted(epoch.tolist()) == list(range(rows)) for epoch in drawn)
    assert rows < 5 or len({tuple(epoch) for epoch in drawn}) == 3
    inside = drawing.permuted(np.arange(rows // 2, 2 * rows + 1), rows, key=123)  # from the middle of an epoch
    assert np.array_equal(inside, np.append(drawn.ravel(), 0)[rows // 2:2 * rows + 1])


def test_permutations_are_uniform():
    from scipy import stats

    five = drawing.permuted(np.arange(5 * 60_000), 5, key=1).reshape(-1, 5)
    assert stats.chisquare([*Counter(map(tuple, five.tolist())).values()]).pvalue > 0.001 and len({*map(tuple, five.tolist())}) == 120
    rows, epochs = 4200, 40_000  # the Feistel network: where one place goes, and where its neighbour goes from there
    here, there = (drawing.permuted(np.arange(epochs) * rows + place, rows, key=8) for place in (17, 18))
    for seen in (here, (there - here) % rows):
        assert stats.chisquare(np.bincount(seen * 60 // rows, minlength=60)).pvalue > 0.001
    one = drawing.permuted(np.arange(200_003), 200_003, key=5)
    assert abs(stats.spearmanr(np.arange(200_003), one).statistic) < 0.01 and np.mean(np.diff(one) == 1) < 1e-4


# ---- rows

def test_rows_are_pointed_at_not_copied():
    import datasets
    import pyarrow as pa

    table, other = (pa.table({"text": [f"{letter}{i}" for i in range(1000)]}) for letter in "ab")
    drawn = Mixture({"a": table, "b": datasets.Dataset(datasets.table.InMemoryTable(other))}).draw(500)
    there = {chunk.buffers()[2].address for chunk in drawn.data.column("text").chunks}
    assert there == {column.chunk(0).buffers()[2].address for column in (table["text"], other["text"])}
    assert drawn._indices.nbytes == 8 * 500 and letters(drawn) == {"a": 250, "b": 250}


def test_a_dataset_that_was_filtered_or_shuffled_is_drawn_as_it_shows_itself():
    import datasets

    shown = datasets.Dataset.from_list(texts("a", 100)).select(range(0, 100, 7)).shuffle(seed=1)
    drawn = Mixture({"a": shown, "b": texts("b", 15)}).draw(30)
    assert set(shown["text"]) == {text for text in drawn["text"] if text[0] == "a"}


def test_a_missing_column_is_null_and_two_types_of_one_column_are_refused():
    drawn = Mixture({"a": texts("a", 2), "q": [{"question": "?", "answer": "!"}] * 2}).draw(4)
    assert {row["text"] is None for row in drawn if row["question"]} == {True}
    with pytest.raises(DataError, match="The column 'text' cannot be one type: 'a' has text, 'n' has whole numbers"):
        Mixture({"a": texts("a", 2), "n": [{"text": 5}]}).draw(3)


def test_columns_are_those_of_all_sources_whichever_come():
    mixture = Mixture({"a": texts("a", 99), "q": [{"question": "?", "answer": "!"}]})
    for rows, start in ((0, 0), (1, 0), (1, 5), (100, 0)):
        assert mixture.draw(rows, start=start).column_names == ["text", "question", "answer"]


def test_real_files_mix(real_files):
    mixture = Mixture({path.parent.name: path for path in real_files}, rule="equal")
    drawn = mixture.draw(200)
    assert drawn.num_rows == 200 and all(any(row.values()) for row in drawn) and len(real_files) == 2


@pytest.fixture
def real_files():
    folder = os.environ.get("WORKBENCH_REAL_DATA")
    if not folder:
        pytest.skip("WORKBENCH_REAL_DATA names no folder")
    return [sorted(Path(folder, name).glob("*.jsonl*"))[0] for name in ("gsm8k", "self_instruct")]


# ---- rates that change on the way

def test_new_rates_go_on_in_the_middle_of_an_epoch_without_repeating_its_rows():
    sources = {"a": texts("a", 100), "b": texts("b", 1000)}
    old, new = Mixture(sources, rule="equal"), Mixture(sources, rule="weights", weights={"a": 1, "b": 9})
    before, position = old.draw(150, seed=6)["text"][:], old.position(150, seed=6)
    after = new.draw(250, seed=6, start=position)["text"][:]
    assert letters({"text": text} for text in after) == {"a": 25, "b": 225}
    assert len(set(before + after)) == 400  # 100 of a, 300 of b: no row twice, none missing
    assert new.draw(100, 6, new.position(150, 6, position))["text"][:] == after[150:]
    third = Mixture(sources | {"c": texts("c", 10)}, rule="equal").draw(30, 6, new.position(250, 6, position))
    assert letters(third) == {"a": 10, "b": 10, "c": 10}


def test_the_same_rates_go_on_as_if_nobody_had_looked_and_another_seed_is_refused():
    mixture = Mixture({"a": texts("a", 30), "b": texts("b", 90)})
    position = mixture.position(77, seed=1)
    assert mixture.draw(50, 1, position)["text"][:] == mixture.draw(127, 1)["text"][77:]
    with pytest.raises(DataError, match="seed 1"):
        mixture.draw(5, seed=2, start=position)


# ---- held-out tasks

def test_all_sources_of_a_task_are_trained_on_or_tested_on():
    tasks = {"sentiment": ["sst2"], "paraphrase": ["qqp", "mrpc"], "inference": ["mnli", "qnli", "rte", "wnli"]}
    mixture, test = Mixture(GLUE, multipliers={"mnli": 2, "cola": 3}).hold_out(tasks, ["inference"])
    assert set(test) == {"mnli", "qnli", "rte", "wnli"} and set(mixture.rates) == set(GLUE) - set(test)
    assert mixture.multipliers == {"cola": 3} and mixture.rates["sst2"] / mixture.rates["mrpc"] == pytest.approx(67349 / 3668)
    for wrong, names, said in (({"x": ["mnli"], "y": ["mnli", "rte"]}, ["y"], "one trained on and one held out"),
                               ({"x": ["nli"]}, ["x"], "no source"), ({"x": ["rte"]}, ["z"], "no task"),
                               ({"x": GLUE}, ["x"], "nothing is left")):
        with pytest.raises(DataError, match=said):
            Mixture(GLUE).hold_out(wrong, names)


# ---- JSON and bad settings

def test_json_round_trip_draws_the_same_rows_and_opens_no_file_before(tmp_path):
    for name, count in (("x", 30), ("y", 70)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts(name, count)))
    mixture = Mixture({"x": tmp_path / "x.jsonl", "y": str(tmp_path / "y.jsonl")}, temperature=2, multipliers={"x": 1.5})
    body = json.loads(json.dumps(mixture.to_json()))
    copy = Mixture.from_json(body)
    assert copy.rates == mixture.rates and copy._tables == {} and copy.to_json() == mixture.to_json()
    assert copy.draw(50, 3)["text"][:] == mixture.draw(50, 3)["text"][:]
    (tmp_path / "x.jsonl").write_text('{"text": "x0"}\n')
    with pytest.raises(DataError, match="it has changed"):
        Mixture.from_json(body).draw(5)
    counted = Mixture(GLUE, cap=10, pretraining=("cola",), pretraining_share=0.1)
    assert Mixture.from_json(json.loads(json.dumps(counted.to_json()))) == counted
    with pytest.raises(DataError, match="in memory"):
        Mixture({"a": texts("a", 2)}).to_json()
    with pytest.raises(DataError, match="no field 'caps'"):
        Mixture.from_json({"sources": {"a": 1}, "caps": 3})


@pytest.mark.parametrize("settings", [
    {"sources": {}}, {"sources": ["a"]}, {"sources": {"a": 0}}, {"sources": {"a": True}}, {"sources": {"": 5}}, {"rule": "fair"},
    {"cap": 0},
    {"cap": 10, "rule": "equal"}, {"temperature": 0}, {"temperature": math.nan}, {"pretraining_share": 1.1}, {"pretraining": ("z",)},
    {"multipliers": {"z": 1}}, {"multipliers": {"a": -1}}, {"multipliers": {"a": "2"}}, {"weights": {"a": 1, "b": 1}}, {"rule": "weights"},
    {"rule": "weights", "weights": {"a": 1}}, {"counts": {"a": 1.5}}])
def test_what_cannot_be_mixed_is_refused_with_a_remedy(settings):
    with pytest.raises(DataError) as caught:
        Mixture(**({"sources": {"a": 5, "b": 7}} | settings))
    assert caught.value.what.endswith(".") and caught.value.remedy


@pytest.mark.parametrize("ask", [
    lambda m: m.draw(3), lambda m: m.order(-1), lambda m: m.order(2.5), lambda m: m.order(5, start=-1), lambda m: m.epochs(-1),
    lambda m: m.epochs("all"), lambda m: m.epochs(9, tokens={"a": 4}), lambda m: m.order(drawing.MOST_ROWS + 1), lambda m: m.without("ab"),
    lambda m: Mixture(m.sources, multipliers={"a": 0, "b": 0}).rates, lambda m: Mixture(m.sources, pretraining_share=0.5).rates,
    lambda m: Mixture(m.sources, pretraining_share=0.5, pretraining=("a", "b")).rates])
def test_what_cannot_be_asked_is_refused_with_a_remedy(ask):
    with pytest.raises(DataError) as caught:
        ask(Mixture({"a": 5, "b": 7}))
    assert caught.value.what.endswith(".") and caught.value.remedy


def test_a_missing_file_says_so_when_the_rates_need_it():
    with pytest.raises(DataError, match="no file"):
        Mixture({"a": "nowhere.jsonl"}).rates  # noqa: B018 - reading it raises


@pytest.mark.parametrize("what", ["multipliers", "weights", "counts"])
def test_numbers_by_source_are_a_dict(what):
    with pytest.raises(DataError, match=f"{what} is 'ab'"):
        Mixture({"a": 10, "b": 20}, **{what: "ab"})


@pytest.mark.parametrize("seed", ["x", None, 1.5, True])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(DataError, match="seed is"):
        Mixture({"a": datasets.Dataset.from_list([{"text": "x"}])}).draw(1, seed=seed)
