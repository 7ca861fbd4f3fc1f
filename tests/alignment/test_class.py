"""Many who judge at once: nothing is lost though one is killed, and opening a new store at once makes it once. The class of thirty with its
waits is in tests/benchmarks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.alignment.class_of_judges import check, filled, hold
from workbench.alignment import PreferenceStore


@pytest.mark.faults
def test_a_class_loses_nothing_and_one_of_it_is_killed(url, tmp_path):
    filled(url, prompts=20)
    check(url, hold(url, tmp_path / "told", people=8, count=20, pause_s=0.02), people=8, count=20)


def test_a_new_store_is_opened_by_many_at_once(url):
    with ThreadPoolExecutor(8) as crowd:
        stores = list(crowd.map(PreferenceStore, [url] * 8))
        assert len({*crowd.map(lambda store: store.add("Hello?", {"a": "Yes."}), stores)}) == 1
    for store in stores:
        store.close()
