"""The template builder without a page: its state and edits, what it counts and says against counts made here, its code run."""

from __future__ import annotations

import html
import json
import re
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.widgets.letters import LETTERS, TASK
from widgets.template_builder import TemplateBuilder, example_view, reading, words
from widgets.template_builder import state as edits
from widgets.template_builder.figure import FORMS
from widgets.template_builder.reading import Fault
from widgets.template_builder.state import State, task_of
from workbench.errors import DataError, WorkbenchError
from workbench.templates import chat, promptsource
from workbench.templates.tasks import Task, Template

ROOT = Path(__file__).resolve().parents[2]
BAD = "<img src=x onerror='hacked()'><script>hacked()</script> $x$"


@pytest.fixture
def builder() -> TemplateBuilder:
    return TemplateBuilder(LETTERS, TASK, max_length=256)


@pytest.fixture(scope="module")
def tokenizer():
    return reading.load_tokenizer("town")


def counted(tokenizer, task: Task, limit: int, **options):
    """(tokens, trained within the limit) of each example, from the chat template and the encoder alone."""
    found = [chat.encode(tokenizer, example, True) for example in task.examples(LETTERS, **options).examples]
    return [(len(ids), sum(mask[:limit])) for ids, mask in found]


def trace(figure: dict, uid: str) -> dict:
    return next(trace for trace in figure["data"] if trace.get("uid") == uid)


# ---- what it shows

@pytest.mark.parametrize("limit", [96, 130, 256])
def test_the_figure_counts_what_the_encoder_counts(builder, tokenizer, limit):
    builder.state.max_length = limit
    expected = sorted(counted(tokenizer, TASK, limit, use="letter first"), key=lambda pair: pair[0])
    figure = builder.figure("wide")
    read, trained, cut = (np.asarray(trace(figure, uid)["y"]) for uid in ("read", "trained", "cut"))
    assert (read + trained + cut).tolist() == [length for length, _ in expected]
    assert sorted(zip((read + trained + cut).tolist(), trained.tolist(), strict=True)) == sorted(expected)
    assert (read + trained).max() <= limit and trace(figure, "cut")["base"] == np.minimum(read + trained + cut, limit).tolist()
    refused = sum(count == 0 for _, count in expected)
    kind = builder.summary().kind
    assert kind == ("warn" if limit < 256 else "ok")
    assert not refused or f"{refused} of 160 rows would train on no token" in builder.summary().text


def test_the_sentence_says_the_worst_first(builder, tokenizer):
    assert builder.summary().text.startswith("160 rows train on ")
    pairs = counted(tokenizer, TASK, 256, use="letter first")
    share = 100 * sum(trained for _, trained in pairs) / sum(length for length, _ in pairs)
    assert f"train on {share:.0f} % of their tokens" in builder.summary().text
    builder.state.max_length = max(length for length, _ in pairs) - 3
    assert re.search("loses? part of (its|their) answer", builder.summary().text) and builder.summary().kind == "warn"
    builder.state.max_length = 40
    assert builder.summary().text == "Not usable yet: 160 of 160 rows would train on no token, because the prompt alone fills all 40."


def test_few_dropped_rows_of_a_sample_are_no_verdict():
    """Two of 160 are 1.25 %, and as likely as not where one in a hundred of all rows is dropped."""
    assert words.by_chance(2, 160) > 0.3 and words.by_chance(6, 160) < words.SURE < words.by_chance(4, 160)
    exact = 1 - sum(np.prod([(160 - i) / (i + 1) for i in range(k)]) * 0.01**k * 0.99 ** (160 - k) for k in range(3))
    assert words.by_chance(3, 160) == pytest.approx(exact)
    rows = [dict(row, letter="very " * 400) if n in (3, 500) else row for n, row in enumerate(LETTERS * 4)]
    one = TemplateBuilder(rows, TASK, max_length=256)
    one.state.row = 3
    said = one.summary()
    assert said.kind == "warn" and "Not usable" not in said.text and "over 1% of all 640 would refuse" in said.text


