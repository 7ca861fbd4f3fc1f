"""What the browser says about the place of every word: nothing cut off, no two labels on each other, nothing outside its panel."""

from __future__ import annotations

from playwright.sync_api import Page

FIND_FAULTS = """([selector, slack]) => {
    const faults = [], panel = document.querySelector(selector);
    if (!panel) return [`no ${selector} on the page`];
    const frame = panel.getBoundingClientRect();
    const seen = node => { const box = node.getBoundingClientRect(), style = getComputedStyle(node);
        return box.width > 1 && box.height > 1 && style.visibility !== "hidden" && style.display !== "none" && style.opacity !== "0"; };
    const words = node => (node.textContent ?? "").replace(/\\s+/g, " ").trim().slice(0, 40);
    const meet = (a, b) => ({left: Math.max(a.left, b.left), right: Math.min(a.right, b.right),
        top: Math.max(a.top, b.top), bottom: Math.min(a.bottom, b.bottom)});
    const overlap = (a, b) => { const both = meet(a, b); return [both.right - both.left, both.bottom - both.top]; };
    const inside = (a, b) => a.left >= b.left - slack && a.right <= b.right + slack
        && a.top >= b.top - slack && a.bottom <= b.bottom + slack;

    // Words outside the figure: no box narrower than what it says, unless an ellipsis shows it and a title tells the rest.
    for (const node of panel.querySelectorAll("h2, h3, p, label, td, th, button, .widget-readout, span, b, select")) {
        if (!seen(node) || !words(node) || node.closest("svg, .wb-unseen, pre")) continue;
        const style = getComputedStyle(node), box = node.getBoundingClientRect();
        const fits = node.scrollWidth <= node.clientWidth + slack || node.clientWidth === 0 || style.overflowX === "visible";
        if (!fits && !(style.textOverflow === "ellipsis" && node.title))
            faults.push(`cut off: "${words(node)}" is ${node.scrollWidth} px wide in ${node.clientWidth}`);
        if (box.left < frame.left - slack || box.right > frame.right + slack) faults.push(`outside the panel: "${words(node)}"`);
    }
    // A word may be wider than its box and run into its neighbour: the text itself is measured.
    const lines = [];
    const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
    for (let text = walker.nextNode(); text; text = walker.nextNode()) {
        const holder = text.parentElement;
        if (!text.data.trim() || !seen(holder) || holder.closest("svg, .wb-unseen, pre, select, option")) continue;
        const range = document.createRange();
        range.selectNodeContents(text);
        for (const box of range.getClientRects()) {
            let clip = {left: box.left, right: box.right, top: box.top, bottom: box.bottom};
            for (let up = holder; up && up !== panel; up = up.parentElement) {
                if (getComputedStyle(up).overflowX !== "visible") clip = meet(clip, up.getBoundingClientRect());
            }
            if (clip.right - clip.left > 1) lines.push({box: clip, name: text.data.trim().slice(0, 40), holder});
        }
    }
    lines.forEach((a, i) => { for (const b of lines.slice(i + 1)) {
        const [x, y] = overlap(a.box, b.box);
        if (a.holder !== b.holder && x > slack + 1 && y > slack + 3) faults.push(`on each other: "${a.name}" and "${b.name}"`);
    } });
    // Words of a figure: inside its sheet, not on each other.
    for (const figure of panel.querySelectorAll(".js-plotly-plot")) {
        const sheet = figure.getBoundingClientRect();
        const groups = [...figure.querySelectorAll(
            ".annotation-text, .xaxislayer-above text, .yaxislayer-above text, .infolayer > g > text, .textpoint text")];
        const texts = groups.filter(seen).map(node => ({box: node.getBoundingClientRect(), name: words(node), node})).filter(t => t.name);
        for (const {box, name} of texts) {
            if (!inside(box, sheet)) faults.push(`cut off by the figure's edge: "${name}"`);
        }
        texts.forEach((a, i) => { for (const b of texts.slice(i + 1)) {
            const [x, y] = overlap(a.box, b.box);
            if (x > slack && y > slack + 2) faults.push(`labels on each other: "${a.name}" and "${b.name}"`);
        } });
    }
    if (panel.scrollWidth > panel.clientWidth + slack) faults.push(`the panel is ${panel.scrollWidth} px wide inside ${panel.clientWidth}`);
    return [...new Set(faults)];
}"""


def layout_faults(page: Page, panel: str = ".wb-panel", slack_px: float = 1.0) -> list[str]:
    """Each word of the first element of `panel` that is cut off, outside it, or on another word; empty where all is well."""
    return page.evaluate(FIND_FAULTS, [panel, slack_px])


def assert_layout(page: Page, panel: str = ".wb-panel") -> None:
    """Fails naming every word that is cut off or covered."""
    faults = layout_faults(page, panel)
    assert faults == [], "\n".join(faults)
