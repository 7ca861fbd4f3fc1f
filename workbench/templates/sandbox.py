"""Jinja that a stranger may have written: rendered in a sandbox with a time and a size limit, its faults told by line and column.

Only listed nodes, filters, tests and methods exist; nothing is imported, included or changed in place; each value made is weighed, so that
no single operation can be long, and the clock is read between operations (`limits.py`). jinja2's ImmutableSandboxedEnvironment is the base:
alone it has no limits, gives "" for a forbidden attribute, and tells no column. Not here: what a template is rendered with (`tasks.py`).
"""

import difflib
import functools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jinja2
from jinja2 import filters, meta, nodes, runtime, tests, visitor
from jinja2.lexer import Token, TokenStream
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError, safe_range
from jinja2.utils import htmlsafe_json_dumps

from workbench.errors import DataError
from workbench.templates.limits import INTEGER_BITS, PLAIN, VIEWS, Budget, Exceeded, Limits, plain_only

SOURCE_CHARACTERS, TOKENS, DEPTH, BUDGET = 100_000, 10_000, 60, "the budget"
ALLOWED_NODES = frozenset((
    "Template Output TemplateData For If Assign AssignBlock Name NSRef Const Tuple List Dict Pair Keyword CondExpr Filter Test Call "
    "Getattr Getitem Slice Concat Compare Operand Add Sub Mul Div FloorDiv Mod Pow Not And Or Neg Pos").split())
TAGS = {"Import": "import", "FromImport": "from", "Include": "include", "Extends": "extends", "Block": "block", "Macro": "macro",
        "CallBlock": "call", "FilterBlock": "filter", "With": "with", "Scope": "autoescape"}
FILTERS = (
    "abs capitalize count d default dictsort first float format int items join last length list lower map max min reject rejectattr "
    "replace reverse round select selectattr sort string sum title trim truncate unique upper wordcount").split()
WRITING = frozenset("string lower upper title capitalize trim replace truncate wordcount format".split())
TESTS = (
    "boolean defined undefined divisibleby eq equalto even odd false true float ge gt greaterthan in integer iterable le lower lt lessthan "
    "mapping ne none number sameas sequence string upper == != > >= < <=").split()
LOOP = frozenset("index index0 revindex revindex0 first last length previtem nextitem depth depth0 cycle changed".split())
METHODS: dict[type, frozenset[str]] = {
    str: frozenset((
        "capitalize casefold count endswith find index isalnum isalpha isdecimal isdigit islower isnumeric isspace istitle isupper join "
        "lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines startswith strip "
        "swapcase title upper").split()),
    list: frozenset(("count", "index")), tuple: frozenset(("count", "index")), dict: frozenset(("get", "items", "keys", "values"))}


BACKWARDS = frozenset("strip lstrip rstrip rfind rindex rsplit rpartition".split())
"""Methods of texts that take as long as both texts' lengths multiplied; those that look forwards do not."""