def test_an_example_is_shown_with_every_token(builder, tokenizer):
    builder.state.row = 7
    shown = builder._shown(builder._look()[0])
    example = TASK.examples(LETTERS, use="letter first").examples[7]
    ids, mask = chat.encode(tokenizer, example, True)
    assert [token.id for token in shown.tokens] == ids and [token.kind == "trained" for token in shown.tokens] == [bool(m) for m in mask]
    assert "".join(token.text for token in shown.tokens) == tokenizer.apply_chat_template(example["messages"], tokenize=False)
    assert shown.turns == [(message["role"], message["content"]) for message in example["messages"]]
    assert (shown.row, shown.length, shown.trained, shown.cut) == (7, len(ids), sum(mask), 0)
    assert {token.text for token in shown.tokens if token.special} == {"<|im_start|>", "<|im_end|>"}
    builder.state.max_length = 50
    cut = builder._shown(builder._look()[0])
    assert [token.cut for token in cut.tokens] == [place >= 50 for place in range(len(ids))] and cut.lost == sum(mask)


def test_the_heading_names_the_wording_where_several_are_used(builder):
    for use in ("this", "one", "all"):
        builder.state.use = use
        sample, _ = builder._look()
        shown = builder._shown(sample)
        index = int(sample.order[shown.rank])
        expected = f"Row {shown.row + 1} of 160" + ("" if use == "this" else f" · {sample.examples.templates[index]}")
        assert example_view.heading(shown, 160) == expected
    assert {sample.examples.templates[index] for index in sample.order} == {template.name for template in TASK.templates}


def test_of_a_long_example_the_beginning_the_answer_and_the_cut_are_shown(tokenizer):
    rows = [{"question": "word " * 3000, "answer": "Yes."}] * 3
    builder = TemplateBuilder(rows, max_length=1000)
    shown = builder._shown(builder._look()[0])
    skipped = sum(int(token.text.split()[1]) for token in shown.tokens if token.kind == "skipped")
    assert len(shown.tokens) < 1200 and skipped + sum(token.kind != "skipped" for token in shown.tokens) == shown.length > 3000
    assert any(token.cut for token in shown.tokens) and sum(token.kind == "trained" for token in shown.tokens) == shown.lost


def test_line_breaks_and_spaces_are_seen():
    assert example_view.visible(" a\nb") == ["·a\\n\n", "b"] and example_view.visible("\n\n") == ["\\n\n", "\\n\n"]
    assert example_view.visible("") == [""] and example_view.visible("\t") == ["\\t"]


@pytest.mark.parametrize("width", ["wide", "medium", "narrow"])
@pytest.mark.parametrize("limit", [96, 150, 5000])
def test_labels_at_the_end_do_not_touch_and_all_words_are_on_the_sheet(builder, width, limit):
    builder.state.max_length = limit
    figure = builder.figure(width)
    composed, (low, top) = FORMS[width], figure["layout"]["yaxis"]["range"]
    labels = [note["y"] for note in figure["layout"]["annotations"] if note.get("text") in ("prompt", "trained", "cut off")]
    px = [y * (composed.height - 68) / (top - low) for y in labels]
    assert px and all(b - a >= 15.9 for a, b in zip(px, px[1:], strict=False)) and max(px) <= composed.height - 68
    assert figure["layout"]["meta"]["units"]["yaxis"]["name"] == "Tokens in each row"
    said = [note["text"] for note in figure["layout"]["annotations"]]
    assert (f"max length {limit}" in said) == (limit < 5000)


# ---- faults

@pytest.mark.parametrize(("field", "text", "control", "words_"), [
    ("input", "a\n{{ qestion }}", "input", "Line 2, column 4: no column “qestion”. Did you mean question?"),
    ("target", "{{ answer }", "target", "Line 1, column 11: unexpected '}'"),
    ("target", "{{ 1 / 0 }}", "target", "Line 1, column 4: division by zero"),
    ("answer_choices", "{{ nothing_like_it }}", "answer_choices", "Line 1, column 4: there is no column 'nothing_like_it'"),
    ("input", "{% for x in range(99999) %}{% for y in range(99999) %}{{ x }}{% endfor %}{% endfor %}", "input", "steps"),
    ("target", "", "target", "have no target to train on"),
    ("name", "question first", "name", "Two wordings are called 'question first'")])
def test_a_fault_is_told_at_its_control_and_the_last_picture_stays(builder, field, text, control, words_):
    before = builder.figure()
    builder.edit(field, text)
    said = builder.summary()
    assert builder._fault.control == control and words_ in builder._fault.sentence, builder._fault
    assert said.kind == "warn" and "Showing the last good template." in said.text
    assert json.dumps(builder.figure(), default=list) == json.dumps(before, default=list)
    builder.code()  # what is broken is written out as it stands


