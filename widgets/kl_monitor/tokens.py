"""A reply as tokens coloured by how far the policy has gone from its reference at each: log π − log π_ref, in nats.

Markup with everything that a model wrote escaped. Knows no run and makes no widget.
"""

from typing import Any

import numpy as np

from widgets.frame import theme
from widgets.frame.markup import escape
from widgets.frame.sheet import number

FULL = 3.0
"""Nats at which a token has the whole colour: it is e³ = 20 times as likely as under the reference. Beyond it the colour stays."""
STRONGEST = 65
"""Percent of the colour at `FULL`, so that the word on it stays readable."""
NAMED = 3
"""How many of the farthest tokens the words name."""


def differences(reply: Any) -> np.ndarray:
    """log π − log π_ref of each token, nats, of shape (tokens,): the k1 of each; as many as both are known for."""
    count = min(len(reply.tokens), len(reply.logp), len(reply.logp_reference))
    return np.asarray(reply.logp[:count], float) - np.asarray(reply.logp_reference[:count], float)


def words(reply: Any) -> str:
    """`KL 12.4 nats: most at “absolutely” 2.3, “Great” 2.1, “delighted” 1.9.`: the colours for who does not see them."""
    nats = differences(reply)
    if not len(nats):
        return "Nothing is known of its tokens."
    order = [int(k) for k in np.argsort(-nats) if nats[k] >= 0.05][:NAMED]
    most = ", ".join(f"“{reply.tokens[k].strip() or reply.tokens[k]}” {number(nats[k], 1)}" for k in order)
    return f"KL {number(float(nats.sum()), 1)} nats over {number(len(nats))} tokens" + (f": most at {most}." if most else ".")


def line(reply: Any) -> str:
    """What the reply got: `reward 2.10 · helpful 1.90 · gold 0.50`."""
    parts = [("reward", reply.reward), *(reply.rewards.items() if len(reply.rewards) > 1 else ()), ("gold", reply.gold)]
    return " · ".join(f"{name} {number(value, 2)}" for name, value in parts if value is not None)


def html(reply: Any, live: bool = True) -> str:
    """The reply's tokens; orange-red where the policy says more than its reference, blue where less. `live` takes the page's colours."""
    nats = differences(reply)
    spans = []
    for token, value in zip(reply.tokens, [*nats, *[None] * (len(reply.tokens) - len(nats))], strict=True):
        look, title = "", ""
        if value is not None:
            look = f"background:{_colour('vermillion' if value > 0 else 'blue', min(1.0, abs(value) / FULL), live)}"
            title = f"{number(value, 2)} nats"
        spans.append(f'<span title="{escape(title)}" style="padding:2px 0;border-radius:2px;{look}">{escape(_visible(token))}</span>')
    return f'<div style="line-height:24px;white-space:pre-wrap;overflow-wrap:anywhere">{"".join(spans) or "(nothing)"}</div>'


def legend_html(live: bool = True) -> str:
    """What the colours mean."""
    low, middle, high = (_colour(name, share, live) for name, share in (("blue", 1.0), ("blue", 0.0), ("vermillion", 1.0)))
    bar = (
        '<span style="display:inline-block;width:72px;height:8px;border-radius:2px;margin:0 4px;'
        f'background:linear-gradient(90deg,{low},{middle},{high})">'
        "</span>"
    )
    return f'<span style="white-space:nowrap">−{FULL:g}{bar}+{FULL:g} nats a token</span>'


def _colour(name: str, share: float, live: bool) -> str:
    percent = round(STRONGEST * share)
    if live:
        return f"color-mix(in srgb, var(--wb-{name}) {percent}%, transparent)"
    red, green, blue = (int(theme.tokens()[f"--wb-{name}"].lstrip("#")[k : k + 2], 16) for k in (0, 2, 4))
    return f"rgba({red},{green},{blue},{percent / 100:.2f})"


def _visible(token: str) -> str:
    """Line ends as a sign, so that a token of nothing else is seen."""
    return token.replace("\n", "⏎\n")
