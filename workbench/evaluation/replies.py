"""Replies to judge, asked of whatever writes text: runs, checkpoints, model folders, endpoints, functions; kept in a preference store as
they come.

    collect_replies(prompts, {"base": "town", "tuned": run, "other": wb.Endpoint(address, model)}, "preferences.db")

What writes text is made into a function of a prompt by `data.generators`, as for synthesis. Not here: who judges them, and how
(`alignment/preferences.py`).
"""

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workbench.alignment import PreferenceStore
from workbench.data.generators import Generator, generator_of
from workbench.errors import DataError
from workbench.recipes import resolve_model

AT_ONCE = 4
"""Prompts that each source answers in turn before the next source does: few, so that judging can begin, and weights that share a cache are
not changed for each prompt."""


def collect_replies(
    prompts: Iterable[str],
    sources: Mapping[str, Any],
    store: "PreferenceStore | str | os.PathLike" = "preferences.db",
    *,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> PreferenceStore:
    """Ask each source for the replies that are not in the store yet; returns the store.

    `sources`: by the name that votes will count for, whatever `workbench.data.generators.generator_of` takes; `seed` and `options`
    (max_tokens, temperature, sampler) are those of local models. `progress(done, total)` is called before each reply; what it raises ends
    the work, and what was answered is kept. Raises `DataError` for sources that cannot be asked, before any is, and what a source raises.
    """
    prompts, ask = checked(prompts, sources, seed=seed, **options)
    kept = store if isinstance(store, PreferenceStore) else PreferenceStore(store)
    known = {(row.prompt, row.source) for row in kept.replies().itertuples()}
    missing = [(prompt, name) for prompt in prompts for name in ask if (prompt, name) not in known]
    done = itertools.count()

    def answer(prompt: str, name: str) -> None:
        if progress is not None:
            progress(next(done), len(missing))
        kept.add(prompt, {name: str(ask[name](prompt)).replace("\0", "\ufffd")})

    at_once = max([AT_ONCE, *(getattr(source, "workers", 1) for source in ask.values())])
    for begin in range(0, len(prompts), at_once):
        some = set(prompts[begin : begin + at_once])
        for name, source in ask.items():
            wanted = [prompt for prompt, whose in missing if whose == name and prompt in some]
            with ThreadPoolExecutor(getattr(source, "workers", 1)) as crowd:
                for _ in crowd.map(lambda prompt, name=name: answer(prompt, name), wanted):
                    pass  # what one of them raised is raised here
    if progress is not None:
        progress(len(missing), len(missing))
    return kept


def checked(prompts: Iterable[str], sources: Mapping[str, Any], *, seed: int = 0, **options: Any) -> tuple[list[str], dict[str, Generator]]:
    """The prompts, each once, and a function of a prompt for each source; nothing is loaded. Raises `WorkbenchError` for prompts and sources
    that cannot be."""
    if isinstance(prompts, str):
        raise DataError("The prompts are one text.", "Give a list of texts.")
    prompts = list(dict.fromkeys(prompts))
    if not prompts or not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts):
        raise DataError("There are no prompts to ask." if not prompts else "A prompt is empty or no text.", "Give a list of texts.")
    if not sources:
        raise DataError("There is nobody to ask.", 'Give sources by name, such as {"base": "town", "tuned": run}.')
    for source in sources.values():
        if isinstance(source, str):
            resolve_model(source)
    return prompts, {str(name): _asked(source, seed, options) for name, source in sources.items()}


def _asked(source: Any, seed: int, options: dict[str, Any]) -> Generator:
    """A function of a prompt; a function has no settings of ours."""
    mine = callable(source) and not hasattr(source, "load") and not isinstance(source, (tuple, list))
    return generator_of(source, seed=seed, **({} if mine else options))
