"""What a row, a name, a reply or a vote may hold to be taken for markup, script, a formula, a template, a terminal's command or an order of
words, written by hand. What runs in a page sets `window.__hostile` to the id of the string that ran; what runs in Python calls `hostile_ran`.
"""

from __future__ import annotations

LONG = 990_000
"""Letters of the long word: 1 MB, and just what a template may still make."""


def _runs(name: str) -> str:
    return f"window.__hostile='{name}'"


STRINGS: dict[str, str] = {
    "script": f"<script>{_runs('script')}</script>",
    "script-split": f"<scr<script>ipt>{_runs('script-split')}</scr</script>ipt>",
    "img": f"<img src=x onerror=\"{_runs('img')}\">",
    "img-bare": f"<img/src/onerror={_runs('img-bare').replace(' ', '')}>",
    "svg": f"<svg onload=\"{_runs('svg')}\"><animate onbegin=\"{_runs('svg')}\" attributeName=x dur=1s></svg>",
    "svg-script": f"</text></svg><svg><script>{_runs('svg-script')}</script>",
    "iframe": f"<iframe srcdoc=\"<script>parent.{_runs('iframe')}</script>\"></iframe>",
    "quotes": f"\" onmouseover=\"{_runs('quotes')}\" autofocus onfocus=\"{_runs('quotes')}\" x='",
    "single-quotes": f"' onmouseover='{_runs('single-quotes')}' autofocus onfocus='{_runs('single-quotes')}' x=\"",
    "close": f"</textarea></title></style></pre></td></table><img src=x onerror=\"{_runs('close')}\">",
    "comment": f"--><!-- <img src=x onerror=\"{_runs('comment')}\"> -->",
    "javascript": f"javascript:{_runs('javascript')}//",
    "data-link": f"data:text/html,<script>{_runs('data-link')}</script>",
    "markdown": f"[press](javascript:{_runs('markdown')}) ![x](x\" onerror=\"{_runs('markdown')}) <javascript:{_runs('markdown')}>",
    "link": f"<a href=\"javascript:{_runs('link')}\" xlink:href=\"javascript:{_runs('link')}\">press</a>",
    "plotly": f"<b>bold</b><br><a href=\"javascript:{_runs('plotly')}\">press</a><span style=\"color:red;font-size:99px\">big</span><sub>low</sub>",
    "plotly-field": "%{x} %{customdata[0]} %{fullData.name} <extra>%{y}</extra>",
    "dollars": r"$x^2$ $$\frac{a}{b}$$ costs $5 and $6",
    "mathjax": rf"\(\href{{javascript:{_runs('mathjax')}}}{{x}}\) \[\unicode{{x3C}}\]",
    "entities": "&lt;img src=x&gt; &amp;amp; &#60;b&#62; &nbsp;&copy",
    "css": "</style><style>*{display:none!important}</style> x{} expression(alert(1)) url(javascript:1) var(--wb-ink) color:red;",
    "ansi": "\x1b[31mred\x1b[0m \x1b[2J\x1b[H\x1b]0;title\x07 \x1b]8;;http://example.invalid\x1b\\link\x1b]8;;\x1b\\ \x9b31m",
    "nul": "before\x00after\x01\x08\x7f\x0b\r\x0cend",
    "override": "abc\u202egnp.exe\u202d \u2067turned \u2066and",
    "pop": "\u2069\u2069\u202c popped \u202e",
    "hebrew": "\u05e9\u05dc\u05d5\u05dd 12 \u05e2\u05d5\u05dc\u05dd",
    "arabic": "\u0645\u0631\u062d\u0628\u0627 \u200f\u061c!",
    "zero-width": "in\u200bvis\u200cib\u200dle\ufeff \u2060\u00ad\U000e0041\U000e0042",
    "combining": "Z" + "\u0351\u0352\u0357" * 40 + "algo",
    "lines": "one\ntwo\r\nthree\u2028four\u2029five\x85six\tseven",
    "jinja": "{{ 7 * 7 }} {% for x in range(9) %}{{ x }}{% endfor %} {{ ''.__class__.__mro__ }} {# gone #}",
    "python": "\"); hostile_ran() #\n'''); hostile_ran() #\n\"\"\"); hostile_ran() #\\",
    "format": "{} {0} {name} {0.__class__} %s %(name)s %n ${HOME} `id` $(id)",
    "formula": "=cmd|' /C calc'!A0",
    "formula-at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "json": "\", \"__proto__\": {\"polluted\": 1}, \"x\": \"",
    "path": "../../../etc/passwd",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \ufffd",
    "proto": "__proto__",
    "constructor": "constructor",
    "none": "None",
    "blank": " \t ",
}
HALF = "half \ud83d character \udc80"
"""Lone surrogates: no file that is read as text holds one, but names of files and strings made in Python may."""
WORD = "W" * LONG
"""A word that fills no line."""
WORST = STRINGS["img"] + STRINGS["script"] + STRINGS["link"] + "$x$" + STRINGS["override"] + STRINGS["ansi"] + STRINGS["nul"]
"""For places that hold one name only."""


def file_name(text: str) -> str:
    """`text` as a file system takes it for one name: no slash, no NUL, at most 200 bytes."""
    made = text.replace("/", "\u2215").replace("\0", "").replace("\ud83d", "").strip().encode("utf-8", "surrogateescape")[:200]
    made = made.decode("utf-8", "surrogateescape" if "\udc80" in text else "ignore")
    return made if made.strip(". ") else "dots"
