"""Questions taken from rows of every layout and answered by a model; questions during a run are in `tests/runs`."""

from __future__ import annotations

import pytest

import workbench as wb
from workbench.probes import questions

LAYOUTS = {
    "question/answer": {"question": "Who bakes bread?", "answer": "Orla"},
    "instruction": {"instruction": "Who bakes bread?", "input": "", "output": "Orla"},
    "messages": {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who bakes bread?"},
                              {"role": "assistant", "content": "Orla"}]},
    "ShareGPT": {"conversations": [{"from": "human", "value": "Who bakes bread?"}, {"from": "gpt", "value": "Orla"}]},
    "prompt/completion": {"prompt": "Who bakes bread?", "completion": " Orla"},
    "text": {"text": "Who bakes bread? Orla bakes the"},
}


@pytest.fixture(scope="module")
def town():
    return wb.load("town")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_every_layout_are_asked(town, layout):
    assert questions([LAYOUTS[layout]]) == ["Who bakes bread?"]
    assert len(wb.Probes(*town).replies([LAYOUTS[layout]], max_new_tokens=2)) == 1


def test_a_reply_is_the_one_to_the_question_alone(town):
    probes = wb.Probes(*town)
    rows = [LAYOUTS["question/answer"], LAYOUTS["question/answer"] | {"question": "Where does Orla live?"}]
    assert probes.replies(rows, max_new_tokens=6) == [probes.generate(row["question"], 6) for row in rows]


def test_a_tokenizer_without_a_chat_template_is_given_the_bare_question(town):
    import copy

    model, tokenizer = town
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = None
    probes = wb.Probes(model, plain)
    assert probes.replies([LAYOUTS["messages"]], max_new_tokens=4) == [probes.generate("Who bakes bread?", 4, raw=True)]


def test_rows_of_no_layout_are_refused(town):
    with pytest.raises(wb.DataError, match="no layout known"):
        questions([{"frage": "Wer?", "antwort": "Orla"}])
