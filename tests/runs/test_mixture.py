"""Runs that draw from a mixture: the rows that come are the mixture's own draw, weights change while they go, and a resumed, forked or replayed run is the same run."""

import json
import math
import os
import signal
from collections import Counter
from fractions import Fraction

import datasets
import pytest
import torch

import workbench as wb
from tests.runs import tools
from workbench.data import run_rows
from workbench.errors import DataError, RecipeError
from workbench.runs import start
from workbench.training.mixed import MixedRows

SIZES = {"facts": 60, "letters": 25, "talk": 7}


def rows(name: str, count: int) -> list[dict]:
    return [{"question": f"{name} {number}?", "answer": f"The {name} number {number}."} for number in range(count)]


def mixture(**fields) -> wb.Mixture:
    return wb.Mixture({name: datasets.Dataset.from_list(rows(name, count)) for name, count in SIZES.items()}, **fields)


def recipe(real_data, **fields) -> wb.Recipe:
    return tools.recipe(real_data, **(dict(data=mixture(), steps=24, batch_size=2, gradient_accumulation=2, heldout=0, sample_prompts=0) | fields))


def drawn(run: wb.Run) -> list[dict[str, int]]:
    """Rows of each source at every step, as the journal has them."""
    table = run.metrics()
    return [{name: int(row[f"rows/{name}"]) for name in SIZES} for _, row in table.iterrows()]


def counts(asked: list[str], rows_a_step: int) -> list[dict[str, int]]:
    """The same of a list of source names in order."""
    steps = [Counter(asked[first:first + rows_a_step]) for first in range(0, len(asked), rows_a_step)]
    return [{name: step[name] for name in SIZES} for step in steps]


def source_of(row: dict) -> str:
    return row["question"].split()[0]


# ---- which rows come


def mixed(weights: dict[str, int], length: int, rows_a_step: int = 4, seed: int = 3) -> MixedRows:
    found, _, _ = run_rows.gather(mixture(rule="weights", weights=weights), 0, 0)
    return MixedRows(found, length, rows_a_step, seed, lambda name, row: {"input_ids": [row], "labels": [row], "name": name})


def test_it_is_the_mixtures_own_draw():
    own = mixture(cap=30)
    found, _, _ = run_rows.gather(own, 0, 0)
    made = MixedRows(found, 300, 4, 3, lambda name, row: found.train[name].slice(row, 1).to_pylist()[0])
    for item, row in zip(made, own.draw(300, seed=3), strict=True):
        assert made.names[item.pop("source")] == source_of(row) and item == row


def test_changed_weights_are_exact_from_their_step_and_no_epoch_begins_again():
    made = mixed({"facts": 1, "letters": 1, "talk": 2}, 400)
    before = [(made[i]["name"], made[i]["input_ids"][0]) for i in range(400)]
    made.change({"facts": 0.5, "letters": 0.25, "talk": 0.25}, 25)
    after = [(made[i]["name"], made[i]["input_ids"][0]) for i in range(400)]
    assert after[:100] == before[:100] and after[100:] != before[100:]
    shares = {name: Fraction(1, 4) + Fraction(name == "facts", 4) for name in SIZES}
    for rows_after in range(1, 301):
        seen = Counter(name for name, _ in after[100:100 + rows_after])
        assert all(abs(seen[name] - rows_after * share) < 1 for name, share in shares.items())
    for name, size in SIZES.items():
        taken = [row for source, row in after if source == name]
        for epoch in range(0, len(taken) - size, size):
            assert sorted(taken[epoch:epoch + size]) == list(range(size))


def test_changes_in_turn_are_the_same_as_made_again_on_new_rows():
    first, again = mixed({"facts": 3, "letters": 1, "talk": 1}, 300), mixed({"facts": 3, "letters": 1, "talk": 1}, 300)
    changes = [(10, {"facts": 1, "letters": 1, "talk": 0}), (10, {"facts": 1, "letters": 3, "talk": 0}), (30, {"facts": 0.2, "letters": 0.7, "talk": 0.1}), (60, {"facts": 1, "letters": 0, "talk": 0})]
    for step, weights in changes:
        first[4 * step - 1]
        first.change(weights, step)
    for step, weights in changes:
        again.change(weights, step)
    assert first.source.tolist() == again.source.tolist() and first.row.tolist() == again.row.tolist() and len(first) == 300
    assert set(first.source[120:].tolist()) <= {0, 1, 2} and 2 not in first.source[40:120].tolist()


