"""Templates: whatever is put together from Jinja's pieces and Python's names is rendered within its limits, or refused with line and
column."""

from __future__ import annotations

import json
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.watch import watched
from workbench.templates.limits import Limits
from workbench.templates.sandbox import METHODS, Compiled, TemplateError

ROW = {"text": "Mira bakes", "words": ["a", "b"], "answers": {"text": ["x"], "items": 3}, "n": 3, "nothing": None, "price": 2.5}
LIMITS = Limits(seconds=0.5, characters=100_000, steps=20_000)
SLOWEST_S = 3.0
"""Of this thread's own time: the limit, one operation that was under way, and compiling."""
ATOMS = (
    *ROW,
    "true",
    "none",
    "7",
    "-1",
    "10**9",
    "'a'",
    "'%s %d'",
    "'ab' * 99999",
    "range(99999)",
    "[1, [2]]",
    "{'a': 1}",
    "dict",
    "zip",
    "namespace(a=1)",
    "self",
    "loop",
    "missing",
    "cycler",
    "joiner",
    "lipsum",
    "caller",
    "varargs",
    "''.__class__",
    "text.format_map",
)
FILTERS = (
    "list",
    "join",
    "join('b' * 9999)",
    "map('upper')",
    "map(attribute='__class__')",
    "sort",
    "unique",
    "sum",
    "length",
    "first",
    "string",
    "format(n, text)",
    "replace('', 'x' * 999)",
    "round(99999)",
    "tojson",
    "attr('__class__')",
    "select",
    "dictsort",
    "reverse",
    "choice",
    "most_frequent",
    "truncate(9)",
    "default('d')",
    "trim",
    "wordcount",
    "batch(2)",
    "center(10**9)",
)
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and", "or", "is sameas")
ATTRIBUTES = (
    "__class__",
    "__mro__",
    "__globals__",
    "__init__",
    "__self__",
    "gi_frame",
    "format",
    "upper()",
    "split('')",
    "join(words)",
    "items()",
    "append(1)",
    *sorted(METHODS[str])[:9],
    "text",
    "a",
)
EXPRESSIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(OPERATORS), inner),
        st.builds("({} | {})".format, inner, st.sampled_from(FILTERS)),
        st.builds("{}.{}".format, inner, st.sampled_from(ATTRIBUTES)),
        st.builds("{}[{}]".format, inner, inner),
        st.builds("{}({})".format, inner, inner),
        st.builds("[{}, {}]".format, inner, inner),
    ),
    max_leaves=6,
)
BLOCKS = st.recursive(
    st.builds("{{{{ {} }}}}".format, EXPRESSIONS) | st.sampled_from(("x", "|||", "{{", "%}", "{#", "{% raw %}", "\n")),
    lambda inner: st.one_of(
        st.builds("{{% for v in {} %}}{}{{% endfor %}}".format, EXPRESSIONS, inner),
        st.builds("{{% if {} %}}{}{{% endif %}}".format, EXPRESSIONS, inner),
        st.builds("{{% set v = {} %}}{}".format, EXPRESSIONS, inner),
        st.builds("{{% macro m(a) %}}{}{{% endmacro %}}".format, inner),
        st.builds("{}{}".format, inner, inner),
        st.builds("{{% include {} %}}{}".format, EXPRESSIONS, inner),
    ),
    max_leaves=5,
)


@given(BLOCKS)
def rendered(folder: Path, source: str) -> None:
    """Text within the limits or a `TemplateError`; the row is as it was, and nothing is opened, run or written."""
    before, row = time.thread_time(), json.loads(json.dumps(ROW))
    try:
        with watched():
            text = Compiled(source).render(row, lambda values: values[0], LIMITS)
    except TemplateError as error:
        assert error.line >= 1 and error.column >= 1 and "object at 0x" not in str(error) and "<class" not in str(error), str(error)
    else:
        assert len(text) <= LIMITS.characters and "object at 0x" not in text and "<class" not in text, text[:200]
    assert row == ROW
    assert time.thread_time() - before < SLOWEST_S


PROPERTIES = (rendered,)
