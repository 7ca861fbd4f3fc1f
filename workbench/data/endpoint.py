"""A language model behind an OpenAI-compatible address, as a function of a prompt: for judging (`quality.py`) and whatever else asks for
text.

The key is read from the environment at each request and kept nowhere. It is sent over https, or to this machine, and never along a
redirect. Not here: streaming, batches, tools.
"""

import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

import orjson

from workbench.errors import DataError

TRIES = 4
LONGEST_WAIT_S = 60.0
LARGEST_REPLY_BYTES = 32 * 2**20
HERE = ("localhost", "127.0.0.1", "::1")


class Cut(str):
    """A reply that ended because its tokens were used up, not because it was done."""


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows nothing: urllib would send the key on to wherever a redirect points."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`Endpoint("https://api.openai.com/v1", "gpt-4.1-mini")(prompt)` → the reply's text, a `Cut` where it was cut off.

    `key_variable` names the environment variable that holds the key; a server that asks for none works without. Raises `DataError` in one
    sentence for an address that cannot be used, a refusal, or a reply that is none.
    """

    address: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    temperature: float = 0.0
    max_tokens: int = 512
    timeout_s: float = 120.0
    workers: int = 8
    """Requests open at a time, for those who ask many."""

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(f"{self.address!r} is no address of a server.",
                            'Give one like "https://api.openai.com/v1" or "http://localhost:8000/v1".')
        if parts.username or parts.password:
            raise DataError("The address holds a user name or password.", f"Put the key into the environment variable {self.key_variable}.")

    @property
    def name(self) -> str:
        """What grades of this model are kept under."""
        return f"{self.address} {self.model} {self.temperature:g}"

    def __call__(self, prompt: str) -> str:
        return self._text(self.post("/chat/completions", {
            "model": self.model, "messages": [{"role": "user", "content": prompt}], "temperature": self.temperature, "max_tokens": self.max_tokens}))

    def post(self, path: str, body: Any) -> bytes:
        """What the server answers to `body` as JSON, sent to `path` below the address. Raises `DataError` as a call does."""
        headers = {"Content-Type": "application/json"}
        key = os.environ.get(self.key_variable, "").strip()
        parts = urllib.parse.urlsplit(self.address)
        if key:
            if not key.isascii() or not key.isprintable():  # what cannot be a header would be shown, key and all, in the error of whoever tries
                raise DataError(f"The key in the environment variable {self.key_variable} holds a line break or a letter that no key has.", "Set it again, on one line.")
            if parts.scheme != "https" and parts.hostname not in HERE:
                raise DataError(f"The key would go to {parts.hostname} unencrypted.", f"Use https, or unset {self.key_variable}.")
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.address.rstrip("/") + path, orjson.dumps(body), headers)
        return self._sent(request, parts.hostname or "")

    def _sent(self, request: urllib.request.Request, host: str) -> bytes:
        # what stays on this machine goes around a proxy of the environment, which would see the key in the clear
        opener = urllib.request.build_opener(_Straight, *([urllib.request.ProxyHandler({})] if host in HERE else []))
        for attempt in range(1, TRIES + 1):
            try:
                with opener.open(request, timeout=self.timeout_s) as reply:
                    content = reply.read(LARGEST_REPLY_BYTES + 1)
                    if len(content) <= LARGEST_REPLY_BYTES and reply.length:  # read(n) does not say so itself
                        raise http.client.IncompleteRead(content, reply.length)
                if len(content) > LARGEST_REPLY_BYTES:
                    raise DataError(f"{host} answers with more than {LARGEST_REPLY_BYTES // 2**20} MiB.",
                                    "Check that the address is OpenAI-compatible.")
                return content
            except urllib.error.HTTPError as error:
                with error:
                    if (error.code == 429 or error.code >= 500) and attempt < TRIES:
                        _wait(error.headers.get("Retry-After"), attempt)
                        continue
                # the body is not shown: some servers repeat the key in it
                told = http.client.responses.get(error.code, "unknown")
                raise DataError(f"{host} answered {error.code} ({told}) for the model {self.model!r}.", self._remedy(error.code)) from None
            except urllib.error.URLError as error:
                raise DataError(f"{host} cannot be reached: {error.reason}.", "Check the address and the network.") from None
            except (TimeoutError, ConnectionError, http.client.HTTPException) as error:  # it answered, and then no more
                if attempt == TRIES:
                    raise DataError(f"{host} does not answer to the end: {error or type(error).__name__}.",
                                    "Try again, or raise timeout_s.") from None
        raise AssertionError("the last try returns or raises")

    def _remedy(self, code: int) -> str:
        if code in (401, 403):
            return f"Check the key in the environment variable {self.key_variable}."
        if code == 404:
            return "Check the address (it usually ends in /v1) and the model's name."
        if 300 <= code < 400:
            return "It points elsewhere; give that address, if you trust it with the key."
        return "Wait and try again." if code == 429 or code >= 500 else "Check the model's name and what it takes."

    def _text(self, content: bytes) -> str:
        try:
            choice = orjson.loads(content)["choices"][0]
            text = choice["message"]["content"]
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise DataError(f"The reply of {urllib.parse.urlsplit(self.address).hostname} is no chat completion.",
                            "Check that the address is OpenAI-compatible.")
        return Cut(text) if choice.get("finish_reason") == "length" else text


def _wait(asked: str | None, attempt: int) -> None:
    """As long as the server asks, or 1, 2, 4 seconds."""
    seconds = float(asked) if asked is not None and asked.replace(".", "", 1).isdigit() else 2.0 ** (attempt - 1)
    time.sleep(min(seconds, LONGEST_WAIT_S))
