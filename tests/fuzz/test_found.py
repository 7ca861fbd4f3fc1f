"""What fuzzing found, as its simplest example; and bombs of the kinds that every parser is offered."""

from __future__ import annotations

import json
import time

import pytest

import workbench as wb
from tests.fuzz.promptsource import LAUGHING_METADATA, OF_LAUGHS
from workbench.errors import DataError, RecipeError
from workbench.journal import commands as cmd
from workbench.journal import events as ev
from workbench.journal.history import History
from workbench.recipes import check_live
from workbench.templates import promptsource

TEMPLATE = "dataset: d\ntemplates:\n  i: !Template {answer_choices: null, id: i, jinja: x, name: n, reference: '', metadata: %s}\n"
YAML = {
    "a name that aliases make a gigabyte": (OF_LAUGHS, "more than 100,000 values"),
    "metadata that aliases make a gigabyte": (LAUGHING_METADATA, "more than 100,000 values"),
    "merges within merges": (
        "a: &a {x: 1}\n"
        + "".join(f"{c}: &{c} {{<<: [{', '.join(['*' + chr(ord(c) - 1)] * 9)}]}}\n" for c in "bcdefgh")
        + "templates: {}\n",
        "more than 100,000 values",
    ),
    "itself": (TEMPLATE % "&m [*m]", "more than 100,000 values"),
    "brackets": ("[" * 100_000, "more than 50 deep"),
    "dashes": ("- " * 50_000, "more than 50 deep"),
    "an object of Python's": (TEMPLATE % "!!python/object/apply:os.system ['true']", "could not determine a constructor"),
    "a truth value that is none": (TEMPLATE % "!!bool x", "not YAML"),
    "a whole number without digits": (TEMPLATE % "!!int ''", "not YAML"),
    "a time that is none": (TEMPLATE % "!!timestamp x", "not YAML"),
    "a day that is none": (TEMPLATE % "2001-99-99", "not YAML"),
    "no data set": (TEMPLATE.replace("dataset: d\n", "") % "null", "no 'dataset'"),
}


@pytest.mark.parametrize("name", YAML)
def test_a_hostile_file_of_templates_is_refused_at_once(name):
    text, says = YAML[name]
    begun = time.thread_time()
    with pytest.raises(DataError, match=says) as caught:
        promptsource.loads(text)
    assert caught.value.remedy and len(str(caught.value)) < 500
    assert time.thread_time() - begun < 2


LINES = [
    b'{"event":["step"]}',
    b'{"event":{}}',
    b'{"event":"new in version 9","time":"now"}',
    b'{"event":"started","pid":1,"time":1e308}',
    b'{"event":"step","step":1,"time":true}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
]


def test_lines_that_are_no_events_are_damage(tmp_path):
    (tmp_path / "journal.jsonl").write_bytes(
        b"\n".join([ev.encode(ev.Step(step=1, loss=2.0)).strip(), *LINES, ev.encode(ev.Step(step=2, loss=1.0)).strip(), b""])
    )
    history = History(tmp_path)
    history.refresh()
    assert history.damaged == len(LINES) and list(history.columns["loss"]) == [2.0, 1.0]
    assert list(wb.attach(tmp_path).metrics()["step"]) == [1, 2]


def test_a_metric_of_a_trainer_takes_no_place_of_the_journals_own(tmp_path):
    line = b'{"event":"step","step":1,"loss":2.0,"extra":{"step":1e308,"loss":9.0,"entropy":0.5}}\n'
    assert ev.decode(line).extra == {"entropy": 0.5}
    (tmp_path / "journal.jsonl").write_bytes(line)
    assert wb.attach(tmp_path).metrics()[["step", "loss", "entropy"]].to_numpy().tolist() == [[1, 2.0, 0.5]]


@pytest.mark.parametrize(
    "worker",
    [
        b"",
        b"[]",
        b"{",
        b'{"pid": "1", "created": 0}',
        b'{"pid": 1}',
        b'{"pid": -1, "created": 0}',
        b'{"pid": 99999999999999999999, "created": 1}',
        b'{"pid": 1, "created": 1.5, "exit": -999}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_note_on_the_worker_leaves_the_run_readable(tmp_path, worker):
    (tmp_path / "journal.jsonl").write_bytes(ev.encode(ev.Started(pid=-7)) + ev.encode(ev.Step(step=1, loss=2.0)))
    (tmp_path / "worker.json").write_bytes(worker)
    assert wb.attach(tmp_path).status == "died"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b'{"model"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"modle": 1}',
        b'{"method": []}',
        b'{"settings": 5}',
        b'{"data": {"mixture": 5}}',
        b'{"data": {"stages": {"stages": [5]}}}',
        b'{"data": {"stages": 5}}',
        b'{"data": []}',
        b'{"data": [{"question": "q", "answer": "a"}]}',
        b'{"method": {"name": []}}',
        b'{"data": {"mixture": {"sources": {"a": 5}, "pretraining": 5}}}',
    ],
)
def test_a_recipe_that_is_none_is_refused_in_a_sentence(tmp_path, body):
    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "recipe.json").write_bytes(body)
    run = wb.attach(folder)
    with pytest.raises((RecipeError, DataError)) as caught:
        run.recipe  # noqa: B018
    assert caught.value.what.endswith(".") and caught.value.remedy
    assert len(wb.list_runs(folder.parent)) == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"command":["set"]}',
        b'{"command":{}}',
        b'{"command":"stop","by":7}',
        b'{"command":"stop","time":true}',
        b'{"command":"set","values":{"a":1},"at_step":true}',
        b"[" * 100_000,
        b'{"command":"exec","id":"x"}',
    ],
)
def test_lines_that_are_no_commands_are_refused(line):
    with pytest.raises(ValueError):
        cmd.decode(line)


def test_what_is_live_is_checked_however_it_is_nested():
    for values in (
        {"mixture": {"a": [[]]}},
        {"mixture": {"a": True}},
        {"learning_rate": json.loads("1e400")},
        {"learning_rate": json.loads("NaN")},
        {"evaluate_every": {}},
        {"beta": {"x": 1}},
    ):
        with pytest.raises(RecipeError):
            check_live(values, ("a", "b"), wb.Recipe(objective="dpo"))
