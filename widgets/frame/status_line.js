// The foot of a panel: a mark that says the kind by its shape, the sentence, and the drawers for code and help. Text only.
// Also, for the whole panel around it: names for slider handles and icon buttons, aria-invalid on wrong inputs, focus that stays on a
// button which can do nothing now, a sentence where the kernel is too busy to answer, and a word to the kernel when the page is hidden,
// left or saved.

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = {
  ok: [["circle", {cx: 7, cy: 7, r: 5, fill: "var(--wb-blue)"}]],
  warn: [["path", {d: "M7 1.2L13.4 12.6H.6z", fill: "var(--wb-vermillion)"}],
    ["path", {d: "M7 5v3.6M7 10.6v.2", stroke: "var(--wb-surface)", "stroke-width": 1.6, "stroke-linecap": "round"}]],
  idle: [["circle", {cx: 7, cy: 7, r: 4, fill: "none", stroke: "var(--wb-grey)", "stroke-width": 2}]],
};
const WORDS = {ok: "fine", warn: "warning", idle: "nothing yet"};

const BUSY = "The kernel is busy with a cell; this will be done when it ends.";
const BUSY_MS = 600;
const ASKING = "button, input, select, textarea, [role=slider], tr[data-id]";
const KEYS = ["Enter", " ", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];

// A disabled button loses the focus to the page, and with it a keyboard user's place. What ipywidgets sets as `disabled` is kept here
// as aria-disabled: the button stays where it is, does nothing (`refuse` below), and Tab does not stop at it again.
function keepFocus(button) {
  if (Object.hasOwn(button, "disabled")) return;
  const off = button.disabled;
  button.disabled = false;
  Object.defineProperty(button, "disabled", {
    configurable: true,
    get: () => button.getAttribute("aria-disabled") === "true",
    set: on => { if (on) button.setAttribute("aria-disabled", "true"); else button.removeAttribute("aria-disabled"); },
  });
  button.disabled = off;
}

function element(tag, className = "", attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function mark(kind) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({width: 14, height: 14, viewBox: "0 0 14 14", role: "img", "aria-label": WORDS[kind]})) svg.setAttribute(key, value);
  for (const [tag, attributes] of SHAPES[kind]) {
    const shape = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    svg.append(shape);
  }
  return svg;
}

// What ipywidgets leaves without a name (and what it names "null"). Idempotent: writes only what differs, so that watching its own writes ends.
function nameControls(panel) {
  const set = (node, key, value) => { if (value && node.getAttribute(key) !== value) node.setAttribute(key, value); };
  for (const control of panel.querySelectorAll(".widget-inline-hbox")) {
    const label = control.querySelector(":scope > .widget-label")?.textContent.trim();
    for (const named of control.querySelectorAll("[title='null']")) named.removeAttribute("title");
    const value = control.querySelector(":scope > .widget-readout")?.textContent.trim();
    for (const handle of control.querySelectorAll(".noUi-handle")) { set(handle, "aria-label", label); set(handle, "aria-valuetext", value); }
    const one = control.querySelectorAll(".noUi-handle"); // a slider of one handle gets its filled part from this share
    const [low, high, now] = ["min", "max", "now"].map(end => Number(one[0]?.getAttribute(`aria-value${end}`)));
    if (one.length === 1 && high > low) control.style.setProperty("--wb-share", String((now - low) / (high - low)));
    set(control.querySelector(":scope > .widget-readout") ?? control, "aria-label", value && label ? `${label}, value` : null);
    const bad = control.closest(".wb-bad") !== null;
    for (const input of control.querySelectorAll("input, textarea, select, .noUi-handle")) {
      if (bad) set(input, "aria-invalid", "true"); else if (input.hasAttribute("aria-invalid")) input.removeAttribute("aria-invalid");
    }
  }
  for (const group of panel.querySelectorAll(".widget-toggle-buttons")) {
    group.querySelector(":scope > [title='null']")?.removeAttribute("title");
    const buttons = group.querySelector(".widget-toggle-button")?.parentElement;
    if (buttons) { set(buttons, "role", "group"); set(buttons, "aria-label", group.querySelector(".widget-label")?.textContent.trim()); }
  }
  for (const button of panel.querySelectorAll(".widget-toggle-button, .widget-toggle-buttons button")) set(button, "aria-pressed", String(button.classList.contains("mod-active")));
  for (const button of panel.querySelectorAll(".widget-button")) {
    keepFocus(button);
    if (button.disabled) set(button, "tabindex", "-1"); else if (button.getAttribute("tabindex") === "-1") button.removeAttribute("tabindex");
  }
  for (const button of panel.querySelectorAll("button.jupyter-button")) if (!button.textContent.trim()) set(button, "aria-label", button.title);
  for (const input of panel.querySelectorAll(".wb-controls input[type=text][placeholder], .wb-bar input[type=text][placeholder]")) {
    if (!input.labels?.[0]?.textContent.trim()) set(input, "aria-label", input.placeholder);
  }
}

