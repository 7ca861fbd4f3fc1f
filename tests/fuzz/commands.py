"""Commands: each comes back as it was sent, and any bytes whatever are read as some commands and some damage, none of which ends a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from tests.fuzz.damage import wounded
from tests.fuzz.journals import ANYTHING, NUMBER, of
from tests.fuzz.watch import watched
from workbench.errors import RecipeError
from workbench.journal import commands as cmd
from workbench.recipes import LIVE, check_live
from workbench.training.control import Inbox, Settings

KNOWN = [kind for kind in cmd.KINDS.values() if kind.kind]
LIVE_VALUES = st.dictionaries(
    st.sampled_from(sorted(LIVE)), NUMBER | st.none() | st.dictionaries(st.sampled_from(("a", "b", "c")), NUMBER) | ANYTHING, max_size=3
)
COMMANDS = st.one_of(
    [
        st.builds(kind, **{field.name: LIVE_VALUES if field.name == "values" else of(field.type) for field in dataclasses.fields(kind)})
        for kind in KNOWN
    ]
)
WORDS = tuple(
    word.encode()
    for word in (
        '"command":"set"',
        '"command":"exec"',
        '"command":["set"]',
        '"command":{}',
        '"id":5',
        '"by":7',
        '"by":null',
        '"time":"now"',
        '"time":true',
        '"at_step":1e300',
        '"at_step":-1',
        '"at_step":true',
        '"values":[]',
        '"values":{"learning_rate":1e400}',
        '"values":{"learning_rate":NaN}',
        '"values":{"__class__":1}',
        '"count":0',
        '"count":-9',
        '"count":99999999999999999999',
        '"probe":"__init__"',
        '"arguments":{"self":1}',
        '{"command":"stop"}\n',
        '{"command":"set","values":{"learning_rate":0.5}}\n',
    )
)
RECIPES = (wb.Recipe(), wb.Recipe(objective="dpo"), wb.Recipe(objective=wb.PPO(rewards={"a": "town:helpful", "b": "town:honest"})))


class Scheduler:
    """Enough of one for a peak to be changed."""

    def __init__(self):
        self.base_lrs = [1e-3]


@given(COMMANDS)
def kept(folder: Path, command: cmd.Command) -> None:
    line = cmd.encode(command)
    assert line.count(b"\n") == 1 and cmd.decode(line) == command


@given(wounded(st.lists(COMMANDS, max_size=4).map(lambda sent: b"".join(map(cmd.encode, sent))), WORDS), st.sampled_from(RECIPES))
def damaged(folder: Path, content: bytes, recipe: wb.Recipe) -> None:
    """As a worker takes them at a step: each is carried out or refused in a sentence; nothing else is touched."""
    (folder / "commands.jsonl").write_bytes(content)
    mixture = {"a": 0.5, "b": 0.5}
    with watched((folder,)):
        inbox = Inbox(folder)
        inbox.look()
        while (command := inbox.take(10**9)) is not None:
            assert isinstance(command.by, str) and cmd.decode(cmd.encode(command)) == command
            inbox.stops(5)
            if isinstance(command, cmd.Set):
                obey(command, recipe, mixture)


def obey(command: cmd.Set, recipe: wb.Recipe, mixture: dict[str, float]) -> None:
    try:
        check_live(command.values, mixture, recipe)
    except RecipeError as error:
        assert error.what.endswith(".") and error.remedy
        return
    settings = Settings(
        1e-3, 5, mixture, lambda weights, step: (mixture, weights), recipe.settings.live_values() if recipe.settings else {}
    )
    for field, value in command.values.items():
        settings.change(field, value, optimizer=Optimizer(), scheduler=Scheduler(), state=State())
        now: Any = settings.now(field)
        assert now is None or isinstance(now, (int, float, dict))


class Optimizer:
    def __init__(self):
        self.param_groups = [{"lr": 1e-3, "initial_lr": 1e-3}]


class State:
    eval_steps, global_step = 5, 3


PROPERTIES = (kept, damaged)
