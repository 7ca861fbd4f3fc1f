"""The design tokens as Python sees them: parsed from tokens.css, which is the only place their values are written.

`resolve` is for pictures that leave the page (static SVG, exports); a live figure keeps its `var(--wb-...)` names and the page
resolves them. Does not know JupyterLab's own themes: outside a page only the fallback values exist.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

Theme = Literal["light", "dark"]

HERE = Path(__file__).resolve().parent
WIDE_PX, MEDIUM_PX = 780, 400
"""A figure at least WIDE_PX wide is drawn as "wide", at least MEDIUM_PX as "medium", else as "narrow"."""

_NAME = re.compile(r"var\(\s*(--[\w-]+)\s*(?:,((?:[^()]|\([^()]*\))*))?\)")


@cache
def tokens(theme: Theme = "light") -> dict[str, str]:
    """{"--wb-blue": "#0072b2", ...}: what each token is where no JupyterLab is. Dark lays its changes over light."""
    if theme not in ("light", "dark"):
        raise ValueError(f'theme is {theme!r}; it is "light" or "dark".')
    text = re.sub(r"/\*.*?\*/", "", (HERE / "tokens.css").read_text(encoding="utf-8"), flags=re.S)
    blocks = [body for _, body in re.findall(r"([^{}]+)\{([^{}]*)\}", text)]
    values: dict[str, str] = {}
    for body in blocks if theme == "dark" else blocks[:1]:
        values |= {name: value.strip() for name, value in re.findall(r"(--wb-[\w-]+)\s*:\s*([^;]+);", body)}
    return {name: _resolve_text(value, values) for name, value in values.items()}


def resolve(figure: Any, theme: Theme = "light") -> Any:
    """A copy of `figure` (any nest of dicts, lists and strings) with every var(--...) replaced by its value without a page."""
    return _resolve(figure, tokens(theme))


def _resolve(node: Any, values: dict[str, str]) -> Any:
    if isinstance(node, str):
        return _resolve_text(node, values) if "var(" in node else node
    if isinstance(node, dict):
        return {key: _resolve(value, values) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_resolve(value, values) for value in node]
    return node


def _resolve_text(text: str, values: dict[str, str]) -> str:
    for _ in range(8):  # a token may name another token, never deeper than a few
        if "var(" not in text:
            break
        text = _NAME.sub(lambda found: values.get(found[1], (found[2] or "").strip() or "currentColor"), text)
    return text


@cache
def css() -> str:
    """Tokens and panel rules as one style sheet, to be sent with a widget."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("tokens.css", "panel.css"))


def width_class(width_px: float) -> str:
    """Which composition of a figure fits a figure column `width_px` wide."""
    return "wide" if width_px >= WIDE_PX else "medium" if width_px >= MEDIUM_PX else "narrow"
