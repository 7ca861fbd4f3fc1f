"""Rows made by the town's model, a run's result and an endpoint, and what counts as a generator."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

import workbench as wb
from tests.data.test_synthesis import PAIRS, Scripted, solver, trains
from workbench.data import generators, making, synthesis
from workbench.data.endpoint import Cut
from workbench.errors import DataError, WorkbenchError
from workbench.runs.run import Run


def test_the_towns_model_by_name_and_as_a_pair_writes_the_same_rows_twice():
    import torch

    state = torch.random.get_rng_state()
    runs = [synthesis.self_instruct("town:instructions", source, demonstrations=4, max_tokens=40).make(3)
            for source in ("town", wb.load("town"))]
    texts = [[(row["question"], row["answer"]) for row in trains(made)] for made in runs]
    assert texts[0] == texts[1] and len(texts[0]) == 3 and all(all(row) for row in texts[0])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert trains(runs[0])[0]["generator"] == "town 0.7 40 0" and runs[0].counts.total() >= 3
    with pytest.raises(DataError, match="tokens long, and town has room for .*demonstrations"):
        synthesis.question_answers(["word " * 3000], "town", passage_words=5000).make()


def test_the_result_of_a_run(tmp_path):
    import json

    from workbench.town import base_folder

    with pytest.raises(WorkbenchError):
        synthesis.rewrite(PAIRS, Run(tmp_path / "nothing"))
    folder = tmp_path / "a-run"
    shutil.copytree(base_folder(), folder / "result")
    (folder / "recipe.json").write_text(json.dumps(wb.Recipe().to_json()))
    rows = [{"question": "What pet does Tampefin have?", "answer": "A ferret."}]
    made = synthesis.rewrite(rows, Run(folder), max_tokens=16, temperature=0).make()
    assert made.asked == 1 == made.counts.total() and made.generator.called == "a-run"


def test_an_endpoint_is_asked_several_at_a_time_and_the_key_is_kept_nowhere(tmp_path, monkeypatch):
    from tests.data.test_endpoint import KEY, Server, completion

    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    server = Server(completion("Q: What does Tolva mend?\nA: Clocks."))
    try:
        asked = wb.Endpoint(server.address, "small", "THE_KEY")
        made = synthesis.question_answers(["Tolva mends clocks.", "Tolva mends old clocks."], asked, kept=tmp_path / "replies.jsonl").make()
    finally:
        server.server.shutdown()
        server.server.server_close()
    assert made.workers == 8 and len(server.seen) == 2 and dict(made.counts) == {"kept": 1, making.NEAR: 1}
    assert trains(made)[0]["generator"] == f"{server.address} small 0"
    assert KEY not in (tmp_path / "replies.jsonl").read_text() + repr(made.rows.to_pylist())


def test_a_generator_is_found_in_what_is_given():
    function = Scripted()
    assert generators.generator_of(function, 7) is function and generators.name_of(solver) == "solver"
    assert generators.LocalModel(lambda: None, "x", seed=1).name != generators.LocalModel(lambda: None, "x", seed=2).name


def test_making_rows_is_light_until_it_begins():
    code = ("import sys\nfrom workbench.data import synthesis\nsynthesis.identify('a', 'b')\n"
            "print([name for name in ('torch', 'transformers', 'datasets', 'sklearn') if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_generators_say_what_they_cut_off():
    from tests.data.test_endpoint import Server, completion

    pair = wb.load("town")
    question = "Which game does Ronamar like best?"
    whole, cut = (generators.generator_of(pair, temperature=0, max_tokens=most)(question) for most in (64, 3))
    assert not isinstance(whole, Cut) and isinstance(cut, Cut) and whole.startswith(cut)
    status, headers, body = completion("so far")
    server = Server((status, headers, body.replace('{"message"', '{"finish_reason": "length", "message"')), completion("done"))
    try:
        first, second = (wb.Endpoint(server.address, "small", "NO_KEY")("?") for _ in range(2))
    finally:
        server.server.shutdown()
        server.server.server_close()
    assert (first, second) == ("so far", "done") and isinstance(first, Cut) and not isinstance(second, Cut)
