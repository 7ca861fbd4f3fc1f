"""Fixtures of the browser tests: one JupyterLab and one Chromium for the session.

Where either is missing the tests fail, naming the line to type: a skipped browser test is no test.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A `tests.browser.lab.Lab`; open notebooks on it, close them when done."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.fail("The browser tests need Playwright and JupyterLab. Type: pip install -e '.[lab,test]'")
    if shutil.which("chromium") is None:
        pytest.fail("The browser tests need Chromium. Type: python tools/ensure_chromium.py")
    from tests.browser.lab import Lab

    with sync_playwright() as playwright, Lab(tmp_path_factory.mktemp("lab"), playwright) as made:
        yield made
