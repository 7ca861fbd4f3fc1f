"""Telling somebody else how a run fares: a small JSON body, and a POST of it that gives up.

    body("failed", "town-lora8", status, reason, step=12, steps=200)  -> {"text": "town-lora8 failed at step 12 of 200. ...", "run": ...}
    post(url, body)                                                   -> "" or a sentence why it did not arrive

The address is a secret: whoever has it can post there. It is in no sentence, journal, log or recipe. Used by both sides: a notebook that
watches (`runs/alerts.py`) and a worker that outlives it (`training/telling.py`). Knows no run and starts no thread.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from workbench.errors import RunError

VARIABLE = "WORKBENCH_WEBHOOK"
"""The address that workers post to, in the environment a run is started from."""
KINDS = ("failed", "finished", "stopped", "alarm")
"""What can be told; "failed" is also a worker that died."""
TIMEOUT_S, WAITS_S = 5.0, (0.5, 2.0)
"""Of one try; between tries."""
TRANSIENT = (408, 425, 429)
"""HTTP statuses under 500 that are worth another try."""
LONGEST = 1000
"""Letters of a reason."""


def check_address(url: str) -> None:
    """Raises `RunError` for what is no web address; the sentence does not have it."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise RunError(
            "The webhook is no address that begins with https:// or http://.", 'Use to="https://...", or a function of one dict.'
        )


def body(
    kind: str,
    run: str,
    status: str,
    reason: str = "",
    *,
    remedy: str = "",
    step: int = 0,
    steps: int | None = None,
    loss: float | None = None,
) -> dict[str, str]:
    """What is told, every value text; `text` is all of it as one sentence, which chat services show."""
    where = f"step {step}" + (f" of {steps}" if steps else "")
    told = f"{run}: an alarm at {where}" if kind == "alarm" else f"{run} {status} at {where}"
    reason = reason[:LONGEST]
    return {
        "text": f"{told}. {reason}".strip(),
        "run": run,
        "kind": kind,
        "status": status,
        "reason": reason,
        "remedy": remedy[:LONGEST],
        "step": str(step),
        "steps": "" if steps is None else str(steps),
        "loss": "" if loss is None else f"{loss:.4g}",
    }


def post(url: str, told: dict[str, str], timeout_s: float = TIMEOUT_S, waits_s: tuple[float, ...] = WAITS_S) -> str:
    """POST `told`; "" once a server has taken it, else a sentence why none has, after a try for each of `waits_s` and one more."""
    data = json.dumps(told).encode()
    for wait in (*waits_s, None):
        again, why = _once(url, data, timeout_s)
        if not why or not again or wait is None:
            break
        time.sleep(wait)
    return why


def _once(url: str, data: bytes, timeout_s: float) -> tuple[bool, str]:
    """Whether another try may help, and why this one failed ("" where it did not)."""
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", "User-Agent": "workbench"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return False, ""
    except urllib.error.HTTPError as error:
        error.close()
        return error.code >= 500 or error.code in TRANSIENT, f"The webhook answered with HTTP status {error.code}."
    except TimeoutError:
        return True, f"The webhook did not answer within {timeout_s:g} s."
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            return True, f"The webhook did not answer within {timeout_s:g} s."
        return True, f"The webhook could not be reached ({type(error.reason).__name__})."  # its own words may have the address
    except (OSError, http.client.HTTPException, ValueError) as error:
        return isinstance(error, OSError), f"The webhook could not be reached ({type(error).__name__})."
