"""The report's arithmetic by hand, and one small training measured through it."""

import random

import pytest

import workbench as wb
from workbench import town
from workbench.evaluation.town_report import PHRASINGS, ROWS, TASK_COUNTS, TASK_ORDER, Bench, best_constant, completion, spread, table
from workbench.town.datasets import mixed
from workbench.town.tasks import HELD_OUT, TRAINED
from workbench.town.world import asked


def test_spread_and_table():
    assert spread([0.8, 0.9, 1.0]) == "90 % (80-100)" and spread([0.5]) == "50 %"
    assert spread([1.0, 2.0], percent=False) == "1.50 (1.00-2.00)"
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_the_best_constant_reply_is_found_among_answers_and_their_words():
    rows = [{"question": f"What is {a} minus {b}?", "answer": f"{a} coins less {b} coins are {a - b} coins."} for a, b in ((9, 2), (8, 1), (5, 1))]
    assert best_constant(rows) == pytest.approx(2 / 3)


def test_tasks_and_phrasings_are_compared_at_equal_rows():
    for count in TASK_COUNTS:
        assert len(mixed(dict.fromkeys(TASK_ORDER[:count], ROWS // count), 30, asked())) == ROWS
    for count in PHRASINGS:
        assert len(mixed(dict.fromkeys(TASK_ORDER[:20], ROWS // 20), 40, asked(), tuple(range(count)))) == ROWS


def test_tasks_are_added_in_an_order_that_holds_each_once():
    assert sorted(TASK_ORDER) == sorted(TRAINED) and max(TASK_COUNTS) == len(TASK_ORDER) and not set(TASK_ORDER) & set(HELD_OUT)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path, lambda line: None)
    made.facts, made.texts, made.choosing, made.folk = made.facts[:30], made.texts[:8], made.choosing[:10], made.folk[:20]
    made.tasks = {name: rows[:5] for name, rows in made.tasks.items()}
    return made


def test_a_training_is_measured_before_and_after(bench, warm):
    before = bench.measure(*wb.load("town"), whole=True)
    after = bench.taught(random.Random(0).sample(town.rows("facts"), 200), seed=0, whole=True)
    assert before.facts < 0.2 < after.facts, "200 questions about asked people teach to answer about the others"
    assert set(after.tasks) == set(HELD_OUT) and after.seconds > 0
    assert before.completion == completion(*wb.load("town"), bench.folk) > 0.8 and before.text_loss > 0
