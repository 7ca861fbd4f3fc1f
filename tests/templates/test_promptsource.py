"""promptsource's files round trip byte for byte; rows render as their authors rendered them, and as plain Jinja does by its rules."""

from __future__ import annotations

import itertools
import json
import re

import jinja2
import pytest
import yaml

from workbench.errors import DataError
from workbench.templates import promptsource
from workbench.templates.sandbox import Compiled
from workbench.templates.tasks import PROTECTED, Task, Template, drawing

ABCD = {"text": ["a river", "a road", "the sea", "a hill"], "label": ["A", "B", "C", "D"]}
SENTENCES = {"premise": "Mira bakes bread. She sells it.", "hypothesis": "Mira is a baker.", "label": 1}
ROWS = {
    "ag_news": {"text": "Shares rose ||| again. " * 150, "label": 2},
    "ai2_arc__ARC-Easy": {"question": "Where do boats sail?", "choices": ABCD, "answerKey": "C"},
    "anli": SENTENCES,
    "cnn_dailymail__3.0.0": {"article": "A long day. " * 300, "highlights": "A day .\nIt was long ."},
    "commonsense_qa": {"question": "Where do boats sail?", "answerKey": "B",
                       "choices": {key: [*some, some[0] + "!"] for key, some in ABCD.items()}},
    "dbpedia_14": {"title": "Holra", "content": " Holra is a village by the sea.", "label": 8},
    "glue__qqp": {"question1": "How is bread baked?", "question2": "How do you bake bread?", "label": 1},
    "hellaswag": {"ctx": "A man kneads. he", "ctx_a": "A man kneads.", "ctx_b": "he", "activity_label": "Baking", "label": "2",
                  "endings": ["bakes.", "sings.", "sleeps.", "swims."]},
    "multi_news": {"document": "First story.|||||Second story.|||||", "summary": "– Two stories."},
    "openbookqa__main": {"question_stem": "Boats sail on", "choices": ABCD, "answerKey": "C"},
    "piqa": {"goal": "open a jar", "sol1": "turn the lid", "sol2": "turn the table", "label": 0},
    "rotten_tomatoes": {"text": "a quiet, lovely film .", "label": 1},
    "sciq": {"question": "What do plants need?", "support": "", "correct_answer": "light", "distractor1": "salt", "distractor2": "iron",
             "distractor3": "noise"},
    "social_i_qa": {"context": "Tom thanked Ann.", "question": "How would Ann feel?", "answerA": "glad", "answerB": "cold",
                    "answerC": "lost", "label": "1"},
    "squad_v2": {"title": "Velish_bread", "context": "Mira bakes bread in Holra.", "question": "Who bakes?",
                 "answers": {"text": ["Mira"], "answer_start": [0]}},
    "super_glue__cb": SENTENCES | {"label": -1},
    "super_glue__rte": SENTENCES,
    "trec": {"text": "How far is Holra ?", "coarse_label": 5, "fine_label": 40},
    "wiki_qa": {"question": "who bakes bread", "answer": "Mira bakes bread.", "document_title": "Bread", "label": 1},
    "yelp_review_full": {"text": "Good bread.\\nBad tea.", "label": 3},
}
"""One made row for each of the twenty files; ag_news and cnn_dailymail are longer than what promptsource keeps of a text."""


def files(real_data):
    found = sorted((real_data / "promptsource").glob("*.yaml"))
    assert [path.stem for path in found] == sorted(ROWS)
    return found


def by_promptsources_rules(template: Template, row: dict, choose) -> list[str]:
    """The rules of promptsource's `Template.apply` on plain Jinja: the cut is put into the text of the template, before each `}}`."""
    environment = jinja2.Environment()
    environment.globals["zip"] = zip
    environment.filters["choice"] = choose
    safe = {name: value.replace("|||", PROTECTED) if isinstance(value, str) else value for name, value in row.items()}
    choices = None
    if template.answer_choices is not None:
        text = environment.from_string(template.answer_choices).render(**safe)
        choices = [choice.strip().replace(PROTECTED, "|||") for choice in text.split("|||")]
    source = template.jinja.replace("}}", " | string | truncate(2048) }}")
    text = environment.from_string(source).render(**safe, answer_choices=choices)
    return [part.replace(PROTECTED, "|||").strip() for part in text.split("|||")]


