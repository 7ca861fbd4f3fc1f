"""How long rows are in tokens, and what a max_length costs before anything is trained: cut tokens, padding, room left in packed rows.

Lengths are those that training sees: the chat template, the end token and all (`templates/chat.py`), but tokenized many rows at a time and
remembered by content. Not here: which of the tokens are trained, and rows whose whole answer is cut off (`training/rows.py` counts those).

Shapes: lengths are int64 [N], in tokens. Shares are 0 to 1.
"""

import copy
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from workbench.data import layouts, ngrams, sources, texts
from workbench.errors import DataError
from workbench.templates import chat

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

CHUNK_ROWS = 2_000


class LengthCache:
    """Lengths by tokenizer and content, 12 bytes a row, in memory and, with a `folder`, in one file a tokenizer.

    Rows are known by 64 bits of a hash: among ten million rows the chance that any two meet is 3e-6.
    """

    def __init__(self, folder: str | Path | None = None):
        self.folder = Path(folder).expanduser() if folder is not None else None
        self._known: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def look_up(self, tokenizer: str, keys: "np.ndarray") -> "np.ndarray":
        """Lengths of these keys (uint64 [N]), -1 where not known."""
        import numpy as np

        known, lengths = self._of(tokenizer)
        if len(known) == 0:
            return np.full(len(keys), -1, np.int64)
        at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where(known[at] == keys, lengths[at], -1).astype(np.int64)

    def add(self, tokenizer: str, keys: "np.ndarray", lengths: "np.ndarray") -> None:
        """Remember them. A file that another process writes meanwhile loses nothing but its newest rows."""
        import numpy as np

        old_keys, old_lengths = self._of(tokenizer)
        merged, first = np.unique(np.concatenate([old_keys, keys]), return_index=True)
        self._known[tokenizer] = merged, np.concatenate([old_lengths, lengths.astype(np.int32)])[first]
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            body = io.BytesIO()
            np.savez(body, keys=self._known[tokenizer][0], lengths=self._known[tokenizer][1])
            draft = self.folder / f"{tokenizer}.{hashlib.blake2b(keys.tobytes(), digest_size=4).hexdigest()}.draft"
            draft.write_bytes(body.getvalue())
            draft.replace(self._file(tokenizer))

    def _file(self, tokenizer: str) -> Path:
        return self.folder / f"lengths-{tokenizer}.npz"

    def _of(self, tokenizer: str) -> tuple["np.ndarray", "np.ndarray"]:
        import numpy as np

        if tokenizer not in self._known:
            self._known[tokenizer] = np.empty(0, np.uint64), np.empty(0, np.int32)
            if self.folder is not None and self._file(tokenizer).exists():
                try:
                    with np.load(self._file(tokenizer), allow_pickle=False) as held:
                        self._known[tokenizer] = held["keys"], held["lengths"]
                except (zipfile.BadZipFile, ValueError, KeyError, EOFError):
                    self._file(tokenizer).unlink()  # a damaged cache is no data: it is counted again
        return self._known[tokenizer]


REMEMBERED = LengthCache()
"""What this process has counted."""


def token_lengths(rows: Any, tokenizer: Any, *, columns: str | Sequence[str] | None = None, cache: LengthCache | None = REMEMBERED,
                  progress: Callable[[int, int], None] | None = None) -> "np.ndarray":
    """Tokens of each row, int64 [N].

    `tokenizer` is one of transformers, or any callable text → ids or count (not cached: nobody can tell whether two callables are the
    same). Rows of a known layout are counted as training would see them; texts, or chosen `columns`, as plain text with its end token. A
    callable counts the text alone. Raises `DataError` for rows that do not fit their layout or that the chat template refuses.
    """
    import numpy as np

    if not hasattr(tokenizer, "apply_chat_template"):
        counted = (tokenizer(text) for text in texts.texts_of(rows, columns))
        return np.fromiter((found if isinstance(found, int) else len(found) for found in counted), np.int64)
    tokenizer = copy.copy(tokenizer)  # a template given to it for counting stays with the copy
    chat.ensure_template(tokenizer)
    name = fingerprint(tokenizer)
    out, new = [np.empty(0, np.int64)], [(np.empty(0, np.uint64), np.empty(0, np.int64))]
    chunks, count = _chunks(rows, columns)
    try:
        for examples in chunks:
            shown, kinds = _shown(tokenizer, examples)
            keys = np.array([ngrams.hash_of(f"{kind}\0{text}") for text, kind in zip(shown, kinds, strict=True)], np.uint64)
            found = cache.look_up(name, keys) if cache is not None else np.full(len(keys), -1, np.int64)
            missing = np.flatnonzero(found < 0)
            if len(missing):
                found[missing] = _counted(tokenizer, [shown[i] for i in missing], [kinds[i] for i in missing])
                new.append((keys[missing], found[missing]))
            out.append(found)
            if progress is not None:
                progress(sum(map(len, out)), count)
    finally:  # what was counted before an error, or before it was stopped, is kept too
        if cache is not None and len(new) > 1:
            cache.add(name, np.concatenate([keys for keys, _ in new]), np.concatenate([found for _, found in new]))
    return np.concatenate(out)


