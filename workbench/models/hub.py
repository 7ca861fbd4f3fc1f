"""What the hub says of a repository, and a sentence for each way in which it can say no.

Asked before anything is loaded by a hub id: without a network the client libraries try again for most of a minute before they say so. Who
asks is the client (huggingface_hub), with its token: HF_TOKEN, or what `hf auth login` kept; here it is neither read nor shown.
Not here: fetching a model's files (`hub_folders.py`), data sets' (`data/sources.py`), and uploading (`pushing.py`).
"""

import errno
import os
import socket
import urllib.parse
import urllib.request
from dataclasses import dataclass

from workbench.errors import WorkbenchError

TIMEOUT_S = 3.0
ANSWER_S = 10.0
"""In which the hub has to say what a repository holds."""
OFFLINE = "or use what is on this machine already with HF_HUB_OFFLINE=1"


@dataclass(frozen=True, slots=True)
class Listing:
    """What the hub says that a repository holds: the commit, and the names of its files."""

    commit: str
    files: tuple[str, ...]


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")


def reachable() -> bool:
    """Whether a connection to the hub can be opened now. True behind a proxy, which alone can tell; False where offline mode is set."""
    if offline():
        return False
    if urllib.request.getproxies():
        return True
    address = urllib.parse.urlsplit(endpoint())
    try:
        with socket.create_connection((address.hostname, address.port or (443 if address.scheme == "https" else 80)), timeout=TIMEOUT_S):
            return True
    except OSError:
        return False


def is_id(source: str) -> bool:
    """Whether this may be a repository's name, by its form: "name" or "who/name", and no path."""
    return not source.startswith((".", "/", "~")) and "\\" not in source and source.count("/") <= 1


def listing(name: str, kind: str = "model") -> Listing:
    """What the repository `name` holds; `kind` is "model" or "dataset". Raises `WorkbenchError` where the hub does not say."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        told = HfApi(endpoint=endpoint()).repo_info(name, repo_type=kind, timeout=ANSWER_S)
    except HFValidationError as error:
        raise WorkbenchError(f"{name!r} is no name of a repository.", 'Give one such as "who/name".') from error
    except (HTTPError, OSError, ValueError) as error:
        raise refusal(error, name, kind) from error
    if not told.sha:
        raise WorkbenchError(f"{_host()} does not answer as a hub does.", "Correct HF_ENDPOINT, or unset it.")
    return Listing(told.sha, tuple(file.rfilename for file in told.siblings or ()))  # type: ignore[union-attr]


def check_access(name: str, kind: str = "model") -> None:
    """Raises `WorkbenchError` where the files of a repository that the hub lists are not for whoever asks: it is gated."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError

    try:
        HfApi(endpoint=endpoint()).auth_check(name, repo_type=kind)
    except (HTTPError, OSError, ValueError) as error:
        raise refusal(error, name, kind) from error


def refusal(error: BaseException, name: str, kind: str = "model") -> WorkbenchError:
    """What went wrong while the client asked for a repository or fetched of it, in a sentence, with what to do."""
    return WorkbenchError(*_told(error, name, "data set" if kind == "dataset" else "model"))


def _told(error: BaseException, name: str, what: str) -> tuple[str, str]:
    from huggingface_hub.errors import (
        DisabledRepoError,
        EntryNotFoundError,
        FileMetadataError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # "not in the cache" is what the client says; why it was not fetched is what a person wants
    if isinstance(error, HfHubHTTPError) and error.response is not None:
        status = error.response.status_code
        if isinstance(error, GatedRepoError):
            place = f"{endpoint()}/{'datasets/' if what == 'data set' else ''}{name}"
            if status == 401:
                return (f"The {what} {name!r} is gated, and no token says who asks.",
                        f"Ask for access at {place}, and set HF_TOKEN to your token before Python starts.")
            return f"The {what} {name!r} is gated, and this token's owner has no access to it.", f"Ask for access at {place}."
        if status == 401 and error.response.headers.get("X-Error-Message") == "Invalid credentials in Authorization header":
            return "The hub does not know this token (401).", "Set HF_TOKEN to a token that is valid, or unset it."
        if isinstance(error, RepositoryNotFoundError):
            return (f"The hub has no {what} {name!r} that you can see.",
                    "Check the name; of a private one, set HF_TOKEN to a token that may read it before Python starts.")
        if isinstance(error, DisabledRepoError):
            return f"The hub has switched off access to the {what} {name!r}.", f"Use another {what}."
        if isinstance(error, EntryNotFoundError):
            missing = urllib.parse.unquote(urllib.parse.urlsplit(str(error.response.url)).path).rpartition("/")[2]
            return f"The {what} {name!r} has no file {missing} on the hub.", "Look at its files on the hub; it may have been changed just now."
        if status == 403:
            return f"The token may not read the {what} {name!r} (403).", "Use a token with permission to read it."
        if status == 429:
            return "The hub asks to wait (429, too many requests).", "Try again in some minutes."
        return f"The hub cannot give the {what} {name!r} now ({status}).", f"Try again later, {OFFLINE}."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"There is no room on the disk for the {what} {name!r}.", "Free some space, or set HF_HOME to a folder on another disk before Python starts."
    if isinstance(error, PermissionError):
        return "The hub's cache cannot be written.", "Set HF_HOME to a folder that is yours before Python starts."
    if not isinstance(error, (ValueError, FileMetadataError)):
        return (f"The connection to {_host()} broke before the {what} {name!r} was here.",
                f"Check the network and try again, {OFFLINE}: files that came whole are not fetched twice.")
    return f"{_host()} does not answer as a hub does.", "Correct HF_ENDPOINT, or unset it."


def _host() -> str:
    """Without what an address may carry of names and passwords."""
    return urllib.parse.urlsplit(endpoint()).hostname or "the hub"