def test_every_file_round_trips_byte_for_byte(real_data, tmp_path):
    for path in files(real_data):
        task = promptsource.read(path)
        promptsource.write(task, tmp_path / path.name)
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
        assert promptsource.read(tmp_path / path.name) == task
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files(real_data)}, "nothing else is left beside the files"


def test_every_template_reads_only_columns_of_its_data_set(real_data):
    counts = {}
    for path in files(real_data):
        task = promptsource.read(path)
        counts[path.stem] = len(task.templates)
        for template in task.templates:
            template.check(ROWS[path.stem])
    assert sum(counts.values()) == 181 and counts["trec"] == 18  # grep -c 'jinja:' of the files


@pytest.mark.parametrize("stem", sorted(ROWS))
def test_each_template_renders_as_promptsource_renders_it(real_data, stem):
    row, cut = ROWS[stem], 0
    for template in promptsource.read(real_data / "promptsource" / f"{stem}.yaml").templates:
        theirs = by_promptsources_rules(template, row, drawing("a", "draw"))
        assert template.parts(row, drawing("a", "draw")) == theirs, template.name
        cut += sum(part.count("...") for part in theirs)
    if stem in ("ag_news", "cnn_dailymail__3.0.0"):
        assert cut >= 7, "long texts were to be cut"


