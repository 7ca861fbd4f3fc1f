"""`Run`: a handle on a run folder: what it says of itself, live control, probes, and what comes after it.

Any number of handles on one folder, in any process, see and say the same; everything read comes from the journal, everything asked goes through `commands.jsonl`.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench import device_queue, launching, recipes
from workbench.data import run_rows
from workbench.errors import RunError
from workbench.journal import commands as cmd
from workbench.journal import inside
from workbench.journal.history import History
from workbench.recipes import Recipe, check_live, live_value, resolve_model
from workbench.runs import alerts, processes
from workbench.runs.alerts import Alert
from workbench.runs.status import LIVING, STATUSES, Status, left_by_script, living_pid, status_of

if TYPE_CHECKING:
    import pandas as pd

POLL_S = 0.02


class Run:
    """A run, running or not. Made by `start`, `attach` and `fork`.

    `folder` is the run's folder, `history` its journal as it was at the last look (`status`, `metrics()` and the like look again).
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder).expanduser().resolve()
        self.history = History(self.folder)
        self.read_only = False
        self._recipe: Recipe | None = None
        self._result: tuple[Any, Any] | None = None

    def __repr__(self) -> str:
        return f"Run {self.name}: {self.status.sentence}"

    # what it is --------------------------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def recipe(self) -> Recipe:
        """What was asked; never changes."""
        if self._recipe is None:
            if not (self.folder / "recipe.json").exists():
                raise RunError(f"{self.name} was not started here, so it has no recipe.", "Its metrics are in run.metrics().")
            recipe = recipes.read(self.folder)
            self._recipe = recipe.replace(settings=recipe.settings.at(self.folder)) if recipe.settings else recipe
        return self._recipe

    @property
    def pid(self) -> int | None:
        """The worker's process id while it lives."""
        self.history.refresh()
        return living_pid(self.folder, self.history)

    @property
    def status(self) -> Status:
        """A word ("running", "died", ...) that also carries a sentence, a remedy and the log's tail."""
        return status_of(self.folder, self.history)

    @property
    def parent(self) -> str | None:
        """The folder this run was forked from."""
        self.history.refresh()
        return self.history.forked.parent if self.history.forked else None

    @property
    def note(self) -> str:
        """A person's own words on the run, kept in `note.txt`."""
        path = self.folder / "note.txt"
        return path.read_text() if path.exists() else ""

    @note.setter
    def note(self, text: str) -> None:
        try:
            (self.folder / "note.txt").write_text(text)
        except OSError as error:
            raise RunError(f"The note cannot be written: {error.strerror}.", "Free some space, or give the folder write permission.") from error

    def metrics(self) -> "pd.DataFrame":
        """One row a step: step, loss, learning_rate, grad_norm, epoch, tokens, tokens_per_s, memory_gib, time, heldout_loss, and what the trainer adds."""
        import pandas as pd

        self.history.refresh()
        frame = pd.DataFrame(self.history.metrics())
        frame["step"] = frame["step"].astype(int)
        return frame.assign(heldout_loss=frame["step"].map({e.step: e.loss for e in self.history.evaluations}).astype(float))

    def samples(self) -> "pd.DataFrame":
        """Replies at each evaluation: step, prompt, reply, reference, verdict."""
        import pandas as pd

        self.history.refresh()
        names = ("step", "prompt", "reply", "reference", "verdict")
        return pd.DataFrame([{name: getattr(s, name) for name in names} for s in self.history.samples], columns=list(names))

    @property
    def sources(self) -> list[str]:
        """Names of the sources it draws from, where it draws from a mixture."""
        self.history.refresh()
        return list(self.history.prepared.mixture) if self.history.prepared else list(run_rows.names(self.recipe.data)) if not self.read_only and not self._by_script else []

    # live control ------------------------------------------------------------------------------------------------------------------

    def set(self, *, at_step: int | None = None, **values: Any) -> None:
        """Change settings of the running job at its next step boundary, or when `at_step` steps are done: `learning_rate` (the peak), `evaluate_every`, `mixture`,
        and what its objective can change: `beta`, `kl_target`, `temperature`, `reward_weights`.

        `mixture` is weights by source (or a `Mixture`); a source that is not named keeps the weight it has, at the start its share.
        """
        values = {name: live_value(value) for name, value in values.items()}
        check_live(values, self.sources, None if self.read_only or self._by_script else self.recipe)
        _check_count("at_step", at_step, 0)
        self._check_reached(at_step)
        self._send(cmd.Set(values=values, at_step=at_step), "changed")

    def pause(self, at_step: int | None = None) -> None:
        """Hold after the current step, or when `at_step` steps are done; the model stays loaded and answers. A paused run keeps the device: others wait behind it."""
        _check_count("at_step", at_step, 0)
        self._check_reached(at_step)
        self._send(cmd.Pause(at_step=at_step), "paused")

    def _check_reached(self, at_step: int | None) -> None:
        """Raises `RunError` for a step that the run will never get to."""
        self.history.refresh()
        steps = self.history.steps or (None if self.read_only or self._by_script else self.recipe.steps)
        if at_step is not None and steps is not None and at_step > steps:
            raise RunError(f"{self.name} ends at step {steps}, so step {at_step} never comes.", f"Give a step from 0 to {steps}.")

    def step(self, count: int = 1) -> None:
        """While paused: take `count` steps and pause again."""
        _check_count("count", count, 1)
        self._send(cmd.TakeSteps(count=count), "stepped")

    def stop(self) -> None:
        """End after the current step; what was learned is kept in `result/`. Raises `RunError` where it is another person's in the queue."""
        device_queue.check_own(self.name, self.pid or 0, "stopped", "stops")
        self._send(cmd.Stop(), "stopped")

    def move_up(self) -> None:
        """While it waits for the device: make it the next of its person's runs. Raises `RunError` where it does not wait, or is another's."""
        self._refuse_read_only("moved up")
        device_queue.move_up(self.name, self.pid or 0)

    def resume(self) -> "Run":
        """Go on: after a pause, or with a new worker from the last checkpoint after the old one stopped or died."""
        status = self.status
        if status in LIVING:
            self._send(cmd.Resume(), "resumed")
        elif self._by_script:
            raise RunError(f"{self.name} was trained by a script of its own, so it cannot be resumed from here.",
                           "Run the script again with trainer.train(resume_from_checkpoint=True).")
        elif status == "finished":
            raise RunError(f"{self.name} has finished at step {self.history.step}.",
                           "Fork it from an earlier step, or start its recipe again with more steps.")
        else:
            self._refuse_read_only("resumed")
            self.check_known()
            launching.one_machine(self.recipe.launch, "Type what wb.launch_command(run) says on each: it goes on from the last checkpoint.")
            self._result = None
            processes.spawn(self.folder)
        return self

    @property
    def _by_script(self) -> bool:
        return not self.read_only and not (self.folder / "recipe.json").exists()

    def check_known(self) -> None:
        """Before something of the folder is run or copied, which may be another person's. Raises `RunError` for links that lead out of it,
        `RecipeError` for code that this person never named."""
        inside.check(self.folder)
        if self.recipe.settings:
            self.recipe.settings.check_known()

    def _refuse_script(self, what: str) -> None:
        """One sentence for everything that needs a recipe or a result of the workbench's own."""
        if self._by_script:
            self.history.refresh()
            ended = self.history.ended
            raise RunError(f"{self.name} cannot be {what} here.", left_by_script(ended.result if ended else ""))

    def _send(self, command: cmd.Command, what: str) -> str:
        self._refuse_read_only(what)
        status = self.status
        if status not in LIVING:
            raise RunError(f"{self.name} cannot be {what}: it is not running ({status}).", status.remedy or "Fork it to go on from one of its checkpoints.")
        try:
            return cmd.send(self.folder, command)
        except OSError as error:
            raise RunError(f"The command cannot be written: {error.strerror}.", "Free some space on the disk of the run folder.") from error

    def _refuse_read_only(self, what: str) -> None:
        if self.read_only:
            raise RunError(f"{self.name} cannot be {what}: this folder is only read.", "Give your trainer callbacks=[wb.Stream(folder)] to control it live.")

    # probes ------------------------------------------------------------------------------------------------------------------------

    def generate(self, prompt: str, max_new_tokens: int = 64, *, temperature: float = 0.0, seed: int | None = None, raw: bool = False,
                 timeout: float = 60.0) -> str:
        """The model's reply with its weights as they are now; after the end, the result's. `raw` continues plain text."""
        return self._ask("generate", timeout, prompt=prompt, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, raw=raw)

    def classify(self, texts: list[str], timeout: float = 60.0) -> "pd.DataFrame":
        """Of a run that classifies: text, label, probability of each text with its weights as they are now; after the end, the result's."""
        import pandas as pd

        if isinstance(texts, str):
            texts = [texts]
        return pd.DataFrame(self._ask("classify", timeout, texts=list(texts)), columns=["label", "probability"]).assign(text=texts)[["text", "label", "probability"]]

    def score(self, prompt: Any, replies: list[Any], timeout: float = 60.0) -> "pd.DataFrame":
        """Of a run that learns rewards: reply and its reward by each head, with its weights as they are now; after the end, the result's."""
        import pandas as pd

        replies = [replies] if isinstance(replies, str) else list(replies)
        return pd.DataFrame({"reply": replies}).join(pd.DataFrame(self._ask("score", timeout, prompt=prompt, replies=replies)))

    def next_tokens(self, prompt: str, k: int = 10, *, raw: bool = False, timeout: float = 60.0) -> "pd.DataFrame":
        """The k likeliest next tokens: token, probability."""
        import pandas as pd

        return pd.DataFrame(self._ask("next_tokens", timeout, prompt=prompt, k=k, raw=raw), columns=["token", "probability"])

    def losses(self, rows: list[dict[str, Any]], timeout: float = 60.0) -> list[float | None]:
        """Loss of each row in nats per trained token (None where none is trained)."""
        return self._ask("losses", timeout, rows=rows)

    def _ask(self, probe: str, timeout: float, **arguments: Any) -> Any:
        if self.status not in LIVING:
            return self._ask_result(probe, arguments)
        ident = self._send(cmd.Probe(probe=probe, arguments=arguments), "asked")
        deadline = time.monotonic() + timeout
        while ident not in self.history.answers:
            if time.monotonic() > deadline:
                raise RunError(f"{self.name} did not answer within {timeout:g} s.", "It answers at a step boundary: wait longer, or pause it first.")
            if self.pid is None and self.history.refresh() == 0:
                raise RunError(f"{self.name} ended before it answered.", self.status.remedy or "Ask again: its result answers.")
            time.sleep(POLL_S)
            self.history.refresh()
        answer = self.history.answers[ident]
        reason = getattr(answer, "error", "") or getattr(answer, "reason", "")
        if reason:
            raise RunError(reason)
        return answer.result  # type: ignore[union-attr]

    def _ask_result(self, probe: str, arguments: dict[str, Any]) -> Any:
        """Ask the result itself, loaded into this process once."""
        if self._result is None:
            self._result = self.load()
        from workbench import probes as questions

        recipe, model = self.recipe, self._result[0]
        room = getattr(model.config, "max_position_embeddings", None) or recipe.max_length
        probes = questions.of(recipe, *self._result, min(recipe.max_length, room))
        try:
            return probes.answer(probe, arguments)
        except (ValueError, TypeError, LookupError) as error:  # as a running worker would answer it
            raise RunError(str(error)) from error

    # what comes after --------------------------------------------------------------------------------------------------------------

    def alert(self, to: Callable[[dict[str, str]], Any] | str, on: Iterable[str] = ("failed", "finished", "alarm")) -> Alert:
        """Tell `to` (a function of one dict, or a web address that takes JSON) when the run fails or dies, finishes, is stopped ("stopped"), or does
        something alarming, as long as this process lives; what has happened already is told at once. WORKBENCH_WEBHOOK tells after it, too.

        The function gets, and the address is posted as JSON, one dict of texts: "text" (all of it as a sentence), "run" (its name), "kind"
        ("failed", "finished", "stopped" or "alarm"), "status", "reason", "remedy", "step", "steps" and "loss" ("" where unknown)."""
        return alerts.watch(self, to, on)

    def wait(self, timeout: float | None = None, until: int | str | None = None) -> Status:
        """Wait for the end, or until a step is done (a number) or a status is there (a word). Raises `RunError` at the timeout."""
        if isinstance(until, str) and until not in STATUSES:
            raise RunError(f"until is {until!r}, which no run ever is.", f"Give a step, or one of {', '.join(STATUSES)}.")
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            status = self.status
            if status not in LIVING or status == until or (isinstance(until, int) and self.history.step >= until):
                return status
            if deadline is not None and time.monotonic() > deadline:
                on = "It goes on after run.resume()." if status == "paused" else "Wait longer; it goes on by itself."
                where = f": {status.holder} has the device" if status.holder else f", at step {self.history.step}"
                raise RunError(f"{self.name} is still {status} after {timeout:g} s{where}.", on)
            time.sleep(POLL_S)

    def fork(self, step: int | None = None, name: str | None = None, **changes: Any) -> "Run":
        """A new run that goes its own way from `step` (the last one by default): the nearest checkpoint at or before it, replayed up to it, then `changes`."""
        from workbench.runs.fork import fork

        self._refuse_script("forked")
        return fork(self, step, name, changes)

    def load(self) -> tuple[Any, Any]:
        """`(model, tokenizer)` of the result, in this process on the CPU. Raises `RunError` while there is none."""
        from workbench.models import folders
        from workbench.models.loading import load

        self._refuse_script("loaded")
        inside.check(self.folder)
        folder = self.folder / "result"
        if not folder.exists():
            status = self.status
            hint = "Wait for it, or stop it: stopping keeps a usable result." if status in LIVING else status.remedy
            raise RunError(f"{self.name} has no result yet ({status}).", hint)
        return load(folder, base=resolve_model(self.recipe.model) if folders.is_adapter(folder) else None)

    def script(self, path: str | Path | None = None) -> Path:
        """Write this run as a plain transformers/peft script, `train.py`, with its rows and tokenizer beside it; returns the script's path.

        `path` is the folder that all of it goes into, made where there is none; None is `script` in the run's folder. Raises `RunError` for a
        `path` that ends in .py, and where the run has no plain form."""
        from workbench.runs.script import write_script

        return write_script(self, Path(path) if path else self.folder / "script")


def _check_count(name: str, value: int | None, least: int) -> None:
    if value is not None and (type(value) is not int or value < least):
        raise RunError(f"{name} is {value!r}; it must be a whole number of at least {least}.", "Nothing was asked of the run.")
