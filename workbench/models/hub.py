"""Whether the hub answers, and what of it is on this machine already.

Asked before anything is loaded by a hub id: without a network the client libraries try again for most of a minute before they say so.
"""

import os
import socket
import urllib.parse
import urllib.request

TIMEOUT_S = 3.0


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co")


def reachable() -> bool:
    """Whether a connection to the hub can be opened now. True behind a proxy, which alone can tell; False where offline mode is set."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    if urllib.request.getproxies():
        return True
    address = urllib.parse.urlsplit(endpoint())
    try:
        with socket.create_connection((address.hostname, address.port or (443 if address.scheme == "https" else 80)), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False


def cached_model(name: str) -> bool:
    """Whether the hub client has this model's configuration on disk."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:
        return False
