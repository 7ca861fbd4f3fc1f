"""A hub on the loopback, a cache of its own for the client, and this process let through to it.

The client reads its settings when it is imported, which the session did offline; so what it read is set here as the environment of the test
says it, and a worker, which imports for itself, finds the same in its environment.
"""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from huggingface_hub import constants, file_download

from tests.hub.server import Hub
from tests.models import tools
from workbench import town
from workbench.models import hub_folders, loading

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The server, and the real client pointed at it with an empty cache."""
    with Hub(tmp_path / "hub") as server:
        home = tmp_path / "home"
        for name in (*PROXIES, "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}.items():
            monkeypatch.setenv(name, value)
        for name, value in {"HF_HUB_OFFLINE": False, "ENDPOINT": server.url, "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
                            "HF_HUB_CACHE": str(home / "hub"), "HF_TOKEN_PATH": str(home / "token"),
                            "HF_HUB_DISABLE_XET": True}.items():
            monkeypatch.setattr(constants, name, value)
        for name, value in {"HF_HUB_OFFLINE": False, "HF_ENDPOINT": server.url, "HF_DATASETS_CACHE": home / "datasets"}.items():
            monkeypatch.setattr(datasets.config, name, value)
        monkeypatch.setattr(hub_folders, "_looked_up", {})
        yield server
    huggingface_hub.utils.close_session()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that tries again at once (it waits a second between two attempts at a file, five times over, and longer for an answer), and
    keeps what came in pieces of 1,000 bytes (it does of ten million)."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    for module in (file_download, huggingface_hub.utils._http):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(sleep=lambda seconds: None, time=time.time))


@pytest.fixture
def later() -> Callable[[], None]:
    """`later()` is another process's beginning: nothing is remembered of what was looked up."""
    return hub_folders._looked_up.clear


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with random weights and the town's tokenizer."""
    folder = tmp_path_factory.mktemp("llama")
    tools.saved(tools.small_llama(vocab_size=2048, max_position_embeddings=128), folder, loading.load_tokenizer(town.base_folder("small")))
    return folder