def fingerprint(tokenizer: Any) -> str:
    """16 hex digits that are the same for tokenizers that give the same lengths: its whole definition, its template, its special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    body = backend.to_str() if backend is not None else repr((type(tokenizer).__name__, sorted(tokenizer.get_vocab().items())))
    whole = repr((body, tokenizer.chat_template, tokenizer.bos_token, tokenizer.eos_token))
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def waste(lengths: Iterable[int], max_lengths: int | Sequence[int], batch_size: int = 8, seed: int = 0) -> "pd.DataFrame":
    """What each max_length would cost, one line each.

    `rows`, `tokens` (after cutting); `truncated_rows`, `truncated_share`, `lost_tokens`, `lost_share`; padding as a share of all positions:
    `padding_share` (batches of `batch_size` in random order by `seed`, padded to the longest), `padding_share_sorted` (rows of like length
    together), `padding_share_full` (everything padded to max_length); `packed_rows` and `packing_efficiency` (real tokens by positions) of
    best-fit packing. Raises `DataError` for lengths or limits that are none.
    """
    import numpy as np
    import pandas as pd

    lengths: Any = np.asarray(list(lengths) if not isinstance(lengths, np.ndarray) else lengths, np.int64)  # type: ignore[no-redef]
    limits = [max_lengths] if isinstance(max_lengths, int) else list(max_lengths)
    if len(lengths) == 0 or lengths.min() < 0:  # type: ignore[arg-type, attr-defined]
        raise DataError("There are no lengths to reckon with." if len(lengths) == 0 else f"{lengths.min()} is not a length.",  # type: ignore[arg-type, attr-defined]
                        "Give the lengths of at least one row, each 0 or more.")
    if batch_size < 1 or min(limits, default=0) < 1:
        raise DataError("A batch size or a max_length below 1 holds nothing.", "Use 1 or more.")
    order = np.random.default_rng(seed).permutation(len(lengths))  # type: ignore[arg-type]
    lines = []
    for limit in limits:
        cut = np.minimum(lengths, limit)
        kept, packed = int(cut.sum()), packed_rows(lengths, limit)  # type: ignore[arg-type]
        lines.append({
            "max_length": limit, "rows": len(lengths), "tokens": kept,  # type: ignore[arg-type]
            "truncated_rows": int((lengths > limit).sum()), "truncated_share": float((lengths > limit).mean()),  # type: ignore[attr-defined, operator]
            "lost_tokens": int(lengths.sum()) - kept, "lost_share": 1 - kept / max(int(lengths.sum()), 1),  # type: ignore[attr-defined]
            "padding_share": _padding(cut[order], batch_size), "padding_share_sorted": _padding(np.sort(cut), batch_size),
            "padding_share_full": 1 - kept / (limit * len(cut)),
            "packed_rows": packed, "packing_efficiency": kept / (packed * limit) if packed else 0.0,
        })
    return pd.DataFrame(lines)


def packed_rows(lengths: "np.ndarray", max_length: int) -> int:
    """How many rows of `max_length` best-fit decreasing needs (Johnson 1974), longer examples cut: the number that trl's `bfd` comes to."""
    import numpy as np

    return packed_counts(np.bincount(np.minimum(lengths, max_length), minlength=max_length + 1))