def test_other_controls_have_faults_of_their_own(builder):
    builder.option("system", "Be kind to {{ auther }}.")
    assert builder.summary().kind == "warn" and builder._fault == Fault(
        "system", "Line 1, column 15: no column “auther”. Did you mean author?", "auther", "author", "line 1 of the system prompt")
    builder._respell(builder._fault)
    assert builder.state.system == "Be kind to {{ author }}." and builder.summary().kind == "ok"
    builder.option("tokenizer", "no/such-model")
    assert builder.summary().kind == "warn" and builder._fault.control == "tokenizer"
    few = TemplateBuilder(LETTERS[:3], TASK)
    few.option("demonstrations", 4)
    assert few.summary().kind == "warn" and few._fault.control == "demonstrations" and "Ask for fewer" in few._fault.sentence


def test_a_tokenizer_that_cannot_train_answers_alone_is_refused_at_its_box(tokenizer):
    import copy

    odd = copy.copy(tokenizer)
    odd.chat_template = "{{ messages | length }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    builder = TemplateBuilder(LETTERS, TASK, tokenizer=odd)
    assert builder.summary().kind == "warn" and builder._fault.control == "completions_only"
    assert "cannot be honoured" in builder._fault.sentence
    builder.option("completions_only", False)
    assert builder.summary().kind == "ok"


def test_rows_that_cannot_be_read_are_refused_in_a_sentence():
    with pytest.raises(WorkbenchError, match="no file"):
        TemplateBuilder("nothing/of/that/name.jsonl")
    with pytest.raises(WorkbenchError, match="needs rows"):
        TemplateBuilder()
    with pytest.raises(DataError, match="nothing.yaml"):
        TemplateBuilder(LETTERS, "nothing.yaml")


# ---- edits and state

def test_a_first_wording_comes_from_the_columns():
    assert edits.begun(["question", "answer"], LETTERS[0]).templates[0]["input"] == "{{ question }}"
    odd = edits.begun(["essay-text", "grade", "summary"], {"essay-text": "x", "grade": 1, "summary": "y"}).templates[0]
    assert (odd["input"], odd["target"]) == ("{{ essay_text }}", "{{ summary }}")
    assert TemplateBuilder([{"a": 1}] * 3).summary().kind == "warn", "one column has no answer"


@pytest.mark.parametrize("place", [0, 20, 42])
def test_a_row_too_long_is_named_and_the_others_are_shown(place):
    rows = [{"question": f"What is {n}?", "answer": f"It is {n}."} for n in range(43)]
    rows[place]["question"] = "x" * 1_000_000
    builder = TemplateBuilder(rows)
    said, view = builder.summary(), builder._view()
    assert said.kind == "warn" and said.text.startswith(f"Row {place + 1} is too long") and "42 rows are shown" in said.text
    assert view.reason.startswith(f"Row {place + 1} is too long") and "template" not in view.reason and not view.usable
    assert len(trace(builder.figure(), "trained")["x"]) == 42 and view.shown.row != place
    with pytest.raises(DataError, match=f"Row {place + 1} is too long"):
        builder.task.admit(rows, tokenizer=None)
    with_others = TemplateBuilder(rows, state=replace(builder.state, demonstrations=1))
    assert with_others.summary().text == said.text
    builder.edit("target", "{{ answer }}{{ nothing }}")
    assert "nothing" in builder.summary().text and "too long" not in builder.summary().text


def test_columns_are_put_in_and_taken_out_of_a_text():
    text = edits.toggled("{{ question }}", "author", False)
    assert text == "{{ question }}\nAuthor: {{ author }}" and edits.toggled(text, "author", True) == "{{ question }}"
    assert edits.toggled("", "a-b", False) == "{{ a_b }}"
    assert edits.toggled("By {{author}}, {{ question }}", "author", True) == "By , {{ question }}"
    assert edits.toggled("{{ author | upper }}", "author", True) == "{{ author | upper }}", "an expression is left alone"
    assert edits.respelled("{{ qestion }} 'qestion' x.qestion", "qestion", "question") == "{{ question }} 'qestion' x.qestion"


def test_wordings_are_added_picked_and_removed(builder):
    builder.add()
    assert builder.state.picked == 3 and builder.state.templates[3]["name"] == "wording 4"
    builder.edit("input", "New: {{ question }}")
    assert builder.task["wording 4"].input == "New: {{ question }}" and builder.task["short"] == TASK["short"]
    builder.remove()
    builder.pick(1)
    assert builder.task == TASK and builder.summary().kind == "ok"
    for _ in range(5):
        builder.remove()
    assert len(builder.state.templates) == 1


