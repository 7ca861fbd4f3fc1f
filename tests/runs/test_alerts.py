"""Alerts against a real HTTP server on this machine and a function written by hand: of a run that really failed, finished, went wrong,
was killed; and where the address does not go."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import workbench as wb
from tests.runs import tools
from workbench import webhook
from workbench.errors import RunError
from workbench.journal import events as ev
from workbench.runs import alerts
from workbench.runs.run import Run
from workbench.training import telling
from workbench.training.writer import Journal, started

SECRET = "hooks-4b1d07e2"
"""The part of the address that only its owner knows."""
ROWS = [{"prompt": f"Who is number {n}?", "completion": "A baker " * (1 + n % 5)} for n in range(24)]
WAIT_S = 300


class Server:
    """Answers each POST with the next of `statuses`, the last one for ever; `heard` gets the bodies as they come."""

    def __init__(self, *statuses: int):
        self.statuses, self.heard, self.paths = list(statuses or (200,)), queue.Queue(), []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                self.paths.append(handler.path)
                self.heard.put(body)
                handler.send_response(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
                handler.send_header("Content-Length", "0")
                handler.end_headers()

            def log_message(handler, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/{SECRET}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def next(self) -> dict[str, str]:
        return self.heard.get(timeout=WAIT_S)


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    started = []

    def start(*statuses: int) -> Server:
        started.append(Server(*statuses))
        return started[-1]

    yield start
    for server in started:
        server.server.shutdown()
        server.server.server_close()


def recipe(**fields) -> wb.Recipe:
    given = dict(model="town-small", data=ROWS, method=wb.LoRA(rank=2), steps=4, batch_size=4, max_length=64, heldout=0, checkpoint_every=2)
    return wb.Recipe(**(given | fields))


def nowhere(folder) -> None:
    """The address is in no file of the run."""
    for path in folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_a_run_that_finishes_and_one_that_is_killed_tell_the_notebook_and_the_webhook(tmp_path, warm, serve, monkeypatch):
    """Both sides at once: a function in this process, and the worker itself; of the killed one the standby."""
    server = serve()
    monkeypatch.setenv(webhook.VARIABLE, server.address)
    run = wb.start(recipe(), runs=tmp_path)
    heard = queue.Queue()
    alert = run.alert(heard.put)
    for told in (server.next(), heard.get(timeout=WAIT_S)):
        assert told["kind"] == told["status"] == "finished" and told["run"] == run.name and told["step"] == told["steps"] == "4"
        assert told["text"].startswith(f"{run.name} finished at step 4 of 4.") and all(isinstance(value, str) for value in told.values())
        assert float(told["loss"]) == pytest.approx(list(run.metrics()["loss"])[-1], rel=1e-3)
    assert SECRET not in repr(alert)

    long = wb.start(recipe(steps=5000), runs=tmp_path)
    killed = long.alert(heard.put)
    tools.until(lambda: long.history.refresh() is not None and long.history.step >= 2, timeout=WAIT_S, what="its second step")
    os.kill(long.pid, signal.SIGKILL)
    for told in (server.next(), heard.get(timeout=WAIT_S)):
        assert told["kind"] == "failed" and told["status"] == "died" and "was killed (SIGKILL)" in told["reason"]
    assert "run.resume()" in told["remedy"]
    tools.until(lambda: killed.told, what="the function's return")
    killed.cancel()
    for folder in (run.folder, long.folder):
        nowhere(folder)


def test_a_run_that_goes_wrong_and_fails_says_so_and_a_webhook_that_fails_is_noted_once(tmp_path, warm, serve, monkeypatch):
    """Weights that a decay of ten times the rate multiplies by -9 a step: the loss is no number soon. The worker's own webhook answers
    500 to all, the notebook's takes everything."""
    broken, server = serve(500), serve()
    monkeypatch.setenv(webhook.VARIABLE, broken.address)
    monkeypatch.setattr(alerts, "ALARM_S", 0.05)
    run = wb.start(
        recipe(
            method=wb.Full(), steps=4000, learning_rate=1.0, weight_decay=10, schedule="constant", warmup_steps=0, checkpoint_every=4000
        ),
        runs=tmp_path,
    )
    alert = run.alert(server.address, on=("alarm", "stopped"))
    told = server.next()
    assert told["kind"] == "alarm" and "not a number" in told["reason"] and told["status"] == "running"
    run.stop()
    assert server.next()["kind"] == "stopped"
    tools.until(lambda: len(alert.told) == 2, what="both answers")
    assert run.wait(timeout=WAIT_S) == "stopped" and not alert.failure
    tools.until(lambda: run.history.refresh() is not None and run.history.notes, what="the note")
    tools.until(lambda: run.pid is None, what="the worker's end")
    run.history.refresh()
    assert [note.note.split(".")[0] for note in run.history.notes] == ["The webhook answered with HTTP status 500"]
    nowhere(run.folder)
    alert.cancel()
    assert telling.address({}) == "" and telling.address({webhook.VARIABLE: "javascript:alert(1)"}) == ""


