"""What a template may do, what it may not, and where its faults are."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jinja2
import pytest

from workbench.errors import DataError
from workbench.templates.limits import Limits
from workbench.templates.sandbox import Compiled, TemplateError

ROW = {"text": "Mira bakes", "words": ["a", "b"], "answers": {"text": ["x"], "items": 3, "update": "new"}, "n": 3, "nothing": None,
       "price": 2.5}


def render(source: str, limits: Limits = Limits(), strict: bool = True, **row) -> str:
    return Compiled(source, strict).render(ROW | row, limits=limits)


ESCAPES = [
    # the classics, from texts and from numbers, lists, dicts, None, booleans
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ ().__class__.__base__.__subclasses__() }}", "{{ text.__class__ }}",
    "{{ n.__class__ }}",
    "{{ words.__len__() }}", "{{ answers.__init__ }}", "{{ nothing.__class__ }}", "{{ true.__class__ }}", "{{ n.real }}",
    "{{ price.hex() }}",
    "{{ n.to_bytes(2, 'big') }}", "{{ text['__class__'] }}", "{{ words['append'] }}", "{{ text['__cl' ~ 'ass__'] }}",
    # the way round by filters that read attributes
    "{{ text | attr('__class__') }}", "{{ words | map(attribute='__class__') | list }}",
    "{{ words | map(attribute='upper.__self__') | list }}",
    "{{ words | sort(attribute='__class__') }}", "{{ words | join(',', attribute='__doc__') }}",
    "{{ words | join(',', attribute='upper') }}", "{{ words | join(attribute='upper') }}", "{{ words | join(',', 'upper') }}",
    "{{ words | selectattr('__class__') | list }}",
    "{{ words | map(' made') | list }}", "{{ words | map(' each', -999999) | map('list') | list }}",
    "{{ words | map('attr', '__class__') | list }}", "{{ words | unique(attribute='__class__') | list }}",
    # formats that read attributes
    "{{ '{0.__class__}'.format(text) }}", "{{ '{a.__class__}'.format_map({'a': text}) }}", "{{ text.format }}",
    "{{ '%s' | format(text.upper) }}",
    # functions, types and what hangs on them
    "{{ range.__class__ }}", "{{ dict.mro() }}", "{{ dict['x'] }}", "{{ dict.fromkeys('ab') }}", "{{ zip.__self__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ namespace(a=1).__class__ }}", "{{ namespace(a=1)._Namespace__attrs }}", "{{ text.upper.__self__ }}", "{{ text.upper.__func__ }}",
    "{{ (words | map('upper')).gi_frame }}", "{{ (words | map('upper')).gi_code }}", "{{ words.__iter__().__next__ }}",
    # jinja2's own objects
    "{{ self.__init__.__globals__ }}", "{{ self._TemplateReference__context }}", "{{ lipsum.__globals__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__ }}", "{{ missing.__class__ }}", "{{ (missing | default(text)).__class__ }}", "{{ context }}",
    "{{ environment }}",
    "{% for w in words %}{{ loop.__class__ }}{% endfor %}", "{% for w in words %}{{ loop._iterable }}{% endfor %}", "{{ caller }}",
    "{{ super() }}",
    "{% for w in words %}{{ loop | list }}{% endfor %}", "{% for w in words %}{{ loop(words) }}{% endfor %}", "{{ the_budget }}",
    "{{ 'the budget' | made }}",
    # other files and other code
    "{% import 'os' as os %}", "{% from 'x' import y %}", "{% include '/etc/passwd' %}", "{% extends 'x' %}", "{% block a %}{% endblock %}",
    "{% macro f() %}{{ f() }}{% endmacro %}", "{% call text.upper() %}{% endcall %}", "{% filter upper %}a{% endfilter %}",
    "{% autoescape true %}a{% endautoescape %}",
    "{% with a = 1 %}{{ a }}{% endwith %}", "{% do words.append(1) %}", "{% debug %}", "{% python %}",
    "{% for w in words recursive %}{{ loop(w) }}{% endfor %}",
    "{{ open('x') }}", "{{ eval('1') }}", "{{ __import__('os') }}", "{{ __builtins__ }}", "{{ globals() }}", "{{ (lambda: 1)() }}",
    # changes in place
    "{{ words.append('c') }}", "{{ words.clear() }}", "{{ words.sort() }}", "{{ words.extend(words) }}", "{{ words.pop() }}",
    "{{ answers.pop('text') }}",
    "{{ answers.setdefault('a', 1) }}", "{{ {'a': 1}.update({'b': 2}) }}", "{{ {'a': 1}.clear() }}", "{{ [1].insert(0, 2) }}",
    # what is no text, written or hidden in lists
    "{{ text.upper }}", "{{ range }}", "{{ namespace(a=1) }}", "{{ [text.upper] }}", "{{ [namespace(a=1)] | string }}",
    "{{ namespace(a=1) | string }}",
    "{{ {'a': range}.a }}", "{{ dict(a=namespace()) }}", "{{ namespace(a=namespace()) }}", "{{ text ~ range }}",
    "{{ words | map('upper') }}",
    "{{ words | map('upper') | lower }}", "{{ [words | map('upper')] }}", "{{ '%s' % (words | map('upper')) }}",
    "{{ zip(words, words) | string }}",
    "{{ 'abc' | truncate(1) }}",
    # those that are published: through lists of globals, config, request and get_flashed_messages, async, format strings of names, |attr of |attr
    "{{ cycler('a', 'b').next.__globals__ }}", "{{ joiner(',').__init__.__globals__.os.popen('id').read() }}", "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ config.items() }}", "{{ request.application.__globals__ }}", "{{ url_for.__globals__ }}", "{{ get_flashed_messages.__globals__ }}", "{{ self._TemplateReference__context.cycler }}",
    "{{ ''|attr('__cla' ~ 'ss__')|attr('__mro__') }}", "{{ ''|attr(['__class', '__'] | join) }}", "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}", "{{ (''|format).__class__ }}",
    "{{ [''.__class__.__base__.__subclasses__()[0]] | map('list') }}", "{{ '{0.__globals__}'.format(range) }}", "{{ '%(__class__)s' | format(__class__=1) }}",
    "{{ ('{a[__class__]}'|string).format_map(dict(a=text)) }}", "{% set x = ''.__class__ %}", "{% for c in [].__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
    "{% if ''.__class__.__name__ == 'str' %}x{% endif %}", "{% set ns = namespace() %}{% set ns.__class__ = 1 %}{{ ns.__class__ }}", "{{ dict(**answers) | attr('pop') }}",
    "{{ [1, 2] | map('__class__') | list }}", "{{ words | groupby('__class__') }}", "{{ words | xmlattr }}", "{{ text | pprint }}", "{{ text | forceescape }}", "{{ text | safe }}",
    "{% set a, b = ''.__class__, 1 %}", "{{ namespace.__mro__ }}", "{{ zip.__init__ }}", "{{ range(1).__reduce__() }}", "{{ text.encode() }}", "{{ text.translate({}) }}", "{{ await text }}",
    # a function smuggled past the check on calls
    "{% set f = text.upper.__call__ %}{{ f() }}", "{{ [].__class__.__call__() }}", "{{ words[text.upper] }}",
    "{{ (text.upper | default(1))() }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_an_escape_is_stopped_with_a_sentence_and_a_place(source):
    with pytest.raises(TemplateError) as caught:
        render(source, words=["a", "b"])
    assert caught.value.line == 1 and 1 <= caught.value.column <= len(source) + 1 and caught.value.remedy
    assert not any(word in str(caught.value) for word in ("object at 0x", "Traceback", "root:"))


@pytest.mark.parametrize("source", ["{{ text.__class__ }}", "{{ words | sort(attribute='__class__') }}", "{{ missing.__class__ }}",
                                    "{{ '{0.__class__}'.format(1) }}"])
def test_escapes_are_stopped_where_missing_columns_are_let_pass(source):
    with pytest.raises(TemplateError):
        render(source, strict=False)


def test_the_row_is_as_it_was_after_all_of_them():
    before = json.dumps(ROW)
    for source in ESCAPES:
        with pytest.raises(TemplateError):
            render(source)
    assert json.dumps(ROW) == before


BOMBS = [
    "{{ 'a' * 10**9 }}", "{{ 10**9 * 'a' }}", "{{ [0] * 10**9 }}", "{{ 9**(9**9) }}", "{{ (2**4000)**4000 }}",
    "{{ (2**4000) * (2**4000) }}",
    "{% for a in range(10**9) %}{% endfor %}", "{% for a in range(10**5) %}{% for b in range(10**5) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}" + "x" * 1000 + "{% endfor %}", "{% set s = 'ab' %}" + "{% set s = s ~ s %}" * 40 + "{{ s }}",
    "{% set s = 'ab' %}" + "{% set s = s + s %}" * 40 + "{{ s }}", "{% set s = [1] %}" + "{% set s = [s, s] %}" * 40 + "{{ s }}",
    "{% set s = [1] %}" + "{% set s = {1: s, 2: s} %}" * 40 + "{{ s == s }}",
    "{% set s = (1,) %}" + "{% set s = (s, s) %}" * 40 + "{{ {s: 1} }}",
    "{% set s = namespace(a=1) %}" + "{% set s.a = [s.a, s.a] %}" * 40, "{% set s = [1] %}" + "{% set s = dict(a=s, b=s) %}" * 40,
    "{% set s = [1] %}" + "{% set s = zip(s, s) | list + zip(s, s) | list %}" * 40,
    "{{ 'a' | replace('', 'b' * 999999) | replace('', 'c' * 999999) }}",
    "{{ ('a' * 999999).replace('a', 'b' * 99999) }}", "{{ ('a' * 99999).join('b' * 99999) }}", "{{ range(99999) | join('b' * 99999) }}",
    "{{ '%999999999d' % 1 }}", "{{ '%.999999999f' % 1 }}", "{{ '%*d' % (999999999, 1) }}", "{{ '%(a)999999999d' % {'a': 1} }}",
    "{{ '%999999999d' | format(1) }}", "{{ ('%s' * 300000) % (('a' * 999999,) * 1) }}", "{{ 1.5 | round(999999999) }}",
    "{{ [[1] * 99999] * 9 | sum(start=[]) }}", "{{ 'a' | truncate(999999999) * 10**8 }}", "{{ ('a' * 999999).split('a') * 99 }}",
    "{% for i in range(999) %}{% set x = 'a' * 999999 %}{% endfor %}", "{{ ('9' * 4000) | int * ('9' * 4000) | int }}",
    "{% for i in range(40000) %}{% if ('a' * 99999) in text %}{% endif %}{% endfor %}",
    "{{ range(99999) | map('string') | map('upper') | list }}",
    "{% set x %}{% for i in range(50000) %}" + "y" * 5000 + "{% endfor %}{% endset %}",
    "{% set d = dict(zip(range(0, 99999 * (2**61 - 1), 2**61 - 1), range(99999))) %}",  # all of them hash to 0
    "{{ range(0, 30000 * (2**61 - 1), 2**61 - 1) | list | most_frequent | length }}", "{{ range(0, 99999 * (2**61 - 1), 2**61 - 1) | unique | list | length }}",
    "{{ ('a' * 900000).rfind('ab' ~ 'a' * 440000) }}", "{{ ('a' * 900000).rsplit('ab' ~ 'a' * 440000) | length }}",
    "{{ 'a'.ljust(10**9) }}", "{{ 'a'.center(10**9) }}", "{{ 'a'.zfill(10**9) }}", "{{ 'a' | center(10**9) }}", "{{ 'a' | indent(10**9) }}", "{{ 'a\\tb'.expandtabs(10**9) }}",
    "{{ '{:1000000000d}'.format(1) }}", "{{ '%1000000000d' % 1 }}", "{{ '%s' % ('a' * 999999,) * 9 }}", "{{ 10**(10**10) }}", "{{ 2**-(10**9) * 10**400 }}", "{{ range(10**10) | length }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}", "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ ('a' * 999999)[::-1] * 99 }}", "{{ range(99999) | map('string') | join * 99 }}", "{{ (range(99999) | list) * 99 }}", "{{ ([[0] * 999] * 999) | sum(start=[]) }}",
    "{{ 'a' | wordwrap(1) * 10**8 }}", "{{ range(0, 10**30) | list }}", "{{ [1] * -1 * 10**9 ~ [1] * 10**9 }}", "{{ (1).__pow__(10**9) }}", "{{ 1 << 10**9 }}",
    "{{ ('\u00e4' * 900000).strip('\u00f6' * 900000 ~ '\u00e4') }}", "{{ ('a' * 900000) | trim('b' * 900000 ~ 'a') }}",
]


@pytest.mark.parametrize("source", BOMBS, ids=[source[:40] for source in BOMBS])
def test_a_bomb_is_stopped_in_time(source):
    begun = time.thread_time()
    with pytest.raises(TemplateError):
        render(source)
    assert time.thread_time() - begun < 3.5, "two seconds of work are its limit, and one operation may be under way"


def test_bombs_take_little_memory():
    """All of them in one fresh process, whose address space is bounded."""
    script = ("import resource, json, sys\nfrom workbench.templates.sandbox import Compiled, TemplateError\n"
              "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
              "resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000,) * 2)\nstopped = 0\n"
              "for source in json.load(sys.stdin):\n    try:\n        Compiled(source).render({'text': 'a'})\n"
              "    except TemplateError as error:\n        stopped += 'MemoryError' not in str(error)\nprint(stopped)\n")
    done = subprocess.run([sys.executable, "-c", script], input=json.dumps(BOMBS), capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(BOMBS)


def test_the_clock_stops_a_long_rendering():
    source = "{% for a in range(300) %}{% for b in range(300) %}{{ 'x' * 90 if a in words else '' }}{% endfor %}{% endfor %}"
    begun = time.thread_time()
    with pytest.raises(TemplateError, match=r"more than 0\.05 s"):
        render(source, Limits(seconds=0.05), words=list("abc") * 3000)
    assert time.thread_time() - begun < 0.5


@pytest.mark.parametrize(("limits", "says"), [(Limits(characters=50), "more than 50 characters"), (Limits(steps=5), "more than 5 steps")])
def test_limits_can_be_set(limits, says):
    source = "{% for a in range(9) %}0123456789{% endfor %}"
    assert render(source) == "0123456789" * 9
    with pytest.raises(TemplateError, match=says):
        render(source, limits)


def test_a_long_row_is_within_the_limits():
    text = "a word " * 100_000
    assert render("{{ text }}|||{{ text.split() | length }}", text=text) == f"{text}|||200000"


@pytest.mark.parametrize(("source", "line", "column", "says"), [
    ("Q: {{ text }\n", 1, 12, "unexpected '}'"),
    ("a\nb {{ text | uper }}", 2, 13, "no filter 'uper'; did you mean 'upper'"),
    ("{% if text is evn %}x{% endif %}", 1, 12, "no test 'evn'; did you mean 'even'"),
    ("a\n\n  {% if text %}x", 3, 17, "'if'"),
    ("{{ text ? }}", 1, 9, r"unexpected char '\?'"),
    ("{{ 'abc }}", 1, 4, "unexpected char"),
    ("x {% endfor %}", 1, 6, "unknown tag 'endfor'"),
    ("a\r\nb\r\n   {% include 'x' %}", 3, 7, "include"),
    ("{{ text }}{{ missing }}", 1, 14, "no column 'missing'"),
    ("one\ntwo {{ text }} {{ text.upper() ~ words[7] }}", 2, 19, "undefined|no element"),
    ("{{ n + text }}", 1, 4, "unsupported operand"),
    ("{% set a = 1 / 0 %}", 1, 12, "division by zero"),
    ("  {% for a in n %}{% endfor %}", 1, 15, "not iterable"),
    ("{% if answers.text[0].zork %}{% endif %}", 1, 7, "zork"),
    ("{{ words.index('q') }}", 1, 4, "not in list"),
    ("{% raw %}{{ x }}{% endraw %}\n{# a {{ b }} #}\n{{- text }}{{ -}}", 3, 15, "Expected an expression"),
    ("a\n{{ n + 1e999 }}", 2, 8, "too large"),
    ("{{ " + "9" * 5000 + " }}", 1, 4, "too large"),
    ("{{ 1 if true[true] else 2 }}", 1, 4, "no element True"),
    ("é {{ text }} ü {{ b }}", 1, 19, "no column 'b'"),
])
def test_errors_tell_line_and_column(source, line, column, says):
    with pytest.raises(TemplateError, match=says) as caught:
        render(source)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert f"line {line}, column {column}" in str(caught.value) and isinstance(caught.value, DataError)


@pytest.mark.parametrize("source", [
    "{{ " + "(" * 300 + "1" + ")" * 300 + " }}", "{{ " + "[" * 90 + "]" * 90 + " }}", "{{ 1" + " + 1" * 3000 + " }}",
    "{% if 1 %}" * 90 + "{% endif %}" * 90, "{% for a in words %}" * 30 + "{% endfor %}" * 30, "x" * 100_001])
def test_what_is_too_deep_or_too_long_is_refused(source):
    with pytest.raises(TemplateError):
        render(source)


ALIKE = [
    "{{ text }} and {{ words | join(', ') }}, {{ answers.text[0] }}", "{% if n > 2 and text %}yes{% elif n %}no{% else %}{% endif %}",
    "{{ nothing }} {{ price }} {{ n / 2 }}",
    "{% for w in words %}{{ loop.index }}.{{ w }}{{ ', ' if not loop.last }}{% endfor %}",
    "{% for k, v in answers | dictsort %}{{ k }}{% endfor %}",
    "{% for w in words if w != 'a' %}{{ w }}/{{ loop.length }}{% else %}none{% endfor %}",
    "{% set ns = namespace(s=0) %}{% for i in range(5) %}{% set ns.s = ns.s + i %}{% endfor %}{{ ns.s }}",
    "{{ text.lower().split(' ')[::-1] | join(' ') | title }}", "{{ 'a' ~ n ~ words }}", "{{ '%s is %.2f' % (text, price) }}",
    "{{ '%d-%s' | format(n, text) }}",
    "{{ words | map('upper') | reject('equalto', 'A') | list }}",
    "{{ [3, 1, 2] | sort | first }} {{ [3, 1] | max }} {{ [1, 2] | sum }}", "{{ answers['text'] }}",
    "{{ {'a': 0, 'b': 1}[words[1]] }} {{ (1, 2) }} {{ [n, [text]] }}", "{% set x %}<{{ text }}>{% endset %}{{ x | length }}{{ x }}",
    "{{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 8 }} {{ -n }}",
    "{{ missing is defined }} {{ missing | default('d') }} {{ nothing | default('e', true) }}",
    "{{ text | truncate(6) }} {{ text | replace('a', 'o') }} {{ text | wordcount }}",
    "{{ words is sequence }} {{ n is odd }} {{ 'a' in words }} {{ text is not string }}",
    "{% for a, b in zip(words, 'xy') %}{{ a }}{{ b }}{% endfor %}", "{{ range(3) | list }} {{ range(2, 9, 3) | last }}",
    "{{ text | trim | capitalize | reverse }} {{ text.startswith('Mira') }} {{ text.replace('M', 'N').index('b') }}",
    "{{ dict(a=1).a }} {{ answers.get('zork', 'none') }} {{ answers.keys() | list }}",
    "a {#- no -#} b {%- if n %} c {% endif -%} d\n{{ '{{' }} {% raw %}{{ x }}{% endraw %}\n",
    "{{ price | round(1) | int }} {{ '12' | int + 1 }} {{ '1.5' | float }} {{ -3 | abs }}",
    "{{ words | select | list }}{{ [{'a': 1}, {'a': 2}] | map(attribute='a') | list }}{{ [{'a': 1}] | selectattr('a', 'eq', 1) | list }}",
    "{{ words | random | length }}", "{{ {'b': '<\u00e9>', 'a': [1, none]} | tojson }} {{ answers | tojson }}",
    "{{ [{'a': 'x'}, {'a': 'y'}] | join(', ', attribute='a') }}{{ [{'a': 'x'}] | join(attribute='a') }}{{ words | join }}",
]


@pytest.mark.parametrize("source", ALIKE)
def test_what_is_allowed_is_written_as_plain_jinja_writes_it(source):
    environment = jinja2.Environment()
    environment.globals["zip"] = zip
    plain = environment.from_string(source).render(**ROW)
    assert render(source) == plain and plain


def test_a_key_that_python_knows_under_another_name_is_the_rows():
    assert render("{{ answers.update }}") == "new"


def test_the_cut_is_put_behind_each_expression_and_keeps_its_place():
    long = "word " * 30
    assert Compiled("{{ a }}|{{ a if 0 else b }}|{{ a if 1 else b }}", longest=20).render({"a": long, "b": "x " * 99}) == (
        f"word word word...|x x x x x x x x...|{long}")
    with pytest.raises(TemplateError) as caught:
        Compiled("{{ a }} {{ b c }}", longest=20)
    assert caught.value.column == 14


def test_columns_and_names_that_are_set():
    made = Compiled("{% set a = text %}\n{% for w in words %}{{ w ~ a }}{% endfor %}{{ range(n) | list }}{{ text }}")
    assert made.columns == {"text": (1, 12), "words": (2, 13), "n": (2, 53)}
    assert made.assigned == {"a", "w"}


def test_draws_come_from_the_one_who_renders():
    made = Compiled("{{ words | choice }}{{ words | random }}{{ ['p', 'q'] | choice }}")
    assert made.render(ROW, lambda values: values[0]) == "aap" and made.render(ROW, lambda values: values[-1]) == "bbq"


def test_one_compiled_template_serves_many_threads():
    made = Compiled("{% for i in range(n) %}{{ i }}{% endfor %}")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: made.render({"n": n}), range(200))) == ["".join(map(str, range(n))) for n in range(200)]


@pytest.mark.parametrize("source", ["{{ n }}" * 14_000, "{{ [" + "n," * 45_000 + "] }}", "{{ " + "n < " * 20_000 + "n }}",
                                    "{% set a = n %}" * 6_000])
def test_a_template_that_would_take_long_to_compile_is_refused(source):
    begun = time.thread_time()
    with pytest.raises(TemplateError, match="more than 10000 names"):
        Compiled(source)
    assert time.thread_time() - begun < 1.5
    assert Compiled("{{ n }}" + "words " * 16_000).render(ROW).startswith("3words")