def test_a_change_in_one_stage_leaves_the_next_as_it_was_planned_and_unnamed_weights_are_of_the_stage_that_goes():
    sources = mixture().sources
    tasks, chat = wb.Mixture({"facts": sources["facts"]}), wb.Mixture({name: sources[name] for name in ("letters", "talk")}, rule="equal")
    found, _, _ = run_rows.gather(wb.Stages([(tasks, 40), (chat, 80)], replay=0.25), 0, 0)

    def made(*changes: tuple[dict[str, float], int]) -> list[Counter]:
        drawn = MixedRows(found, 120, 4, 3, lambda name, row: {"input_ids": [row]})
        for weights, step in changes:
            drawn.change(weights, step)
        return [Counter(drawn.names[number] for number in drawn.source[first:last]) for first, last in ((0, 8), (8, 40), (40, 80), (80, 120))]

    planned = {"facts": 10, "letters": 15, "talk": 15}
    assert made() == [{"facts": 8}, {"facts": 32}, planned, planned]
    assert made(({"letters": 1.0}, 2)) == [{"facts": 8}, {"facts": 16, "letters": 16}, planned, planned]
    # in the second stage talk and letters have 3/8 each and facts 1/4: naming one with the weight it has changes nothing
    assert made(({"talk": 0.375}, 20)) == made()
    assert made(({"facts": 0.75}, 20))[3] == {"facts": 20, "letters": 10, "talk": 10}
    assert made(({"letters": 1.0}, 2), ({"facts": 1.0}, 10))[2] == Counter(facts=23, letters=9, talk=8) or \
        made(({"letters": 1.0}, 2), ({"facts": 1.0}, 10))[2] == Counter(facts=23, letters=8, talk=9)


def test_a_row_without_an_answer_lends_its_place_to_the_next_of_its_source():
    made = mixed({"facts": 0, "letters": 0, "talk": 1}, 14)
    made._features = lambda name, row: None if row == 3 else {"row": row}
    assert sorted(made[i]["row"] for i in range(7)) == [0, 1, 2, 4, 4, 5, 6]


# ---- whole runs


@pytest.fixture(scope="module")
def plain(real_data, tmp_path_factory) -> wb.Run:
    return tools.here(recipe(real_data, method=wb.LoRA(rank=4, dropout=0.1), checkpoint_every=5), tmp_path_factory.mktemp("plain"), "plain")


def test_a_run_takes_the_rows_in_their_order(plain, real_data):
    order = [source_of(row) for row in mixture().draw(96, seed=plain.recipe.seed)]
    assert plain.status == "finished" and drawn(plain) == counts(order, 4)
    assert plain.history.prepared.mixture == pytest.approx(mixture().rates) and plain.history.prepared.source_rows == SIZES
    assert plain.sources == list(SIZES)


def test_its_recipe_can_be_started_again(plain, tmp_path):
    told = json.loads((plain.folder / "recipe.json").read_text())
    asked = wb.Recipe.from_json(told)
    assert isinstance(asked.data, wb.Mixture) and asked.data.rates == pytest.approx(mixture().rates) and asked.to_json() == told
    again = tools.here(asked, tmp_path)
    assert again.recipe.data_hash == plain.recipe.data_hash and list(again.metrics()["loss"]) == list(plain.metrics()["loss"])


def test_a_source_in_memory_that_is_given_no_weight_yet(tmp_path):
    taken = {"facts": 1, "letters": 0, "talk": 0}
    asked = wb.Recipe(data=mixture(rule="weights", weights=taken), steps=1, heldout=0, sample_prompts=0)
    kept = wb.Recipe.from_json(json.loads((start.prepare(asked, tmp_path, "no weight") / "recipe.json").read_text()))
    assert kept.data.rates == {"facts": 1.0, "letters": 0.0, "talk": 0.0}
    assert [wb.load_rows(source).num_rows for source in kept.data.sources.values()] == list(SIZES.values())


def test_batches_of_another_size_take_the_same_rows(plain, real_data, tmp_path):
    other = tools.here(recipe(real_data, method=wb.LoRA(rank=4), batch_size=4, gradient_accumulation=1, steps=6), tmp_path)
    assert drawn(other) == drawn(plain)[:6]