def prompted(real_data, name: str) -> list[tuple[str, str]]:
    """(input, target) as promptsource's authors rendered them; the file's own line end and end token taken off."""
    with (real_data / "t0_prompted" / f"{name}.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert all(row["prompt"].endswith("\n") and row["completion"].endswith("<|endoftext|>") for row in rows) and len(rows) == 200
    return [(row["prompt"][:-1], row["completion"].removesuffix("<|endoftext|>")) for row in rows]


NEWS_QUESTION = "What label best describes this news article?"
NEWS = ("World politics", "Sports", "Business", "Science and technology")


def news_rows(real_data) -> list[dict]:
    """The rows behind the files: the text with what stands before it from one template, with what stands behind it from another."""
    rows = []
    question_last, question_first = (prompted(real_data, f"ag_news_{name}") for name in ("classify", "classify_question_first"))
    for (last, target), (first, _) in zip(question_last, question_first, strict=True):
        text, behind = last.removesuffix(f"\n{NEWS_QUESTION}"), first.removeprefix(f"{NEWS_QUESTION}\n")
        assert text.strip() == behind.strip() and text.endswith(" ")
        rows.append({"text": text[:-1], "label": NEWS.index(target)})
    return rows


def test_news_of_t0_is_rendered_as_its_authors_did(real_data):
    task, rows = promptsource.read(real_data / "promptsource" / "ag_news.yaml"), news_rows(real_data)
    for name in ("classify", "classify_question_first", "classify_with_choices", "classify_with_choices_question_first"):
        theirs = prompted(real_data, f"ag_news_{name}")
        ours = [task[name].render(row) for row in rows]
        assert [(made.input, made.target) for made in ours] == theirs, name
        assert all(made.choices == NEWS for made in ours)


def test_reviews_of_t0_are_rendered_as_their_authors_did(real_data):
    task = promptsource.read(real_data / "promptsource" / "rotten_tomatoes.yaml")
    source = prompted(real_data, "rotten_tomatoes_Text_Expressed_Sentiment")
    rows = [{"text": made.removesuffix(" What is the sentiment expressed in this text?"), "label": ("negative", "positive").index(target)}
            for made, target in source]
    assert not any("What is the sentiment" in row["text"] for row in rows)
    for template in task.templates:
        theirs = prompted(real_data, "rotten_tomatoes_" + template.name.replace(" ", "_"))
        assert [(made.input, made.target) for made in map(template.render, rows)] == theirs, template.name
    assert len(task.templates) == 10


SCIENCE = re.compile(r"(?:Answer the following question given this paragraph: \n\n(?P<support>.*?)\n\n\n)?"
                     r"Q: (?P<question>.*?)\n\n\n? Choices:\n\n"
                     r"- (?P<c0>.*?)\n\n- (?P<c1>.*?)\n\n- (?P<c2>.*?)\n\n- (?P<c3>.*?)\n\nA:", re.DOTALL)


@pytest.mark.parametrize("name", ["Multiple Choice", "Multiple Choice (Closed Book)"])
def test_science_questions_of_t0_with_their_drawn_order_and_their_cut(real_data, name):
    """The order was drawn when they rendered; drawn so again, the text is theirs. A paragraph they cut is cut where they cut it."""
    template = promptsource.read(real_data / "promptsource" / "sciq.yaml")[name]
    cut = lost = 0
    for made, answer in prompted(real_data, "sciq_" + re.sub(r"[ ()]+", "_", name)):
        found = SCIENCE.fullmatch(made)
        shown = [found[f"c{place}"] for place in range(4)]
        if answer in shown:  # the wrong ones are numbered as they stand
            order = [0, 1, 2]
            order.insert(shown.index(answer), 3)
            wrong = [choice for choice in shown if choice != answer]
        else:  # one of the template's orders is [2, 1, 0, 2] and loses the answer
            order, wrong, lost = [2, 1, 0, 2], [shown[2], shown[1], shown[0]], lost + 1
            assert shown[3] == shown[0]
        support = found["support"] or ""
        if len(support) > 2000 and support.endswith("..."):
            cut += 1
            support = f"{support[:-3]} {'x' * 3000}"
        row = {"question": found["question"], "support": support, "correct_answer": answer}
        row |= {f"distractor{place + 1}": choice for place, choice in enumerate(wrong)}

        def as_they_drew(orders, order=order):
            assert order in orders, "one of the template's orders"
            return order
        assert template.parts(row, as_they_drew) == [made, answer]
    assert cut == (3 if name == "Multiple Choice" else 0) and 2 <= lost <= 20


def test_filters_of_promptsource():
    def written(source, **row):
        return Compiled(source, strict=False).render(row, drawing(0))

    assert written("{{ items | most_frequent | join(',') }}", items=["b", "a", "b", "c", "a"]) == "b,a"
    assert written("{{ [] | most_frequent }}") == "None"
    assert written("{{ 'x' | highlight }}") == "<span style='color: #F08080'>x</span>"
    assert {Compiled("{{ [1, 2, 3] | choice }}").render({}, drawing(seed)) for seed in range(40)} == {"1", "2", "3"}, "drawn anew each time"


def test_a_missing_column_writes_nothing_and_an_empty_template_leaves_the_row_out():
    task = promptsource.loads(promptsource.dumps(Task(name="t", templates=(
        Template(name="a", input="[{{ nothing }}]", target="{{ x }}"),
        Template(name="b", input="{% if x %}A", target="B{% endif %}")))))
    assert task["a"].parts({"x": 1}) == ["[]", "1"]
    assert task["b"].parts({"x": 0}) == [""] and task["b"].render({"x": 0}) is None
    assert task["b"].parts({"x": 1}) == ["A", "B"]


def test_what_a_row_has_of_separators_stays_its_own():
    template = Template.from_jinja("t", "{{ a }} ||| {{ answer_choices[1] }}", answer_choices="{{ a }} ||| no")
    assert template.parts({"a": "x ||| y"}) == ["x ||| y", "no"]
    assert template.choices({"a": "x ||| y"}) == ["x ||| y", "no"]
    with pytest.raises(DataError, match="answer_choices"):
        template.parts({"a": "", "answer_choices": []})


def test_shared_metadata_stays_shared_and_unknown_keys_stay(tmp_path):
    text = ("contributors: [ada]\ndataset: d\nsubset: null\ntemplates:\n"
            "  i: !Template {answer_choices: null, id: i, jinja: 'a ||| b', metadata: &m !TemplateMetadata {metrics: [BLEU], odd: 1}, "
            "name: n, reference: null, task_template: true}\n"
            "  j: !Template {answer_choices: null, id: j, jinja: 'c', metadata: *m, name: o, reference: ''}\n")
    task = promptsource.loads(text)
    written = promptsource.dumps(task)
    assert "&id001" in written and "*id001" in written and "task_template: true" in written and "odd: 1" in written
    assert yaml.safe_load(re.sub(r"!\w+", "", written)) == yaml.safe_load(re.sub(r"!\w+", "", text))
    assert promptsource.loads(written) == task
    assert task["o"].target is None and task["o"].jinja == "c"


def test_a_task_of_ours_is_written_for_promptsource_with_ids_that_stay():
    task = Task(name="town", templates=(Template(name="ask", input="Q: {{ q }}\r\n", target=" {{ a }}"),))
    again = promptsource.loads(promptsource.dumps(task))
    assert promptsource.dumps(task) == promptsource.dumps(task) and promptsource.dumps(again) == promptsource.dumps(task)
    assert again["ask"].jinja == "Q: {{ q }}\r\n||| {{ a }}" and again["ask"].longest == 2048 and not again["ask"].strict
    with pytest.raises(DataError, match="system prompt"):
        promptsource.dumps(Task(name="town", templates=task.templates, system="Be kind."))
    with pytest.raises(DataError, match="two templates"):
        promptsource.dumps(Task(name="town", templates=task.templates * 2))


GOOD = "dataset: d\ntemplates:\n  i: !Template {answer_choices: null, id: i, jinja: 'a ||| b', metadata: null, name: n, reference: ''}\n"


@pytest.mark.parametrize(("text", "says"), [
    ("templates: [\n  a", r"f\.yaml, line 2"),
    ("- 1", "no mapping 'templates'"),
    ("dataset: d\ntemplates: {i: {name: n}}", "'i' is no !Template"),
    (GOOD.replace("dataset: d\n", ""), "no 'dataset'"),
    (GOOD.replace("'a ||| b'", "3"), "no text under 'jinja'"),
    (GOOD.replace("id: i,", "id: k,"), "another id, 'k'"),
    (GOOD.replace(", reference: ''", ""), "no 'reference'"),
    ("a: !!python/object/apply:os.getcwd []\n" + GOOD, "line 1, column 4: .*python/object/apply:os.getcwd"),
    ("a: 2021-13-45\n" + GOOD, "not YAML that promptsource writes"),
    ("[" * 5000, "not YAML that promptsource writes"),
])
def test_a_file_that_is_none_is_told_in_a_sentence(tmp_path, text, says):
    path = tmp_path / "f.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=says) as caught:
        promptsource.read(path)
    assert caught.value.remedy and "f.yaml" in str(caught.value)
    assert promptsource.loads(GOOD)["n"].jinja == "a ||| b"


def test_files_that_cannot_be_read_or_written(tmp_path):
    (tmp_path / "latin.yaml").write_bytes("templates: é".encode("latin-1"))
    with pytest.raises(DataError, match="byte 12"):
        promptsource.read(tmp_path / "latin.yaml")
    with pytest.raises(DataError, match="No such file"):
        promptsource.read(tmp_path / "none.yaml")
    with pytest.raises(DataError, match="cannot be written"):
        promptsource.write(promptsource.loads(GOOD), tmp_path / "latin.yaml" / "below.yaml")
    assert list(itertools.chain(tmp_path.iterdir())) == [tmp_path / "latin.yaml"]