class TemplateError(DataError):
    """A template that cannot be compiled or rendered. `line` and `column` count from 1, in `part` of the template.

    `unknown` is the name of the column that the rows lack, where that is what is wrong.
    """

    def __init__(self, message: str, remedy: str = "", line: int = 1, column: int = 1, part: str = "the template", unknown: str = ""):
        super().__init__(f"{part[0].upper()}{part[1:]}, line {line}, column {column}: {message.rstrip('.')}.", remedy)
        self.message, self.line, self.column, self.part, self.unknown = message, line, column, part, unknown

    def of(self, part: str, line: int | None = None, column: int | None = None) -> "TemplateError":
        """The same, told of another part."""
        return TemplateError(self.message, self.remedy, line or self.line, column or self.column, part, self.unknown)


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter or test of jinja2 with its arguments looked at before, and its result weighed after."""
    needs = getattr(getattr(function, "jinja_pass_arg", None), "name", "")

    @jinja2.pass_context
    def call(context: runtime.Context, *args: Any, **kwargs: Any) -> Any:
        budget: Budget = context[BUDGET]
        budget.step()
        plain_only((*args, *kwargs.values()))
        if name in WRITING and hasattr(args[0], "__next__"):
            raise SecurityError("what a filter gives bit by bit is no text; put | list or | join behind it")
        if name == "join":
            read = kwargs.pop("attribute", None) if len(args) < 3 else args[2]
            parts = args[0] if read is None else map(filters.make_attrgetter(context.environment, read), args[0])  # weighed as what they give
            args = (budget.joins(parts, (*args[1:], kwargs.get("d", ""))[0]), *args[1:2])
        elif name in ("unique", "most_frequent"):
            args = (budget.keys(args[0]), *args[1:])
        elif name == "trim":
            budget.searches(str(args[0]), str((*args[1:], kwargs.get("chars") or "")[0]))
        elif name == "replace" and len(args) > 2:
            budget.replaces(str(args[0]), args[1], args[2])
        elif name == "format":
            budget.formats(str(args[0]), args[1:])
        elif name == "sum" and not isinstance((*args[2:], kwargs.get("start", 0))[0], (int, float)):
            raise SecurityError("sum adds numbers only")
        elif name in ("round", "truncate") and any(isinstance(n, int) and abs(n) > 100_000 for n in (*args[1:], *kwargs.values())):
            raise SecurityError(f"{name} takes no number over 100 000")
        first = {"context": (context,), "eval_context": (context.eval_ctx,), "environment": (context.environment,)}.get(needs, ())
        result = function(*first, *args, **kwargs)
        if hasattr(result, "__next__"):
            result = (item for item in budget.made([budget.made(item) for item in result]))
        return budget.made(result)
    return call


def _choice(context: runtime.Context, values: Any) -> Any:
    plain_only((values,))
    return context[BUDGET].choose(values)


def _most_frequent(values: Any) -> list[Any] | None:
    """All items that share the highest count, in the order of their first appearance; None where there are none (promptsource)."""
    if not values:
        return None
    counts = Counter(values).most_common()
    return [item for item, count in counts if count == counts[0][1]]


def _mark(context: runtime.Context, line: int, column: int) -> bool:
    context[BUDGET].place = (line, column)
    return True


def _each(context: runtime.Context, values: Any, characters: int) -> Iterator[Any]:
    """The loop's items, each paid for with a step and the text of the loop's body."""
    plain_only((values,))
    return _paid(context[BUDGET], iter(values), characters)  # iter: what cannot be iterated is told where the loop stands, not later


def _paid(budget: Budget, iterator: Iterator[Any], characters: int) -> Iterator[Any]:
    for item in iterator:
        budget.step(characters)
        yield item


def _concat(context: runtime.Context, values: tuple[Any, ...]) -> str:
    text = "".join(_text(context, value) for value in values)
    context[BUDGET].fits(len(text))
    return text


@jinja2.pass_context
def _text(context: runtime.Context, value: Any) -> str:
    """What an expression writes (jinja2 calls it `finalize`)."""
    budget: Budget = context[BUDGET]
    if type(value) is str:
        budget.fits(len(value))
        budget.step(len(value))
        return value
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises where the template is strict
    if not isinstance(value, (str, int, float, type(None), list, tuple, dict, *VIEWS)):
        raise SecurityError(f"a {type(value).__name__} is no text")
    return str(budget.made(value))


def _cut(context: runtime.Context, value: Any) -> str:
    """promptsource's `| string | truncate(longest)`."""
    text, longest = _text(context, value), context.environment.longest
    return text if len(text) <= longest else filters.do_truncate(context.environment, text, longest)


def _with_cuts(tokens: Iterable[Token]) -> Iterator[Token]:
    before = ""
    for token in tokens:
        if token.type == "variable_end" and before != "variable_begin":
            yield from (Token(token.lineno, "pipe", "|"), Token(token.lineno, "name", " cut"))
        before = token.type
        yield token


class Place(int):
    """A line number that knows its column; jinja2 carries it from the token to the node and to the error."""

    column: int

    @classmethod
    def at(cls, source: str, position: int) -> "Place":
        place = cls(source.count("\n", 0, position) + 1)
        place.column = position - source.rfind("\n", 0, position)
        return place


