"""Log-probabilities of replies under the model that a policy started from, each computed once.

With an adapter the reference is the same weights with the adapter off, where that is the model it started from; else a second copy, read
again from where the first came from. What was computed is kept in checkpoints, so that a resumed run goes on with the same numbers to the
last bit. Whether an adapter put off is the model it started from is asked here for every objective. Not here: log-probabilities themselves
(`reply_logps.py`), and the reference of a policy with rewards, read token by token (`policy_rows.py`).
"""

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workbench.training import fast_rows, reply_logps, together
from workbench.training.reply_logps import ReplyLogps, Row

FILE = "reference.safetensors"
"""In a checkpoint: `keys` n x 16 bytes and `values` n, nats."""
NEAR = 1e-3
"""Logits that differ by less are those of one model: DoRA's lengths are rounded."""


class KeptSums:
    """`KeptSums(policy)` with its adapter off, or `KeptSums(policy, copy)`: of each reply the sum over its tokens, computed once."""

    def __init__(self, policy: Any, copy: Any = None):
        self.policy, self.copy = policy, copy
        self._kept: dict[bytes, float] = {}
        self._logps: ReplyLogps | None = None
        self.sharded = False
        """Whether processes hold parts of the policy, so that all of them read it or none does."""
        if copy is not None:
            copy.requires_grad_(False).eval()

    def ready(self, device: torch.device, lays: bool) -> None:
        """Put the copy where the policy trains."""
        if self.copy is None:
            return
        if not getattr(self.copy, "is_quantized", False):
            self.copy.to(device)
        if lays:
            fast_rows.prepare(self.copy)
        self._logps = ReplyLogps(self.copy)

    def of(self, rows: Sequence[Row], logps: ReplyLogps, lay: Callable[[list[Row]], reply_logps.Laid]) -> torch.Tensor:
        """M: of each reply of the rows, float32 on the CPU. `logps` is the policy's, for where its adapter is put off."""
        keys = [key(row["prompt"], reply) for row in rows for reply in row["replies"]]
        wanted, first = [], 0
        for row in rows:
            last = first + len(row["replies"])
            if any(name not in self._kept for name in keys[first:last]):
                wanted.append((row, keys[first:last]))
            first = last
        # of a model that is cut up every process holds a part, so all read when one does
        if self.sharded and together.anywhere(bool(wanted)) and not wanted:
            wanted = [(rows[0], keys[:len(rows[0]["replies"])])]
        if wanted:
            batch = lay([row for row, _ in wanted])
            with torch.no_grad(), self._stilled(), reply_logps.within(batch):
                found = (self._logps or logps)(batch, self.copy or self.policy).tolist()
            for name, value in zip((name for _, names in wanted for name in names), found, strict=True):
                self._kept.setdefault(name, value)
        return torch.tensor([self._kept[name] for name in keys])

    @contextlib.contextmanager
    def _stilled(self) -> Any:
        """Without dropout, and the adapter off."""
        if self.copy is not None:
            yield
            return
        training = self.policy.training
        self.policy.eval()
        try:
            with self.policy.disable_adapter():
                yield
        finally:
            self.policy.train(training)

    def save(self, folder: str | Path) -> None:
        """Into a checkpoint, with what other processes computed. Raises `OSError` where the disk refuses."""
        from safetensors.numpy import save_file

        for kept in together.gathered(self._kept) if together.world() > 1 else ():
            self._kept |= kept
        if together.rank() != 0:
            return
        keys = np.frombuffer(b"".join(self._kept), np.uint8).reshape(-1, 16)
        save_file({"keys": keys, "values": np.array(list(self._kept.values()), np.float32)}, Path(folder) / FILE)

    def restore(self, folder: str | Path) -> None:
        from safetensors.numpy import load_file

        path = Path(folder) / FILE
        if path.exists():
            found = load_file(path)
            self._kept = dict(zip((row.tobytes() for row in found["keys"]), found["values"].tolist(), strict=True))


def key(prompt: Sequence[int], reply: Sequence[int]) -> bytes:
    """16 bytes that name a reply to a prompt."""
    body = np.array([len(prompt), *prompt, *reply], np.int32).tobytes()
    return hashlib.blake2b(body, digest_size=16).digest()


@torch.no_grad()
def first_logits(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Logits of a short text, in eval mode, by which `off_is_start` compares; 1 x T x vocabulary, float32 on the CPU."""
    training = model.training
    model.eval()
    tokens = torch.tensor([list(ids)], device=model.device)
    out = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits.float().cpu()
    model.train(training)
    return out


def off_is_start(model: Any, ids: Sequence[int], start: torch.Tensor) -> bool:
    """Whether the adapted model with its adapter off is the model that gave the logits `start` of `ids`, and stays it while it trains: not
    where biases of the base are trained, where a method changed the base (PiSSA), or where there is no adapter."""
    if not hasattr(model, "disable_adapter"):
        return False
    prefix = getattr(model.base_model, "prefix", None)
    put_off = ("modules_to_save", "prompt_encoder", *([prefix] if prefix else []))
    trained = [name for name, weights in model.named_parameters() if weights.requires_grad]
    if not all(any(part in name for part in put_off) for name in trained):
        return False
    with model.disable_adapter():
        return bool((first_logits(model, ids) - start).abs().max() < NEAR)
