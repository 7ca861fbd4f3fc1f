"""Rewards of replies: models, functions, endpoints and the town, in this process and in one of their own, which may die."""

from __future__ import annotations

import http.server
import json
import threading

import numpy as np
import psutil
import pytest

from workbench import town
from workbench.alignment import known_code
from workbench.alignment.policy_objectives import GRPO
from workbench.errors import RecipeError, RunError, WorkbenchError
from workbench.evaluation import rewards as evaluation
from workbench.models import reward
from workbench.training.scoring import KEY, open_scorer

PROMPTS = [[{"role": "user", "content": text}] for text in ("What does Mira bake?", "Who sells fish?", "Is it late?")]
REPLIES = ["Mira bakes bread.", "Tomas does, on the market.", "It is."]
REFERENCES = ["Bread.", "", "Yes."]

FUNCTIONS = '''
def words(prompt, reply):
    print("noise on standard output", flush=True)
    return len(reply.split())

def right(prompt, reply, reference=""):
    return reply == reference

def broken(prompt, reply):
    return {"Who sells fish?": None}.get(prompt, 1.0)

def raises(prompt, reply):
    return 1 / (len(prompt) - len("Who sells fish?"))

def leaves(prompt, reply):
    import os, sys
    sys.stderr.write("no more memory here\\n")
    sys.stderr.flush()
    os._exit(9)

def waits(prompt, reply):
    import pathlib, time
    while not pathlib.Path(prompt).exists():
        time.sleep(0.005)
    return 1.0
'''


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    path = tmp_path_factory.mktemp("functions") / "given.py"
    path.write_text(FUNCTIONS)
    known_code.note(path)  # as a start that names it does
    return path


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A reward model of two heads, as it comes out of no training."""
    import torch

    torch.manual_seed(0)
    model, tokenizer = reward.load(town.base_folder("small"), ["helpful", "polite"])
    folder = tmp_path_factory.mktemp("judge")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_models_functions_and_the_town_score_what_they_say(judge, functions) -> None:
    """A model as `evaluation.score` reads it: each head, and alone their mean."""
    settings = GRPO(rewards={"both": judge, "polite": f"{judge}#polite", "words": f"{functions}:words", "right": f"{functions}:right"})
    with open_scorer(settings) as scorer:
        first, second = scorer.submit(PROMPTS[:1], ["Bread."], REFERENCES[:1]), scorer.submit(PROMPTS, REPLIES, REFERENCES)
        found = scorer.collect(second)
        assert scorer.collect(first)["right"] == [1.0]
        waits = scorer.take_waits()
    expected = evaluation.score(str(judge), [prompt[0]["content"] for prompt in PROMPTS], REPLIES)
    np.testing.assert_array_equal(found["polite"], expected[:, 1])
    np.testing.assert_allclose(found["both"], expected.mean(1), rtol=1e-6)
    assert list(found["words"]) == [3, 5, 2] and list(found["right"]) == [0, 0, 0] and found["words"].dtype == np.float32
    assert waits["policy"] > 0 and waits["reward"] >= 0 and scorer.take_waits() == {"policy": 0.0, "reward": 0.0}


def test_the_town_grades_and_gold_is_only_watched() -> None:
    request = town.rows("conduct_heldout")[0]
    prompt = [{"role": "user", "content": request["question"]}]
    with open_scorer(GRPO(rewards={"harm": "town:harmless"}, gold="town")) as scorer:
        assert scorer.gold([prompt] * 2, [request["answer"], "zzz"])[0] > scorer.gold([prompt], ["zzz"])[0]
        assert list(scorer.collect(scorer.submit([prompt], [request["answer"]]))) == ["harm"]
        with pytest.raises(RunError, match="'gold', the town's gold, raised ValueError.*Is it late"):
            scorer.gold(PROMPTS[2:], ["It is."])


@pytest.mark.parametrize(("function", "what"), [("broken", "gave None for"), ("raises", "raised ZeroDivisionError: .*line 13 of given")])
def test_a_function_that_fails_is_named_with_its_row(functions, function: str, what: str) -> None:
    sentence = f"The reward 'odd', {function} of given.py, {what}.*the reply 'Tomas does, on the market.' to 'Who sells fish.'"
    with open_scorer(GRPO(rewards={"odd": f"{functions}:{function}"})) as scorer, pytest.raises(RunError, match=sentence):
        scorer.submit(PROMPTS, REPLIES)


def test_an_own_process_gives_the_same_numbers_whatever_functions_print(judge, functions, tmp_path) -> None:
    rewards = {"polite": f"{judge}#polite", "words": f"{functions}:words"}
    with open_scorer(GRPO(rewards=rewards)) as here, open_scorer(GRPO(rewards=rewards, own_process=True), tmp_path) as there:
        expected, found = (scorer.collect(scorer.submit(PROMPTS, REPLIES, REFERENCES)) for scorer in (here, there))
        child = psutil.Process(there._child.pid)
        child.kill()
        with pytest.raises(RunError, match="The process that scores rewards was ended by signal 9"):
            there.collect(there.submit(PROMPTS, REPLIES))
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
    assert "noise on standard output" in (tmp_path / "rewards.log").read_text()


def test_the_policy_goes_on_while_an_own_process_scores(functions, tmp_path) -> None:
    """The reward waits for a file that is only made after `submit` has returned: in one process that would never end."""
    go = tmp_path / "go"
    with open_scorer(GRPO(rewards={"waits": f"{functions}:waits"}, own_process=True)) as scorer:
        ticket = scorer.submit([[{"role": "user", "content": str(go)}]], ["now"])
        go.touch()
        assert scorer.collect(ticket)["waits"] == [1.0]
        scorer.collect(scorer.submit([[{"role": "user", "content": str(go)}]], ["now"]))
        waits = scorer.take_waits()
        child = psutil.Process(scorer._child.pid)
    assert waits["policy"] > 0 and waits["reward"] > 0
    assert not child.is_running(), "it outlives its scorer"


def test_a_process_that_dies_is_reported_with_its_last_words(functions, tmp_path) -> None:
    with open_scorer(GRPO(rewards={"bye": f"{functions}:leaves"}, own_process=True), tmp_path) as scorer:
        ticket = scorer.submit(PROMPTS, REPLIES)
        with pytest.raises(RunError, match='The process that scores rewards ended with status 9; its last words: "no more memory here"'):
            scorer.collect(ticket)
        with pytest.raises(RunError, match="ended with status 9"):
            scorer.submit(PROMPTS, REPLIES)
    with pytest.raises(RunError, match="no such function"):
        open_scorer(GRPO(rewards={"none": f"{functions}:none"}, own_process=True))
    with pytest.raises(RecipeError, match="function in memory"):
        open_scorer(GRPO(rewards={"here": lambda prompt, reply: 1.0}, own_process=True))


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with the words of each reply, or with what the class is told."""

    answer: dict | None = None
    asked: list = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, self.headers.get("Authorization"), body))
        content = json.dumps(self.answer or {"rewards": [len(reply.split()) for reply in body["replies"]]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_arguments) -> None:
        pass


def test_an_endpoint_is_sent_whole_conversations_and_its_key_alone(monkeypatch) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(KEY, "a-key")
    try:
        with open_scorer(GRPO(rewards={"far": f"http://127.0.0.1:{server.server_port}/score"})) as scorer:
            assert list(scorer.collect(scorer.submit(PROMPTS, REPLIES, REFERENCES))["far"]) == [3, 5, 2]
            assert Server.asked == [("/score", "Bearer a-key", {"prompts": PROMPTS, "replies": REPLIES, "references": REFERENCES})]
            for answer in ({"rewards": [1, 2]}, {"rewards": [1, 2, None]}, {"scores": [1, 2, 3]}):
                Server.answer = answer
                with pytest.raises(RunError, match="'far' at http.* did not answer with a finite number for each of 3 replies"):
                    scorer.submit(PROMPTS, REPLIES)
    finally:
        server.shutdown()
        server.server_close()


def test_a_reward_that_cannot_be_had_says_so(tmp_path) -> None:
    with pytest.raises(WorkbenchError, match="no such folder"):
        open_scorer(GRPO(rewards={"gone": str(tmp_path / "gone")}))