class _Prepare(visitor.NodeTransformer):
    """Refuses nodes that are not listed; marks where each expression begins; sends loops, `~` and literals through the budget."""

    def __init__(self, environment: "Sandbox"):
        self.environment, self.depth, self.place = environment, 0, Place.at("", 0)

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        kind, place = type(node).__name__, node.lineno or self.place
        self.place = place
        if kind not in ALLOWED_NODES or (isinstance(node, nodes.For) and node.recursive):
            what = f"{{% {TAGS[kind]} %}}" if kind in TAGS else "a recursive loop" if kind == "For" else kind
            raise jinja2.TemplateSyntaxError(f"{what} is not allowed in a template", place)
        for kind_of, known in ((nodes.Filter, self.environment.filters), (nodes.Test, self.environment.tests)):
            if isinstance(node, kind_of) and (node.name is None or node.name not in known):
                near = difflib.get_close_matches(str(node.name), known, n=1)
                raise jinja2.TemplateSyntaxError(f"there is no {kind_of.__name__.lower()} {node.name!r}"
                                                 + (f"; did you mean {near[0]!r}" if near else ""), place)
        self.depth += 1
        if self.depth > DEPTH:
            raise jinja2.TemplateSyntaxError(f"the template is nested more than {DEPTH} deep", place)
        literal = isinstance(node, (nodes.List, nodes.Tuple, nodes.Dict)) and getattr(node, "ctx", "load") == "load" and not _constant(node)
        whole = {name: getattr(node, name, None) for name in ("test", "iter", "node")}
        start = {name: _first(part) for name, part in whole.items() if isinstance(part, nodes.Expr)}
        starts = [_first(child) for child in node.nodes] if isinstance(node, nodes.Output) else []
        data = sum(len(child.data) for child in node.find_all(nodes.TemplateData)) if isinstance(node, nodes.For) else 0
        node = self.generic_visit(node)
        if isinstance(node, nodes.Output):
            node.nodes = [child if isinstance(child, nodes.TemplateData) else _marked(child, first)
                          for child, first in zip(node.nodes, starts, strict=True)]
        elif isinstance(node, (nodes.If, nodes.For, nodes.Assign)):
            for name, first in start.items():
                setattr(node, name, _marked(getattr(node, name), first))
            if isinstance(node, nodes.For):
                node.iter = _filter(node.iter, "each", data)
        elif isinstance(node, nodes.Concat):
            node = _filter(nodes.Tuple(node.nodes, "load", lineno=place), "concatenated")
        elif literal:
            node = _filter(node, "made")
        self.depth -= 1
        return node


def _constant(node: nodes.Node) -> bool:
    return all(isinstance(part, (nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair)) for part in node.find_all(nodes.Node))


def _first(node: nodes.Node) -> tuple[int, int]:
    """Line and column of the leftmost part."""
    return min(((int(part.lineno), getattr(part.lineno, "column", 1)) for part in (node, *node.find_all(nodes.Node))
                if part.lineno is not None), default=(1, 1))


def _marked(node: nodes.Expr, first: tuple[int, int]) -> nodes.Expr:
    return nodes.And(_filter(nodes.Const(first[0], lineno=node.lineno), "mark", first[1]), node, lineno=node.lineno)


