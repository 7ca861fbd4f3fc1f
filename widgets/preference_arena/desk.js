// A prompt and replies to judge. Everything people or models wrote is set as textContent. Keys are heard anywhere in the panel where nothing is typed.

const element = (kind, name, text, more = {}) => {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== null && text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(more)) made.setAttribute(key, value);
  return made;
};
const PLACES = ["1st", "2nd", "3rd", "4th", "5th", "6th"];
const HINTS = {
  pair: "Keys: 1 or 2 for the better reply, 0 a tie, S skip, U undo.",
  ranking: "Keys: the numbers of the replies, the best first; Enter keeps it, Backspace takes the last place back, S skip, U undo.",
  thumbs: "Keys: 1 good, 2 not good, S skip, U undo.",
  scores: "Keys: a number from 1 to 5 for each criterion in turn; Enter keeps them, Backspace takes the last one back, S skip, U undo.",
};

function render({model, el}) {
  el.classList.add("wb-desk");
  el.setAttribute("role", "group");
  el.setAttribute("aria-label", "Replies to judge");
  const place = element("div", "wb-desk-place"), said = element("p", "wb-hint wb-desk-said", "", {role: "status", "aria-live": "polite"});
  el.append(place, said);
  let token = null, order = [], given = Object.create(null), waits = false, buttons = {}; // a criterion may be called "constructor"

  const send = what => {
    if (waits || token === null) return;
    waits = true;
    el.setAttribute("aria-busy", "true");
    model.send({...what, token});
  };
  const kind = () => model.get("shown").kind;
  const judge = verdict => send({do: "judge", verdict});

  const box = (name, text, head) => {
    const section = element("section", "wb-reply-box", null, {"aria-label": name});
    const top = element("header", "", null);
    top.append(element("h3", "", head ?? name));
    const words = element("div", "wb-reply-text", text, {tabindex: "0", role: "region", "aria-label": name, dir: "auto"});
    section.append(top, words);
    return section;
  };
  const button = (words, key, does, more = "", rest = "") => { // `rest` of the words stands where there is room
    const made = element("button", `jupyter-button ${more}`, null, {type: "button", "aria-keyshortcuts": key, "aria-label": words + rest});
    made.append(element("kbd", "", key, {"aria-hidden": "true"}));
    const said = element("span", "", words);
    if (rest) said.append(element("span", "wb-roomy-only", rest));
    made.append(said);
    made.addEventListener("click", does);
    return made;
  };

  const put = number => { // a place in a ranking, or a score of the next criterion
    const shown = model.get("shown");
    if (kind() === "ranking") {
      if (number < 1 || number > shown.replies.length) return;
      order = order.includes(number - 1) ? order.filter(one => one !== number - 1) : [...order, number - 1];
      if (order.length === shown.replies.length - 1) order = [...order, shown.replies.findIndex((_, one) => !order.includes(one))];
    } else {
      const next = shown.criteria.find(name => !(name in given));
      if (next === undefined || !shown.scores.includes(number)) return;
      given[next] = number;
    }
    mark();
    if (ready()) place.querySelector(".wb-keep")?.focus({preventScroll: true}); // Enter keeps it, wherever the focus was
  };
  const back = () => {
    if (kind() === "ranking") order = order.length === model.get("shown").replies.length ? order.slice(0, -2) : order.slice(0, -1);
    else delete given[Object.keys(given).at(-1)];
    mark();
  };
  const ready = () => kind() === "ranking" ? order.length === model.get("shown").replies.length : model.get("shown").criteria.every(name => name in given);
  const keep = () => { if (ready()) judge(kind() === "ranking" ? order : given); };
  const mark = () => { // what was pressed so far
    const shown = model.get("shown");
    if (kind() === "ranking") shown.replies.forEach((_, one) => {
      const at = order.indexOf(one), pressed = buttons[one];
      pressed.setAttribute("aria-pressed", String(at >= 0));
      pressed.classList.toggle("mod-active", at >= 0);
      pressed.lastChild.textContent = at >= 0 ? `${PLACES[at]} place` : `reply ${one + 1}`;
      pressed.setAttribute("aria-label", at >= 0 ? `reply ${one + 1}: ${PLACES[at]} place` : `reply ${one + 1}`);
    });
    else for (const [name, row] of Object.entries(buttons)) for (const [number, one] of Object.entries(row)) {
      const on = given[name] === Number(number);
      one.setAttribute("aria-pressed", String(on));
      one.classList.toggle("mod-active", on);
    }
    const kept = place.querySelector(".wb-keep");
    if (kept) kept.disabled = !ready();
  };

  const draw = () => {
    const shown = model.get("shown"), had = el.contains(document.activeElement) && document.activeElement !== el;
    const was = had ? document.activeElement.dataset.role : "";
    token = shown.token ?? null;
    el.dataset.token = token;
    [order, given, buttons, waits] = [[], Object.create(null), {}, false];
    el.removeAttribute("aria-busy");
    said.textContent = shown.said ?? "";
    const undo = button("Undo", "U", () => send({do: "undo"}), "wb-quiet");
    undo.disabled = !shown.undo;
    if (shown.empty) {
      const void_ = element("div", "wb-void", null);
      void_.append(element("p", "", shown.empty));
      if (shown.undo) void_.append(undo);
      place.replaceChildren(void_);
      return;
    }
    if (!shown.replies) { place.replaceChildren(element("div", "wb-void", "Opening the store …")); return; }
    const prompt = box("Prompt", shown.prompt), replies = element("div", `wb-replies wb-replies-${shown.replies.length}`);
    prompt.classList.add("wb-prompt-box");
    const row = element("div", "wb-votes"), skip = button("Skip", "S", () => send({do: "skip"}), "wb-quiet");
    shown.replies.forEach((text, one) => replies.append(box(shown.replies.length > 1 ? `Reply ${one + 1}` : "Reply", text)));
    if (shown.kind === "pair") {
      row.append(button("Reply 1", "1", () => judge("left"), "", " is better"), button("Tie", "0", () => judge("tie")), button("Reply 2", "2", () => judge("right"), "", " is better"));
    } else if (shown.kind === "thumbs") row.append(button("Good", "1", () => judge(true)), button("Not good", "2", () => judge(false)));
    else if (shown.kind === "ranking") {
      shown.replies.forEach((_, one) => { buttons[one] = button(`reply ${one + 1}`, String(one + 1), () => put(one + 1)); row.append(buttons[one]); });
    } else {
      row.classList.add("wb-score-rows");
      for (const name of shown.criteria) {
        const line = element("div", "wb-score-row", null, {role: "group", "aria-label": name});
        line.append(element("span", "wb-score-name", name, {title: name}));
        buttons[name] = {};
        for (const number of shown.scores) {
          const one = element("button", "jupyter-button", String(number), {type: "button", "aria-label": `${name} ${number}`});
          one.addEventListener("click", () => { given[name] = number; mark(); });
          buttons[name][number] = one;
          line.append(one);
        }
        row.append(line);
      }
    }
    const foot = element("div", "wb-votes wb-votes-foot");
    if (shown.kind === "ranking" || shown.kind === "scores") foot.append(button(shown.kind === "ranking" ? "Keep this ranking" : "Keep these scores", "Enter", keep, "wb-keep"));
    foot.append(skip, undo);
    place.replaceChildren(prompt, replies, row, foot, element("p", "wb-hint", HINTS[shown.kind]));
    [...place.querySelectorAll("button")].forEach(one => { one.dataset.role = one.textContent; });
    if (shown.kind === "ranking" || shown.kind === "scores") mark();
    if (had) ([...place.querySelectorAll("button")].find(one => one.dataset.role === was && !one.disabled) ?? place.querySelector(".wb-votes button"))?.focus({preventScroll: true});
  };

  // Heard before the notebook hears it: 1, 2, 0, s and d are keys of the notebook too, and 0 0 would restart the kernel.
  const pressed = event => {
    const root = el.closest(".wb-panel") ?? el;
    const typing = event.target.closest?.("input:not([type=checkbox], [type=range]), textarea, select, [contenteditable=true]");
    if (!root.contains(event.target) || typing || event.ctrlKey || event.metaKey || event.altKey || !el.checkVisibility()) return;
    if (judged(event.key.toLowerCase(), event)) event.preventDefault();
    else if (event.key.length !== 1) return;
    event.stopImmediatePropagation();
  };
  const judged = (key, event) => { // whether the key does something here
    const shown = model.get("shown"), verdicts = {pair: {1: "left", 2: "right", 0: "tie"}, thumbs: {1: true, 2: false}}[shown.kind];
    if (shown.empty ? key !== "u" : !shown.replies) return false;
    const does = verdicts && key in verdicts ? () => judge(verdicts[key]) : !verdicts && /^[1-9]$/.test(key) ? () => put(Number(key))
      : key === "s" ? () => send({do: "skip"}) : key === "u" && shown.undo ? () => send({do: "undo"})
      : key === "backspace" && !verdicts ? back : key === "enter" && !verdicts && !event.target.closest("button") ? keep : null;
    if (does && !event.repeat) does();
    return Boolean(does);
  };
  window.addEventListener("keydown", pressed, true);
  const failed = message => { if (message.kind === "free") { waits = false; el.removeAttribute("aria-busy"); } };
  model.on("change:shown", draw);
  model.on("msg:custom", failed);
  draw();
  return () => { model.off("change:shown", draw); model.off("msg:custom", failed); window.removeEventListener("keydown", pressed, true); };
}

export default {render};