def test_a_run_that_fails_is_told_with_its_remedy(tmp_path, serve):
    """The journal is what is watched, whoever writes it: here the test, so that the server's moods come in order."""
    folder = tmp_path / "r"
    journal, server = Journal(folder), serve(503, 429, 200)
    journal.write(started())
    journal.write(ev.Step(step=3, loss=2.0))
    alert = Run(folder).alert(server.address, on="failed")
    journal.write(ev.Ended(step=3, status="failed", reason="The disk is full.", remedy="Free some space, then run.resume() goes on."))
    bodies = [server.next() for _ in range(3)]  # twice the server was not ready
    assert bodies[0] == bodies[1] == bodies[2] and server.paths == [f"/{SECRET}"] * 3
    assert (
        bodies[0]["text"] == "r failed at step 3. The disk is full."
        and bodies[0]["remedy"].startswith("Free some space")
        and bodies[0]["steps"] == ""
    )
    tools.until(lambda: alert.told == bodies[:1], what="the answer")
    journal.write(started(attempt=2, resumed_from=0))
    tools.until(lambda: not alert._over, what="the resumption")
    journal.write(ev.Ended(step=4, status="failed", reason="Again."))
    assert server.next()["reason"] == "Again."
    alert.cancel()


def test_what_a_webhook_may_answer(serve):
    told = webhook.body("failed", "r", "failed", "x" * 5000, step=1)
    assert len(told["reason"]) == webhook.LONGEST and "steps" in told
    assert webhook.post(serve(404).address, told, waits_s=(0.01,)) == "The webhook answered with HTTP status 404."
    slow = serve(500, 200)
    assert webhook.post(slow.address, told, waits_s=(0.01,)) == "" and len(slow.paths) == 2
    gone = serve()
    gone.server.server_close()
    why = webhook.post(gone.address, told, waits_s=(0.01,))
    assert why == "The webhook could not be reached (ConnectionRefusedError)."
    listening = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # takes the connection and never answers
    with listening:
        address = f"http://127.0.0.1:{listening.server_address[1]}/{SECRET}"
        assert webhook.post(address, told, timeout_s=0.2, waits_s=()) == "The webhook did not answer within 0.2 s."


@pytest.mark.parametrize("to", ["javascript:alert(1)", "file:///etc/passwd", "hooks-4b1d07e2", "http://", "http://[", 3])
def test_what_is_no_receiver_is_refused_without_repeating_it(tmp_path, to):
    with pytest.raises(RunError) as raised:
        Run(tmp_path).alert(to)
    assert SECRET not in str(raised.value)
    with pytest.raises(RunError, match="failed, finished, stopped, alarm"):
        Run(tmp_path).alert(print, on=("sleeping",))


def test_a_script_that_ends_still_tells_what_has_just_happened(tmp_path, serve):
    server = serve()
    script = f"""
import sys
from pathlib import Path
from workbench.journal import events as ev
from workbench.runs.run import Run
from workbench.training.writer import Journal, started
folder = Path({str(tmp_path / "s")!r})
journal = Journal(folder)
journal.write(started())
alert = Run(folder).alert({server.address!r})
journal.write(ev.Ended(step=1, status="finished"))
"""
    subprocess.run([sys.executable, "-c", script], env=tools.environment(), check=True, timeout=WAIT_S)
    assert server.next()["kind"] == "finished" and server.heard.empty()
