"""Whatever writes text, as a function of a prompt: a model in this process, the result of a run, an endpoint, or any callable.

Names mean what they mean in a recipe. Weights are loaded at the first prompt, names are checked at once. Not here: what is asked
(`synthesis.py`), how an endpoint is talked to (`endpoint.py`), a run that is still training (its `generate` is a callable and will
do), many prompts in one forward pass.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from workbench import town
from workbench.data.endpoint import Cut
from workbench.errors import DataError
from workbench.models import loading, samplers
from workbench.models.samplers import Sampler
from workbench.templates import chat

BLANKS = 2
"""Tokens of white space that a reply may have had around it: within so many of the most that fit, it is taken to have been cut off."""

Generator = Callable[[str], str]


@dataclass(slots=True)
class LocalModel:
    """`LocalModel(pair)(prompt)` → the reply of `(model, tokenizer)`, or of a source that gives one when it is first asked.

    The prompt goes through the chat template as one turn of a user, or is continued as it stands where the tokenizer has none. The same
    prompt and seed give the same reply in whatever order prompts come; torch's own random state is left as it was. Raises `DataError` for a
    prompt that leaves no room for a reply.
    """

    source: "tuple[Any, Any] | Callable[[], tuple[Any, Any]]"
    called: str = "a model"
    max_tokens: int = 256
    temperature: float = 0.7
    """0 takes the likeliest token each time."""
    seed: int = 0
    sampler: Sampler | None = None
    """Another way of writing, such as `Beam(4)`; then `temperature` says nothing."""
    workers: int = field(default=1, init=False)
    _turn: Any = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.max_tokens, bool) or not isinstance(self.max_tokens, int) or self.max_tokens < 1:
            raise DataError(f"max_tokens is {self.max_tokens!r}; it must be a whole number of at least 1.", "Use max_tokens=256.")
        if not 0 <= self.temperature < 100:
            raise DataError(f"temperature is {self.temperature!r}; it must be a number of at least 0.", "Use temperature=0.7.")

    @property
    def name(self) -> str:
        """What its rows and kept replies go by."""
        return f"{self.called} {self.sampler or format(self.temperature, 'g')} {self.max_tokens} {self.seed}"

    def __call__(self, prompt: str) -> str:
        with self._turn:  # torch's random state is one for all threads
            return self._reply(prompt)

    def _reply(self, prompt: str) -> str:
        import torch

        if callable(self.source):
            self.source = self.source()
        model, tokenizer = self.source
        ids = chat.prompt_ids(tokenizer, prompt, raw=not tokenizer.chat_template)
        room = getattr(model.config, "max_position_embeddings", None)
        if not ids or (room and len(ids) >= room):
            raise DataError(f"The prompt is {len(ids)} tokens long, and {self.called} has room for {room}, its reply included.",
                            "Give shorter rows or fewer of them at a time (demonstrations=..., words=...), or a model with more room.")
        cudas = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
        seed = int.from_bytes(hashlib.blake2b(f"{self.seed}\0{prompt}".encode("utf-8", "surrogatepass"), digest_size=7).digest(), "little")
        with torch.random.fork_rng(devices=cudas):
            if self.sampler is not None:
                ((found,),) = samplers.draw(model, tokenizer, [ids], 1, self.sampler, reply_tokens=self.max_tokens, seed=seed)
                reply = tokenizer.decode(found, skip_special_tokens=True).strip()
            else:
                reply = loading.generate(model, tokenizer, ids, max_new_tokens=self.max_tokens, temperature=float(self.temperature),
                                         seed=seed)
        most = min(self.max_tokens, room - len(ids)) if room else self.max_tokens
        written = len(tokenizer(reply, add_special_tokens=False).input_ids)
        return Cut(reply) if written >= most - BLANKS else reply  # text alone is returned, without its end


def generator_of(source: Any, seed: int = 0, **options: Any) -> Generator:
    """A function of a prompt, out of: a `(model, tokenizer)` pair; "town", a model folder or a hub id; a run with a result; or a callable
    (an `Endpoint`, a function), which stays as it is.

    `seed` and `options` are those of `LocalModel`. Raises `WorkbenchError` for a name behind which there is no model, and `DataError` for
    what is none of these, or for options to a callable, which has its own.
    """
    unknown = sorted(set(options) - {"max_tokens", "temperature", "sampler"})
    if unknown:
        raise DataError(f"There is no setting {unknown[0]!r} of a generator.", "A local model has max_tokens, temperature and sampler.")
    if isinstance(source, (str, os.PathLike)):
        name = os.fspath(source)
        folder = _folder(name)
        loading.check_source(folder)
        return LocalModel(lambda: _placed(*loading.load(folder)), name, seed=seed, **options)
    if isinstance(source, (tuple, list)) and len(source) == 2 and hasattr(source[0], "generate"):
        return LocalModel(tuple(source), str(getattr(source[0].config, "_name_or_path", "") or "a model"), seed=seed, **options)
    if hasattr(source, "history") and hasattr(source, "load"):  # a Run, which stands on a floor above
        if not (source.folder / "result").exists():
            source.load()  # says in its own words why there is nothing to load yet
        return LocalModel(lambda: _placed(*source.load()), source.name, seed=seed, **options)
    if callable(source):
        if options:  # the seed is ours too, so it may be given
            raise DataError(f"{', '.join(options)} cannot be set for {name_of(source) or 'a function'} from here.",
                            "Set it where you make it, such as wb.Endpoint(address, model, temperature=0.7).")
        return source
    raise DataError(f"Text cannot be had from a {type(source).__name__}.",
                    'Give a (model, tokenizer) pair, "town", a model folder, a hub id, a run, a wb.Endpoint or a function of a prompt.')


def name_of(generator: Any) -> str:
    """What rows say they were made by: the attribute `name`, else a function's own name."""
    return str(getattr(generator, "name", "") or getattr(generator, "__name__", "") or type(generator).__name__)


def _folder(name: str) -> str:
    """"town" is the shipped base model, as in a recipe (`recipes.resolve_model`; recipes know of data, so data cannot ask them)."""
    if name == "town" or name.startswith("town-"):
        try:
            return str(town.base_folder(name.removeprefix("town").removeprefix("-") or "medium"))
        except ValueError as error:
            raise DataError(str(error), 'Use "town".') from error
    return name


def _placed(model: Any, tokenizer: Any) -> tuple[Any, Any]:
    import torch

    return model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
