"""promptsource's YAML: tasks come back as they were written, and a damaged or hostile file gives a task or one sentence."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.damage import wounded
from tests.fuzz.watch import watched
from workbench.errors import DataError
from workbench.templates import promptsource
from workbench.templates.tasks import Task, Template

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT
METADATA = st.fixed_dictionaries(
    {"original_task": PLAIN, "choices_in_prompt": PLAIN, "metrics": st.lists(TEXT, max_size=2), "languages": PLAIN}
)


@st.composite
def tasks(draw: st.DrawFn) -> Task:
    names = draw(st.lists(TEXT, min_size=1, max_size=3, unique=True))
    templates = [
        Template.from_jinja(
            name,
            draw(TEXT | st.just("{{text}} ||| {{ answer_choices[label] }}")),
            answer_choices=draw(st.none() | TEXT),
            strict=False,
            longest=promptsource.LONGEST,
            id=f"id-{number}",
            reference=draw(st.none() | TEXT),
            metadata=promptsource.Metadata(draw(METADATA)),
        )
        for number, name in enumerate(names)
    ]
    dataset, subset = draw(TEXT), draw(st.none() | TEXT)
    # a subset that is there and null is kept apart from none at all
    return Task(name=str(dataset) if subset is None else f"{dataset}/{subset}", templates=tuple(templates), dataset=dataset, subset=subset)


BILLION_LAUGHS = "\n".join(
    ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
)
OF_LAUGHS = BILLION_LAUGHS + "\ndataset: *a9\nsubset: *a9\ntemplates: {}\n"
"""A name of a task that would be a gigabyte of text."""
LAUGHING_METADATA = BILLION_LAUGHS + (
    "\ndataset: d\ntemplates:\n  i: !Template {answer_choices: null, id: i, jinja: x, name: *a9, reference: '', metadata: *a9}\n"
)
WORDS = tuple(
    word.encode()
    for word in (
        "!!python/object/apply:os.system ['true']",
        "!!python/object/new:subprocess.Popen [[true]]",
        "!!python/name:os.system",
        "!!python/module:os",
        "!Template",
        "!TemplateMetadata",
        "&a",
        "*a",
        "<<: *a",
        "- &a [*a]",
        "? ",
        "|",
        ">",
        "%YAML 9.9",
        "---\n",
        "...\n",
        "!!binary aGk=",
        "!!set {a, b}",
        "!!timestamp 2001-99-99",
        "!!int 0b_",
        "!!float .",
        "0o_",
        "1:99:99",
        "!<tag:yaml.org,2002:python/none>",
        "\ttab",
        "  " * 300,
        "[" * 2000,
        "- " * 2000,
        "{a: " * 2000,
        "templates: {}",
        "[1]: {}\n",
        "? [a]\n: b\n",
        "=",
        "~",
        "null: null",
    )
)


@given(tasks())
def kept(folder: Path, task: Task) -> None:
    """Written and read, the task is the same; written again, so is the file."""
    path = folder / "templates.yaml"
    promptsource.write(task, path)
    read = promptsource.read(path)
    assert read == task
    assert promptsource.dumps(read) == path.read_text(encoding="utf-8")


@given(wounded(tasks().map(lambda task: promptsource.dumps(task).encode()), WORDS))
@example(OF_LAUGHS.encode())
@example(LAUGHING_METADATA.encode())
def damaged(folder: Path, content: bytes) -> None:
    """A task that can be written again, or a sentence; no tag makes an object, no alias grows."""
    path = folder / "templates.yaml"
    path.write_bytes(content)
    try:
        with watched((path,)):
            task = promptsource.read(path)
            repr(task)
    except DataError as error:
        assert error.remedy.endswith(".") and len(str(error)) < 2000, str(error)
        return
    try:
        again = promptsource.loads(promptsource.dumps(task))
    except DataError as error:  # two of one name, as a damaged file may have
        assert "two templates" in str(error), str(error)
        return
    assert again == task


PROPERTIES = (kept, damaged)
