"""The endpoint against a real HTTP server on this machine: what is sent, what comes back, and where the key does not go."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from workbench.data import endpoint
from workbench.data.endpoint import Endpoint
from workbench.errors import DataError

KEY = "not-a-real-" + "key-3f9a1c"


def completion(text):
    return 200, {}, json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]})


class Server:
    """Answers each request with the next of `answers` (status, headers, body), the last one for ever; `seen` holds path, headers and
    body."""

    def __init__(self, *answers):
        self.answers, self.seen, lock = list(answers), [], threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                with lock:
                    self.seen.append((handler.path, dict(handler.headers), body))
                    status, headers, text = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                handler.send_response(status)
                for name, value in {"Content-Length": str(len(text.encode())), **headers}.items():
                    handler.send_header(name, value)
                handler.end_headers()
                handler.wfile.write(text.encode())

            def do_GET(handler):
                with lock:
                    self.seen.append((handler.path, dict(handler.headers), None))
                handler.send_response(200)
                handler.end_headers()

            def log_message(handler, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    started = []

    def start(*answers):
        started.append(Server(*answers))
        return started[-1]

    yield start
    for server in started:
        server.server.shutdown()
        server.server.server_close()


def test_a_prompt_goes_out_as_a_chat_and_its_reply_comes_back(serve):
    server = serve(completion("It is fine. ü"))
    assert Endpoint(server.address, "small", "THE_KEY", temperature=0.5, max_tokens=9)("How are you?") == "It is fine. ü"
    [(path, headers, body)] = server.seen
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert body == {"model": "small", "messages": [{"role": "user", "content": "How are you?"}], "temperature": 0.5, "max_tokens": 9}


def test_without_a_key_none_is_sent(serve, monkeypatch):
    server = serve(completion("ok"))
    monkeypatch.delenv("THE_KEY")
    assert Endpoint(server.address, "small", "THE_KEY")("?") == "ok" and "Authorization" not in server.seen[0][1]


@pytest.mark.parametrize("key", ["sk-SECRET123\nMORE", "sk-S\u00e9cret123"])
def test_a_key_that_no_header_can_hold_is_not_shown_in_the_fault(serve, monkeypatch, key):
    monkeypatch.setenv("THE_KEY", key)
    with pytest.raises(DataError, match="THE_KEY") as caught:
        Endpoint(serve().address, "small", "THE_KEY")("?")
    assert "123" not in str(caught.value) and caught.value.__cause__ is None


def test_the_key_is_in_nothing_that_can_be_kept(serve):
    server = serve((401, {}, json.dumps({"error": f"Incorrect API key provided: {KEY}"})))
    asked = Endpoint(server.address, "small", "THE_KEY")
    with pytest.raises(DataError, match="answered 401 .* THE_KEY") as refused:
        asked("?")
    assert KEY not in repr(asked) + asked.name + str(refused.value) + repr(refused.value.args)
    assert refused.value.__cause__ is None and len(server.seen) == 1


def test_the_key_does_not_follow_a_redirect(serve):
    other = serve(completion("stolen"))
    for status in (301, 302, 307):
        server = serve((status, {"Location": other.address + "/chat/completions"}, ""))
        with pytest.raises(DataError, match=f"answered {status} .*points elsewhere"):
            Endpoint(server.address, "small", "THE_KEY")("?")
    assert other.seen == []


def test_the_key_goes_nowhere_unencrypted(serve):
    with pytest.raises(DataError, match="models.orla.com unencrypted"):
        Endpoint("http://models.orla.com/v1", "small", "THE_KEY")("?")


def test_what_stays_on_this_machine_passes_no_proxy(serve, monkeypatch):
    proxy, server = serve(completion("stolen")), serve(completion("mine"))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", proxy.address.removesuffix("/v1"))
    assert Endpoint(server.address, "small", "THE_KEY")("?") == "mine" and proxy.seen == []


def test_a_reply_without_end_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(endpoint, "LARGEST_REPLY_BYTES", 2**20)
    server = serve(completion("x" * 2**21))
    with pytest.raises(DataError, match="more than 1 MiB"):
        Endpoint(server.address, "small", "THE_KEY")("?")
    assert len(server.seen) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(serve, status):
    server = serve((status, {"Retry-After": "0"}, ""), (status, {"Retry-After": "0"}, ""), completion("now"))
    assert Endpoint(server.address, "small", "THE_KEY")("?") == "now" and len(server.seen) == 3


def test_a_server_that_stays_busy_is_given_up(serve):
    server = serve((429, {"Retry-After": "0"}, ""))
    with pytest.raises(DataError, match="answered 429 .*Wait and try again"):
        Endpoint(server.address, "small", "THE_KEY")("?")
    assert len(server.seen) == endpoint.TRIES


@pytest.mark.parametrize("text", ["not JSON", "[]", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}'])
def test_a_reply_that_is_none_is_said(serve, text):
    with pytest.raises(DataError, match="no chat completion"):
        Endpoint(serve((200, {}, text)).address, "small", "THE_KEY")("?")


def test_a_connection_that_breaks_off_is_tried_again_and_then_said(serve):
    server = serve((200, {"Content-Length": "500"}, "half"))
    with pytest.raises(DataError, match="does not answer to the end"):
        Endpoint(server.address, "small", "THE_KEY", timeout_s=0.3)("?")
    assert len(server.seen) == endpoint.TRIES


def test_nobody_there(serve):
    server = serve(completion("ok"))
    server.server.shutdown()
    server.server.server_close()
    with pytest.raises(DataError, match="127.0.0.1 cannot be reached"):
        Endpoint(server.address, "small", "THE_KEY")("?")
    server.server.shutdown = lambda: None


@pytest.mark.parametrize("address, sentence",
                         [("api.orla.com", "no address"), ("ftp://orla.com", "no address"),
                          ("https://ann:pw@orla.com", "holds a user name")])
def test_an_address_that_cannot_be_used_is_said_at_once(address, sentence):
    with pytest.raises(DataError, match=sentence):
        Endpoint(address, "small")
