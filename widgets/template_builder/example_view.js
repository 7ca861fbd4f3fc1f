// One example: its heading and counts, who says what, and its tokens. Everything is set as textContent, so that nothing a row, a template or
// a tokenizer wrote becomes markup. The two boxes scroll by keys: they can be reached by Tab.

function made(tag, kind, text) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text !== undefined) node.textContent = text;
  return node;
}

function render({model, el}) {
  el.classList.add("wb-example");
  const head = made("div", "wb-between"), title = made("h3"), counts = made("div", "wb-counts");
  head.append(title, counts);
  const turns = made("dl", "wb-turns"), tokens = made("div", "wb-tokens"), legend = made("div", "wb-legend");
  for (const [box, name] of [[turns, "the rendered example"], [tokens, "the same text as tokens"]]) {
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", name);
  }
  for (const [kind, words] of [["read", "grey: read, not trained"], ["trained", "blue, underlined: trained"], ["cut", "struck: cut off"], ["special", "outlined: special token"]])
    legend.append(made("span", "wb-legend-" + kind, words));
  el.append(head, turns, tokens, legend);

  const draw = () => {
    el.hidden = !model.get("heading");
    el.classList.toggle("wb-stale", model.get("stale"));
    title.textContent = model.get("heading");
    counts.replaceChildren(...model.get("counts").map(([count, words]) => {
      const one = made("span"), bold = made("b", "", count);
      one.append(bold, document.createTextNode(" " + words));
      return one;
    }));
    turns.replaceChildren(...model.get("turns").flatMap(([who, text]) => {
      const dd = made("dd", who === "assistant" || who === "completion" ? "wb-answer" : "", text);
      return [made("dt", "", who), dd];
    }));
    const nodes = [];
    for (const token of model.get("tokens")) {
      for (const part of token.text) {
        const ends = part.endsWith("\n");
        const span = made("span", `wb-token wb-token-${token.kind}${token.special ? " wb-token-special" : ""}${token.cut ? " wb-token-cut" : ""}`,
                          ends ? part.slice(0, -1) : part);
        span.title = token.title;
        nodes.push(span);
        if (ends) nodes.push(document.createElement("br"));
      }
    }
    tokens.replaceChildren(...nodes);
  };

  let waiting = false;
  const soon = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; draw(); }); } };
  const names = ["heading", "counts", "turns", "tokens", "stale"];
  for (const name of names) model.on("change:" + name, soon);
  draw();
  return () => { for (const name of names) model.off("change:" + name, soon); };
}

export default {render};