def _filter(node: nodes.Expr, name: str, *args: int) -> nodes.Filter:
    """Ours are named with a space in front: no template can write them."""
    return nodes.Filter(node, f" {name}", [nodes.Const(arg, lineno=node.lineno) for arg in args], [], None, None, lineno=node.lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """`strict`: a name the row lacks is an error, not "". `longest`: each `{{ expression }}` is cut to so many characters, as promptsource
    cuts (the filter is put behind the expression, so in `a if b else c` it cuts c)."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, strict: bool, longest: int | None):
        super().__init__(undefined=jinja2.StrictUndefined if strict else jinja2.Undefined, finalize=_text, optimized=False, cache_size=0)
        self.longest = longest
        self.globals = {"range": safe_range, "zip": zip, "dict": dict, "namespace": runtime.Namespace}
        ours = {"highlight": lambda text: "<span style='color: #F08080'>" + text + "</span>", "most_frequent": _most_frequent,
                "tojson": lambda value: str(htmlsafe_json_dumps(value, sort_keys=True))}  # as jinja2 and so promptsource write it
        self.filters = {name: _guarded(name, filters.FILTERS[name]) for name in FILTERS}
        self.filters |= {name: _guarded(name, function) for name, function in ours.items()}
        inner = {"choice": _choice, "random": _choice, " cut": _cut, " mark": _mark, " each": _each, " concatenated": _concat,
                 " made": lambda context, value: context[BUDGET].made(value)}
        self.filters |= {name: jinja2.pass_context(function) for name, function in inner.items()}
        self.tests = {name: _guarded(name, tests.TESTS[name]) for name in TESTS}

    def _tokenize(self, source: str, name: str | None, filename: str | None = None, state: str | None = None) -> TokenStream:
        text = re.sub(r"\r\n|\r", "\n", source)
        tokens: Iterable[Token] = self.lexer.wrap(self._placed(text), name, filename)
        return TokenStream(tokens if self.longest is None else _with_cuts(tokens), name, filename)

    def _placed(self, source: str) -> Iterator[tuple[Place, str, str]]:
        position = 0
        try:
            for number, (_, kind, value) in enumerate(self.lexer.tokeniter(source, None)):
                if number > TOKENS:  # more take seconds to compile
                    raise jinja2.TemplateSyntaxError(f"it has more than {TOKENS} names, signs and texts", 1)
                if (kind == "integer" and len(value) > 1000) or (kind == "float" and float(value.replace("_", "")) == float("inf")):
                    raise jinja2.TemplateSyntaxError("a number is too large", 1)
                start = source.index(value, position)
                place, position = Place.at(source, start), start + len(value)
                yield place, kind, value
        except jinja2.TemplateSyntaxError as error:
            gap = len(source[position:]) - len(source[position:].lstrip())
            message = re.sub(r" at \d+$", "", error.message or "")  # jinja2 counts from the template's beginning
            raise jinja2.TemplateSyntaxError(message, Place.at(source, min(position + gap, len(source)))) from None

    def _allowed(self, obj: Any, attribute: str) -> bool:
        if isinstance(obj, runtime.LoopContext):
            return attribute in LOOP
        if isinstance(obj, runtime.Namespace):
            return not attribute.startswith("_")
        return attribute in METHODS.get(type(obj), ())

    def call_filter(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """The way by which `map` reaches a filter whose name is a value: not ours."""
        if name.startswith(" "):
            raise SecurityError(f"there is no filter {name!r}")
        return super().call_filter(name, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, jinja2.Undefined):
            return obj[attribute]  # raises, and names what is undefined
        if self._allowed(obj, attribute):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return self.undefined(obj=None, name=attribute)
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        if attribute.startswith("_") or hasattr(type(obj), attribute) or not isinstance(obj, PLAIN):
            raise SecurityError(f"{attribute!r} of a {type(obj).__name__} cannot be reached from a template")
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, jinja2.Undefined):
            return obj[argument]  # raises, and names what is undefined
        plain_only((argument,))
        if isinstance(obj, (str, list, tuple, dict, range)):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        return self.getattr(obj, argument) if isinstance(argument, str) else self.undefined(obj=obj, name=argument)

    def call_binop(self, context: runtime.Context, operator: str, left: Any, right: Any) -> Any:
        budget: Budget = context[BUDGET]
        plain_only((left, right))
        sequence, number = (right, left) if isinstance(left, int) else (left, right)
        if operator == "*" and isinstance(sequence, (str, list, tuple)) and isinstance(number, int) and number > 1:
            budget.fits(number * budget.weight(sequence))
        elif operator == "%" and isinstance(left, str):
            budget.formats(left, right if isinstance(right, tuple) else (right,))
        elif operator == "**" and isinstance(left, int) and isinstance(right, int) and left.bit_length() * max(right, 0) > INTEGER_BITS:
            raise Exceeded(f"it makes a number of more than {INTEGER_BITS} bits", "Use smaller numbers.")
        return budget.made(super().call_binop(context, operator, left, right))

    def call(self, context: runtime.Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        budget: Budget = context[BUDGET]
        budget.step()
        kwargs = {name: value for name, value in kwargs.items() if name not in ("_loop_vars", "_block_vars")}  # jinja2's own
        if isinstance(obj, jinja2.Undefined):
            return obj()
        plain_only((*args, *kwargs.values()))
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if not any(obj is function for function in self.globals.values()) and (
                isinstance(owner, runtime.Namespace) or not self._allowed(owner, name)):
            raise SecurityError(f"a {type(obj).__name__} cannot be called from a template")
        if isinstance(owner, str) and name == "join" and len(args) == 1:
            args = (budget.joins(args[0], owner),)
        elif isinstance(owner, str) and name == "replace" and len(args) > 1:
            budget.replaces(owner, args[0], args[1])
        elif isinstance(owner, str) and name in BACKWARDS and args:
            budget.searches(owner, str(args[0]))
        elif obj is dict and args and not isinstance(args[0], dict):
            args = (budget.keys(args[0]), *args[1:])
        return budget.made(obj(*args, **kwargs))


@functools.lru_cache(maxsize=4096)
def compiled(source: str, strict: bool = True, longest: int | None = None) -> "Compiled":
    """`Compiled`, made once for each text and setting."""
    return Compiled(source, strict, longest)


@functools.lru_cache(maxsize=16)
def _sandbox(strict: bool, longest: int | None) -> Sandbox:
    return Sandbox(strict, longest)


class Compiled:
    """A template ready to render, again and again and from any thread.

    `columns`: the names it reads from a row, each with the line and column where it first stands; `assigned`: the names it sets itself.
    """

    def __init__(self, source: str, strict: bool = True, longest: int | None = None):
        """Raises `TemplateError` with line and column."""
        environment, self.source = _sandbox(strict, longest), source
        if len(source) > SOURCE_CHARACTERS:
            raise TemplateError(f"it is {len(source)} characters long, over {SOURCE_CHARACTERS}", "Shorten it; long texts belong in rows.")
        try:
            tree = Parser(environment, source).parse()
            prepared = _Prepare(environment).visit(tree).set_environment(environment)
            tracker = meta.TrackingCodeGenerator(environment)
            tracker.optimizer = None  # it would compute constants
            tracker.visit(prepared)
            free = tracker.undeclared_identifiers
            names = [node for node in prepared.find_all(nodes.Name) if node.name in free and node.ctx == "load"]
            self.columns = {node.name: _first(node) for node in reversed(names)}
            self.assigned = frozenset(node.name for node in prepared.find_all(nodes.Name) if node.ctx == "store")
            self._template = jinja2.Template.from_code(environment, environment.compile(prepared), environment.globals)
        except jinja2.TemplateSyntaxError as error:
            message, place = error.message or "it is no Jinja", error.lineno
            if message.lower().startswith("unexpected end of template"):  # the last token may have begun long before
                text = re.sub(r"\r\n|\r", "\n", source)
                place = Place.at(text, len(text))
            raise TemplateError(message, "Mend the template there.", int(place), getattr(place, "column", 1)) from None
        except (RecursionError, SyntaxError, MemoryError):
            raise TemplateError("it is nested too deeply", "Nest fewer brackets and blocks.") from None

    def render(self, values: Mapping[str, Any], choose: Callable[[Sequence[Any]], Any] = random.choice, limits: Limits = Limits()) -> str:
        """The text, with `values` (plain ones: `tasks.plain`) as its names; `choose` draws for the filters choice and random.

        Raises `TemplateError` with the line and column of the expression that failed.
        """
        budget = Budget(limits, choose, values.keys())
        try:
            parts, size = [], 0
            for part in self._template.generate({**values, BUDGET: budget}):
                size += len(part)
                budget.fits(size)
                parts.append(part)
            return "".join(parts)
        except Exceeded as error:
            (message, remedy), unknown = error.args, ""
        except jinja2.UndefinedError as error:
            missing = re.fullmatch(r"'(.*)' is undefined", str(error.message))
            unknown = missing[1] if missing else ""
            message = f"there is no column {unknown!r}" if missing else str(error.message)
            remedy = f"The row has {', '.join(sorted(repr(name) for name in budget.columns if name != 'answer_choices')) or 'no columns'}."
        except SecurityError as error:
            unknown, message, remedy = "", str(error), "A template reads texts, numbers and lists of its row, and changes nothing."
        except (jinja2.TemplateError, ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RecursionError,
                TypeError, ValueError) as error:
            unknown, message, remedy = "", (str(error) or type(error).__name__).splitlines()[0], "Mend the expression, or the row."
        raise TemplateError(message, remedy, *budget.place, unknown=unknown)