def test_weights_change_while_it_goes_and_killed_resumed_and_replayed_it_is_the_same_run(plain, real_data, tmp_path):
    torch.set_num_threads(1)
    run = wb.start(recipe(real_data, method=wb.LoRA(rank=4, dropout=0.1), checkpoint_every=5), runs=tmp_path, name="changed")
    run.set(mixture={"talk": 0.0, "letters": 3.0}, at_step=7)
    run.set(mixture={"talk": 1.0}, at_step=16)
    run.wait(120, until=12)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait(60) == "died"
    run.resume()
    assert run.wait(120) == "finished"
    assert [(c.step, c.field) for c in run.history.changes] == [(7, "mixture"), (16, "mixture")]
    first, second = (c.new for c in run.history.changes)
    assert first == pytest.approx(mixture().rates | {"talk": 0.0, "letters": 3.0}) and second == first | {"talk": 1.0}
    by_step = drawn(run)
    assert by_step[:7] == drawn(plain)[:7] and all(step["talk"] == 0 and step["letters"] >= 3 for step in by_step[7:16])
    assert sum(step["talk"] for step in by_step[16:]) in (6, 7)  # 32 rows at a share of 1 in 1 + 3 + 60/92
    replayed = wb.replay(run)
    assert replayed.same, replayed.sentence
    forked = run.fork(9, mixture=wb.Mixture(mixture().sources, rule="equal"))
    assert forked.wait(120) == "finished"
    assert drawn(forked)[:9] == by_step[:9] and all(abs(step["facts"] - step["talk"]) <= 1 for step in drawn(forked)[9:])


def test_stages_come_one_after_the_other(real_data, tmp_path):
    sources = mixture().sources
    first, second = wb.Mixture({"facts": sources["facts"]}), wb.Mixture({name: sources[name] for name in ("letters", "talk")}, rule="equal")
    asked = recipe(real_data, data=wb.Stages([(first, 40), (second, 40)], replay=0.25), steps=None)
    assert asked.steps == 20
    run = tools.here(asked, tmp_path)
    by_step = drawn(run)
    assert run.status == "finished" and all(step == {"facts": 4, "letters": 0, "talk": 0} for step in by_step[:10])
    assert Counter({name: sum(step[name] for step in by_step[10:]) for name in SIZES}) == {"facts": 10, "letters": 15, "talk": 15}


def test_epochs_count_the_rows_of_all_sources_and_each_holds_some_out(real_data, tmp_path):
    run = tools.here(recipe(real_data, steps=None, epochs=1, heldout=0.2), tmp_path)
    heldout = {name: max(1, round(0.2 * size)) for name, size in SIZES.items()}
    kept = run_rows.read(run.folder)
    assert {name: table.num_rows for name, table in kept.heldout.items()} == heldout
    for name in SIZES:
        questions = [row["question"] for part in (kept.train, kept.heldout) for row in part[name].to_pylist()]
        assert sorted(questions) == sorted(row["question"] for row in rows(name, SIZES[name]))
    assert run.history.steps == math.ceil((sum(SIZES.values()) - sum(heldout.values())) / 4)
    assert run.history.prepared.heldout_rows == sum(heldout.values())
    assert all(event.loss for event in run.history.evaluations)


# ---- what is refused


@pytest.mark.parametrize(("sources", "said"), [
    ({"facts": 60}, "a count of rows"), ({"facts": datasets.Dataset.from_list([{"colour": "red"}])}, "The source 'facts'"),
    ({"facts": datasets.Dataset.from_list(rows("facts", 4)).to_iterable_dataset()}, "is a stream")])
def test_what_cannot_be_trained_on_is_said_before_a_folder_is_made(real_data, tmp_path, sources, said):
    with pytest.raises(DataError, match=said):
        wb.start(recipe(real_data, data=wb.Mixture(sources, rule="equal")), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_packing_is_refused():
    with pytest.raises(RecipeError, match="row by row"):
        wb.Recipe(data=mixture(), packing=True)


def test_weights_that_cannot_be_are_refused(plain):
    run = wb.attach(plain.folder)
    for weights, said in (({"songs": 1}, "no source"), ({"facts": -1}, "at least 0"), (dict.fromkeys(SIZES, 0), "nothing would be drawn"), ({}, "by source")):
        with pytest.raises(RecipeError, match=said):
            run.set(mixture=weights)


def test_every_weight_taken_away_in_turn_is_refused_by_the_worker(real_data, tmp_path):
    run = wb.start(recipe(real_data, steps=12), runs=tmp_path)
    run.set(mixture={"facts": 0, "letters": 0}, at_step=2)
    run.set(mixture={"talk": 0}, at_step=4)
    assert run.wait(120) == "finished"
    assert [c.step for c in run.history.changes] == [2] and "the weight 0" in run.history.refusals[0].reason


def test_a_step_that_never_comes_and_a_word_that_no_status_is(plain):
    run = wb.attach(plain.folder)
    for ask in (lambda: run.set(learning_rate=1e-4, at_step=25), lambda: run.pause(at_step=25)):
        with pytest.raises(wb.RunError, match="step 25 never comes"):
            ask()
    with pytest.raises(wb.RunError, match="no run ever is"):
        run.wait(until="pausd")