def packed_counts(counts: "np.ndarray") -> int:
    """`packed_rows` where `counts` (whole numbers, [max_length + 1]) says how many examples have each length.

    Reckoned on counts of lengths, not on rows, so ten million rows cost what their distinct lengths cost: an example goes where least room
    stays, and a row that has taken one takes others of that length until they no longer fit.
    """
    import numpy as np

    max_length = len(counts) - 1
    room = np.zeros(max_length + 1, np.int64)
    """Rows by the tokens that still fit in them."""
    total = 0
    for length in np.flatnonzero(counts[1:])[::-1] + 1:
        left = int(counts[length])
        for free in np.flatnonzero(room[length:]) + length:
            fits = free // length
            full, rest = divmod(left, fits)
            taken = min(int(room[free]), full)
            room[free] -= taken
            room[free - fits * length] += taken
            left -= taken * fits
            if taken == full and room[free] and rest:
                room[free] -= 1
                room[free - rest * length] += 1
                left = 0
            if left == 0:
                break
        fits = max_length // length
        full, rest = divmod(left, fits)
        room[max_length - fits * length] += full
        if rest:
            room[max_length - rest * length] += 1
        total += full + bool(rest)
    return total


def padding_counts(counts: "np.ndarray", batch_size: int) -> float:
    """Share of positions that hold padding in the long run, where each batch of `batch_size` examples is as wide as its longest and
    `counts` ([max_length + 1], of any sum) says how often each length comes: the mean longest is the sum of 1 - F(length)^batch_size."""
    import numpy as np

    below = np.cumsum(counts) / np.sum(counts)
    longest = float(np.sum(1 - below[:-1] ** batch_size))
    mean = float(np.sum(1 - below[:-1]))
    return 1 - mean / longest if longest > 0 else 0.0


def _padding(lengths: "np.ndarray", batch_size: int) -> float:
    """Positions that hold padding, where each batch is as wide as its longest row."""
    import numpy as np

    whole = len(lengths) // batch_size * batch_size
    wide = int(lengths[:whole].reshape(-1, batch_size).max(axis=1).sum()) * batch_size if whole else 0
    rest = lengths[whole:]
    wide += int(rest.max()) * len(rest) if len(rest) else 0
    return 1 - int(np.sum(lengths)) / wide if wide else 0.0


def _chunks(rows: Any, columns: str | Sequence[str] | None) -> tuple[Iterable[list[dict[str, Any]]], int]:
    """Examples of `layouts.py`, some at a time, and how many rows there are."""
    if columns is None and not isinstance(rows, (str, bytes)) and not hasattr(rows, "column_names") and not hasattr(rows, "__fspath__"):
        rows = list(rows) if type(rows).__name__ != "DataFrame" else rows
    if columns is not None or (isinstance(rows, list) and all(isinstance(row, str) for row in rows)):
        shown = texts.texts_of(rows, columns)
        return ([{"text": text} for text in shown[i:i + CHUNK_ROWS]] for i in range(0, len(shown), CHUNK_ROWS)), len(shown)
    table = rows if hasattr(rows, "to_batches") else sources.load_rows(rows)

    def examples() -> Iterable[list[dict[str, Any]]]:
        for first in range(0, table.num_rows, CHUNK_ROWS):
            yield layouts.examples(table.slice(first, CHUNK_ROWS).to_pylist(), table.column_names, first + 1)

    return examples(), table.num_rows


def _shown(tokenizer: Any, examples: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The text that is tokenized for each example, and whether it is rendered ("chat") or plain."""
    shown, kinds = [], []
    for example in examples:
        if "messages" in example:
            try:
                shown.append(tokenizer.apply_chat_template(example["messages"], tokenize=False))
            except jinja2.TemplateError:
                chat.encode(tokenizer, example, False)  # says in a sentence what the template refuses
                raise
            kinds.append("chat")
        else:
            shown.append(example["prompt"] + example["completion"] if "prompt" in example else example["text"])
            empty = "prompt" in example and not example["completion"].strip()
            kinds.append("open" if empty else "plain")
    return shown, kinds


def _counted(tokenizer: Any, shown: list[str], kinds: list[str]) -> list[int]:
    """Tokens of each; plain text gets the tokenizer's own special tokens, and its end token where that is not there yet."""
    out = [0] * len(shown)
    for special in (False, True):
        those = [i for i, kind in enumerate(kinds) if (kind != "chat") == special]
        if those:
            cut = tokenizer([shown[i] for i in those], add_special_tokens=special, verbose=False)["input_ids"]
            for i, ids in zip(those, cut, strict=True):
                out[i] = len(ids) + int(kinds[i] == "plain" and (not ids or ids[-1] != tokenizer.eos_token_id))
    return out