function render({model, el}) {
  const stop = new AbortController(), {signal} = stop;
  el.classList.add("wb-foot");
  const line = element("div", "wb-status"), sentence = element("p", "", {role: "status", "aria-live": "off"}), nav = element("nav", "", {"aria-label": "About this figure"});
  const drawers = {code: element("div", "wb-drawer wb-code"), help: element("p", "wb-drawer wb-help")};
  const pre = element("pre"), copy = element("button", "jupyter-button wb-quiet wb-copy");
  copy.textContent = "Copy";
  drawers.code.append(pre, copy);
  const buttons = {code: element("button", "jupyter-button wb-quiet"), help: element("button", "jupyter-button wb-quiet", {"aria-label": "What is this?"})};
  buttons.code.textContent = "</> Code";
  buttons.help.textContent = "?";
  nav.append(buttons.code, buttons.help);
  // A running job changes its sentence ten times a second: said aloud is only a change of kind.
  const aloud = element("span", "wb-unseen", {"aria-live": "polite"});
  line.append(sentence, aloud, nav);
  el.append(line, drawers.code, drawers.help);

  const view = String(Math.random());
  let asking = false, more = false, busy = null;
  const show = () => {
    const kind = model.get("kind");
    line.querySelector(":scope > svg")?.remove();
    line.prepend(mark(kind));
    if (line.dataset.kind && line.dataset.kind !== kind) aloud.textContent = model.get("sentence");
    line.dataset.kind = kind;
    const words = line.dataset.busy ? BUSY : model.get("sentence");
    if (sentence.textContent !== words) sentence.textContent = words;
    if (pre.textContent !== model.get("code")) pre.textContent = model.get("code");
    drawers.help.textContent = model.get("help");
    for (const [name, button] of Object.entries(buttons)) {
      const open = model.get("drawers").split(" ").includes(name);
      button.hidden = !model.get(name);
      button.setAttribute("aria-expanded", String(open));
      drawers[name].hidden = !open || !model.get(name);
    }
  };
  for (const [name, button] of Object.entries(buttons)) button.addEventListener("click", () => {
    const open = new Set(model.get("drawers").split(" ").filter(Boolean));
    if (!open.delete(name)) open.add(name);
    model.set("drawers", [...open].join(" "));
    model.save_changes();
    show();
  }, {signal});
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(pre.textContent);
    } catch { // a page without the clipboard permission still lets a person copy
      getSelection().selectAllChildren(pre);
      if (!document.execCommand("copy")) { copy.textContent = "Press Ctrl+C"; return; }
    }
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  }, {signal});
  show();
  for (const name of ["kind", "sentence", "code", "help", "drawers"]) model.on("change:" + name, show);

  // Whatever a person does here is followed by a question, which the kernel answers after it: messages are heard in order. One question
  // at a time: what is done meanwhile, as on a long drag, is followed by one more.
  const quiet = () => {
    clearTimeout(busy);
    busy = null;
    if (line.dataset.busy) { delete line.dataset.busy; show(); }
  };
  const ask = () => {
    if (el.classList.contains("jupyter-widgets-disconnected")) return;
    if (asking) { more = true; return; }
    model.send({kind: "ask", view});
    [asking, more] = [true, false];
    clearTimeout(busy);
    busy = setTimeout(() => { line.dataset.busy = "1"; aloud.textContent = BUSY; show(); }, BUSY_MS);
  };
  const heard = message => {
    if (message.kind !== "answer" || message.view !== view) return;
    asking = false;
    if (more) ask(); else quiet();
  };
  const parted = () => { [asking, more] = [false, false]; quiet(); }; // that kernel answers nothing any more
  model.on("msg:custom", heard);
  model.on("comm_live_update", parted);
  const did = event => {
    const control = event.target.closest?.(ASKING);
    if (!control || el.contains(control) || control.closest(":disabled, [aria-disabled=true]")) return;
    if (event.type !== "keyup" || KEYS.includes(event.key)) ask();
  };
  const refuse = event => { if (event.target.closest?.("[aria-disabled=true]")) { event.stopImmediatePropagation(); event.preventDefault(); } };

  // Keys meant for a control are no shortcuts of the notebook: an arrow would go to the next cell, two d's would delete this one. Shift+Enter, Escape and whatever
  // is pressed with Ctrl, Alt or Cmd still reach it.
  const keep = event => {
    const theirs = event.ctrlKey || event.altKey || event.metaKey || event.key === "Escape" || (event.key === "Enter" && event.shiftKey);
    if (!theirs && event.target.closest?.(ASKING)) event.stopPropagation();
  };

  let naming = null, due = false;
  const watch = new IntersectionObserver(() => { // the panel is in the page only after this view is made
    const panel = el.closest(".wb-panel");
    if (!panel || naming) return;
    const soon = () => { if (!due) { due = true; requestAnimationFrame(() => { due = false; nameControls(panel); }); } };
    naming = new MutationObserver(soon);
    naming.observe(panel, {childList: true, subtree: true, attributes: true, attributeFilter: ["class", "title", "aria-valuenow", "aria-disabled", "tabindex"], characterData: true});
    panel.addEventListener("click", refuse, {signal, capture: true});
    panel.addEventListener("keydown", keep, {signal});
    for (const type of ["click", "input", "change", "keyup"]) panel.addEventListener(type, did, {signal});
    soon();
  });
  watch.observe(el);

  const leaving = () => model.send({kind: "leaving"});
  document.addEventListener("visibilitychange", () => { if (document.hidden) leaving(); }, {signal});
  window.addEventListener("keydown", event => { if ((event.ctrlKey || event.metaKey) && event.key === "s") leaving(); }, {signal, capture: true});

  return () => {
    stop.abort();
    clearTimeout(busy);
    model.off("msg:custom", heard);
    model.off("comm_live_update", parted);
    watch.disconnect();
    naming?.disconnect();
    for (const name of ["kind", "sentence", "code", "help", "drawers"]) model.off("change:" + name, show);
  };
}

export default {render};
