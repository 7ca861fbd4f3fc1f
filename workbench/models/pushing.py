"""Files of a folder to a repository on the hub, by huggingface_hub's own client.

The token comes from the environment (HF_TOKEN) and is neither kept nor shown; HF_ENDPOINT names another hub. Not here: what is in the
folder (`runs/export.py`).
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from workbench.errors import WorkbenchError
from workbench.models import folders, hub


def push_folder(folder: str | Path, repository: str, *, files: Sequence[str], private: bool = True, message: str = "Upload model") -> str:
    """Make `repository` ("who/name") if it is not there, upload `files` (names in the folder; nothing else leaves it) in one commit, and
    return the commit's address.

    Raises `WorkbenchError` where there is no token, the hub refuses, or the connection breaks: nothing is half there, since it is one
    commit.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, OfflineModeIsEnabled

    folder = Path(folder).expanduser()
    if not any(folder.glob("*.gguf")):
        folders.check_source(str(folder))
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise WorkbenchError(
            "There is no token for the hub in HF_TOKEN.",
            "Make one with write permission on the hub's settings page, and set HF_TOKEN before Python starts.",
        )
    api = HfApi(endpoint=hub.endpoint(), token=token)
    try:
        made = api.create_repo(repository, private=private, exist_ok=True)
        # patterns, to the client: a name with a bracket must mean itself
        named = [glob.escape(name) for name in files]
        return str(api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=message, allow_patterns=named).commit_url)
    except HFValidationError as error:
        raise WorkbenchError(f"{repository!r} is no name of a repository.", 'Give one such as "who/name".') from error
    except HfHubHTTPError as error:
        raise WorkbenchError(*_refused(error.response.status_code if error.response is not None else 0, repository)) from error
    except OfflineModeIsEnabled as error:
        raise WorkbenchError("The hub's client is in offline mode (HF_HUB_OFFLINE).", "Unset it before Python starts.") from error
    except (HTTPError, OSError) as error:
        raise WorkbenchError(f"The connection to {hub.endpoint()} broke: {type(error).__name__}.",
                             "Check the network and push again: files that are there already are not sent twice.") from error


def _refused(status: int, repository: str) -> tuple[str, str]:
    """What was wrong and what to do, by the hub's status."""
    if status == 401:
        return "The hub does not know this token (401).", "Set HF_TOKEN to a token that is valid and may write."
    if status == 403:
        return (
            f"The token may not write to {repository} (403).",
            "Use a token with write permission, and a name of your own or of your organisation.",
        )
    if status == 404:
        return f"There is no {repository} that this token can see (404).", "Check the name and the token."
    if status == 429:
        return "The hub asks to wait (429, too many requests).", "Push again in some minutes."
    return f"The hub refused the upload ({status}).", "Push again later; if it stays so, look at the repository on the hub."