OPTIONS = [{}, {"use": "one", "demonstrations": 2}, {"use": "all", "inverted": True},
           {"demonstrations": 1, "as_turns": True, "system": "Kind."},
           {"chat": False, "demonstrations": 1, "completions_only": False, "picked": 2}, {"system": "", "inverted": True, "seed": 3}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_code_gives_what_the_panel_shows(tmp_path, options):
    path = tmp_path / "letters.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in LETTERS))
    builder = TemplateBuilder(str(path), TASK, max_length=1024)
    builder.state = replace(builder.state, **options)
    names: dict = {}
    exec(builder.code(), names)
    builder.use()
    assert builder.errands.wait(60) and builder._fault is None, builder._fault
    assert names["task"] == builder.task == task_of(builder.state)
    assert names["admitted"].table.equals(builder.admitted.table) and names["recipe"].data is names["admitted"].table
    assert builder.summary().text.startswith("In use: panel.admitted.table holds")
    sample, _ = builder._look()
    by_place = list(zip(names["admitted"].table["row"].to_pylist(), names["admitted"].table["template"].to_pylist(), strict=True))
    for place in (0, len(sample.masks) - 1):
        where = by_place.index((sample.examples.rows[place], sample.examples.templates[place]))
        assert len(sample.masks[place]) == names["admitted"].judged.lengths[where], "the sample is what training gets"


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_state_survives_json(tmp_path, options):
    path = tmp_path / "letters.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in LETTERS))
    builder = TemplateBuilder(str(path), TASK, max_length=200)
    builder.state = replace(builder.state, **options)
    again = TemplateBuilder.from_json(builder.state_json())
    assert again.state == builder.state and again.task == builder.task and again.summary() == builder.summary()
    assert json.dumps(again.figure("narrow"), default=list) == json.dumps(builder.figure("narrow"), default=list)


def test_a_promptsource_file_comes_back_byte_for_byte(real_data, tmp_path):
    rows = [{"text": f"Film {n} was fine.", "label": n % 2} for n in range(50)]
    source = real_data / "promptsource" / "rotten_tomatoes.yaml"
    builder = TemplateBuilder(rows, str(source))
    assert builder.summary().kind == "ok" and len(builder.state.templates) == 10
    builder.write_file(str(tmp_path / "again.yaml"))
    assert builder.errands.wait(20) and (tmp_path / "again.yaml").read_bytes() == source.read_bytes()
    builder.pick(3)
    name = builder.state.templates[3]["name"]
    builder.edit("input", "Now: {{ text }}")
    builder.write_file(str(tmp_path / "changed.yaml"))
    assert builder.errands.wait(20)
    before, after = promptsource.read(source), promptsource.read(tmp_path / "changed.yaml")
    assert [old.name for old, new in zip(before.templates, after.templates, strict=True) if old != new] == [name]
    assert after[name] == replace(before[name], input="Now: {{ text }}")
    names: dict = {"rows": rows}
    exec(builder.code(), names)
    assert names["task"] == builder.task and TemplateBuilder.from_json(builder.state_json(), rows=rows).task == builder.task
    builder.option("system", "Be kind.")
    builder.write_file(str(tmp_path / "never.yaml"))
    assert builder.errands.wait(20) and builder._fault.control == "file" and "system prompt" in builder._fault.sentence


def test_a_task_keeps_what_its_file_says_of_the_data_set(real_data, tmp_path):
    source = real_data / "promptsource" / "super_glue__rte.yaml"
    rows = [{"premise": "A dog runs.", "hypothesis": f"{n} animals move.", "label": n % 2} for n in range(5)]
    builder = TemplateBuilder(rows, promptsource.read(source))
    builder.write_file(str(tmp_path / "again.yaml"))
    assert builder.errands.wait(20) and (tmp_path / "again.yaml").read_bytes() == source.read_bytes()
    names: dict = {"rows": rows}
    exec(builder.code(), names)
    assert (names["task"].dataset, names["task"].subset) == ("super_glue", "rte") and names["task"] == builder.task


def test_every_promptsource_file_can_be_opened(real_data):
    for path in sorted((real_data / "promptsource").glob("*.yaml")):
        state = edits.with_file(State(), path.read_text(encoding="utf-8"), str(path))
        assert promptsource.dumps(task_of(state)) == path.read_text(encoding="utf-8"), path.name
        assert task_of(state) == promptsource.read(path), path.name


# ---- the live parts, without a page

def test_use_counts_all_rows_and_can_be_refused_or_cancelled(builder):
    builder.option("max_length", 96)
    builder.use()
    assert builder.errands.wait(60) and builder.admitted is None and "have no token to train on" in builder._fault.sentence
    assert builder._fault.control == "use" and builder.summary().kind == "warn"
    builder.option("max_length", 256)
    many = TemplateBuilder(LETTERS * 40, TASK, max_length=256)
    many.widget  # noqa: B018 (Cancel is on it)
    cancelled = []
    many.busy = lambda words_, done=0, total=None, cancel=None: cancelled.append((done, total)) or (cancel and cancel())
    many.use()
    assert many.errands.wait(60) and many.admitted is None and many._fault is None
    assert [entry[1] for entry in cancelled if entry[1]] == [6400], "it ended at the first look after Cancel"


def test_a_selection_shows_a_row_and_a_row_is_a_selection(builder):
    builder.widget  # noqa: B018
    assert builder.errands.wait(20)
    builder.scrub(4)
    order = builder._sample.order
    assert builder.state.row == order[4] and builder.selection["examples"] == {builder.state.row}
    builder.selection.set("examples", {11})
    assert builder.errands.wait(20) and builder.state.row == 11 and builder.made.example.heading == "Row 12 of 160"
    builder.selection.set("examples", {5000})
    assert builder.state.row == 11


def test_a_row_outside_the_sample_is_shown_too():
    builder = TemplateBuilder(LETTERS * 10, TASK, max_length=256)
    first = builder._look()[0]
    outside = next(row for row in range(1600) if row not in first.examples.rows)
    builder.state.row = outside
    shown = builder._shown(builder._look()[0])
    assert shown.row == outside and shown.of == 160


def test_a_field_that_is_written_in_is_never_set_back(builder):
    builder.widget  # noqa: B018
    assert builder.errands.wait(20)
    builder.made.input.value = "Q: {{ question }}"
    assert builder.errands.wait(20)
    assert builder.made.input.value == "Q: {{ question }}" == builder.state.templates[0]["input"]
    assert ("user", f"Q: {LETTERS[0]['question']}") in [tuple(turn) for turn in builder.made.example.turns]
    builder.made.chips["author"].value = True
    assert builder.errands.wait(20) and builder.made.input.value == "Q: {{ question }}\nAuthor: {{ author }}"
    builder.made.toggles.value = 1
    assert builder.errands.wait(20) and builder.made.name.value == "question first" and builder.made.chips["author"].value is False


def test_what_rows_and_templates_hold_is_text_in_what_stays():
    task = Task(name=BAD, system=BAD, templates=(Template(name=BAD, input="{{ question }} " + BAD, target="{{ answer }}"),))
    builder = TemplateBuilder([{"question": f"{BAD} {n}", "answer": BAD, BAD: "x"} for n in range(5)], task, max_length=1024)
    page = builder.static_html()
    assert "<img" not in page and "<script" not in page and html.escape("<script>hacked()") in page
    assert not any("<img" in note["text"] or "<script" in note["text"] for note in builder.figure()["layout"]["annotations"])
    builder.widget  # noqa: B018
    assert builder.made.chips[BAD].description.replace("\N{FULLWIDTH DOLLAR SIGN}", "$") == BAD and not builder.made.example.stale


def test_what_stays_is_readable_without_a_kernel(builder):
    page = builder.static_html()
    assert "<svg" in page and html.escape(builder.summary().text) in page and "struck: cut off" in page
    assert "Row 1 of 160" in page and "letter only" in page


def test_moving_a_slider_answers_within_a_frame(builder, capsys):
    """Kernel work for one position of the row slider, and of max length: figure, sentence, code, example and controls."""
    builder.widget  # noqa: B018
    assert builder.errands.wait(20)
    taken = []
    for rank in range(30):
        begun = time.thread_time()
        builder.scrub(rank + 20)
        taken.append(1000 * (time.thread_time() - begun))
    for limit in range(200, 230):
        begun = time.thread_time()
        builder.state.max_length = limit
        builder._again()
        taken.append(1000 * (time.thread_time() - begun))
    with capsys.disabled():
        print(f"\na slider of the template builder: median {statistics.median(taken):.1f} ms, worst {max(taken):.1f} ms of kernel work")
    assert statistics.median(taken) <= 20


def test_it_opens_without_the_heavy_packages():
    code = ("import sys\nfrom widgets import TemplateBuilder\nb = TemplateBuilder([{'question': 'q', 'answer': 'a'}] * 3)\n"
            "b.code(); b.state_json()\nprint({'torch', 'transformers', 'trl', 'datasets', 'ipykernel'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "set()", done.stderr or done.stdout
