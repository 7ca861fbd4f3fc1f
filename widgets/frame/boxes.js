// Draws a tree of ipywidgets where the host knows anywidgets only (marimo). Each model is the host's own, with its own channel to Python; an anywidget
// among them is drawn by the host, every other by the few lines of its kind below, with the elements and class names that ipywidgets
// gives it, so panel.css and status_line.js treat it alike. A widget of another kind is named in its place. Text is set as text; only a widget HTML
// holds markup, which the panels have escaped.

// Font Awesome is not on such a page; drawn in a square of 14.
const ICONS = {play: "M3 1.5v11l9-5.5z", pause: "M2.5 2h3v10h-3zM8.5 2h3v10h-3z", stop: "M2.5 2.5h9v9h-9z", "step-forward": "M2 2v10l7-5zM9.5 2h2.5v10h-2.5z",
  "arrow-up": "M7 1.5l5 5.5H8.5v5.5h-3V7H2z", "code-fork": "M3 1h2v5.2l4-1.5V1h2v5L5 8.4V13H3z", "chevron-left": "M9.5 1.5L3.5 7l6 5.5z", "chevron-right": "M4.5 1.5l6 5.5l-6 5.5z", undo: "M1 5l4-4v2.5h4a4 4 0 0 1 0 8H4v-1.5h5a2.5 2.5 0 0 0 0-5H5V9z",
  trash: "M2 3h3l.5-1.5h3L9 3h3v1.3H2zM3 5.3h8l-.7 7.7H3.7z"};
const SVG = "http://www.w3.org/2000/svg";
const id = reference => String(reference ?? "").replace("IPY_MODEL_", "");

function element(tag, className = "", more = {}) {
  const made = document.createElement(tag);
  made.className = className;
  return Object.assign(made, more);
}

function sketch(d) {
  const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries({width: 12, height: 12, viewBox: "0 0 14 14", fill: "currentColor", "aria-hidden": "true"})) svg.setAttribute(key, value);
  path.setAttribute("d", d);
  svg.append(path);
  return svg;
}

// ---- what every widget has

function dress(model, el, {signal, ask}) {
  let own = [];
  const classes = () => {
    el.classList.remove(...own);
    own = [...(model.get("_dom_classes") ?? [])];
    el.classList.add(...own);
  };
  classes();
  on(model, ["_dom_classes"], classes, signal);
  const lay = async () => {
    const layout = await ask(model.get("layout"));
    const style = () => {
      for (const key of ["display", "width", "height", "min_width", "max_width", "min_height", "max_height", "margin", "padding", "overflow", "visibility", "flex"])
        el.style.setProperty(key.replace("_", "-"), layout.get(key) ?? "");
    };
    style();
    on(layout, ["display", "width", "visibility"], style, signal);
  };
  if (model.get("layout")) lay();
}

function on(model, names, call, signal) {
  for (const name of names) {
    model.on(`change:${name}`, call);
    signal.addEventListener("abort", () => model.off(`change:${name}`, call), {once: true});
  }
}

const put = (model, name, value) => { if (model.get(name) !== value) { model.set(name, value); model.save_changes(); } };

// A label over a control; `draw` shows the model's values again.
function labelled(model, el, control, names, draw, signal) {
  el.classList.add("widget-inline-hbox");
  const label = element("label", "widget-label");
  control.id ||= `wb-${crypto.randomUUID?.() ?? Math.random()}`;
  label.htmlFor = control.id;
  el.append(label, control);
  const show = () => {
    label.textContent = model.get("description");
    label.style.display = model.get("description") ? "" : "none";
    for (const node of el.querySelectorAll("input, select, textarea")) node.disabled = Boolean(model.get("disabled"));
    draw();
  };
  show();
  on(model, ["description", "disabled", ...names], show, signal);
}

// ---- the kinds

const BOX = (model, el, context) => {
  el.classList.add("widget-container", "widget-box");
  el.style.display = "flex";
  if (model.get("_view_name") === "VBoxView") { el.classList.add("widget-vbox"); el.style.flexDirection = "column"; }
  const kept = new Map();
  const show = () => {
    const children = model.get("children").map(id);
    for (const [name, child] of kept) if (!children.includes(name)) { child.stop.abort(); child.place.remove(); kept.delete(name); }
    let before = null;
    for (const name of children) {
      if (!kept.has(name)) {
        const stop = new AbortController();
        context.signal.addEventListener("abort", () => stop.abort(), {once: true});
        kept.set(name, {place: element("div"), stop});
      }
      const {place} = kept.get(name), here = before ? before.nextSibling : el.firstChild;
      if (place !== here) el.insertBefore(place, here);
      before = place;
    }
    for (const [name, child] of kept) if (!child.drawn) { child.drawn = true; draw(name, child.place, {...context, signal: child.stop.signal}); }
  };
  show();
  on(model, ["children"], show, context.signal);
};

const WORDS = (model, el, {signal}) => {
  el.classList.add("widget-inline-hbox", "widget-html");
  const content = element("div", "widget-html-content");
  el.append(content);
  const show = () => { content.innerHTML = model.get("value"); };
  show();
  on(model, ["value"], show, signal);
};

const BUTTON = (model, el, context) => {
  const toggle = model.get("_view_name") === "ToggleButtonView";
  el.style.display = "contents";
  const button = element("button", "jupyter-widgets jupyter-button " + (toggle ? "widget-toggle-button" : "widget-button"), {type: "button"});
  el.append(button);
  dress(model, button, context);
  button.onclick = () => { if (toggle) put(model, "value", !model.get("value")); else model.send({event: "click"}); };
  const show = () => {
    const words = model.get("description"), sign = model.get("icon") && sketch(ICONS[model.get("icon")] ?? "M4 7a3 3 0 1 0 6 0a3 3 0 1 0-6 0");
    button.replaceChildren(...(sign ? [sign] : []), words);
    if (!words) button.setAttribute("aria-label", model.get("tooltip") ?? "");
    button.title = model.get("tooltip") ?? "";
    button.disabled = Boolean(model.get("disabled"));
    button.classList.toggle("mod-primary", model.get("button_style") === "primary");
    if (toggle) { button.classList.toggle("mod-active", model.get("value")); button.setAttribute("aria-pressed", String(model.get("value"))); }
  };
  show();
  on(model, ["description", "icon", "tooltip", "disabled", "button_style", "value"], show, context.signal);
};

// A slider of one handle, or of two for a range, with the number in a field beside its name.
const SLIDER = (model, el, {signal}) => {
  const view = model.get("_view_name"), two = view === "IntRangeSliderView", chosen = view === "SelectionSliderView";
  el.classList.add("wb-log-slider");
  const ends = (two ? [0, 1] : [0]).map(() => element("input", "", {type: "range"}));
  const field = element("input", "wb-number", {type: "text", autocomplete: "off", readOnly: two || chosen});
  const now = () => (two ? [...model.get("value")] : [chosen ? model.get("index") : model.get("value")]);
  const digits = Number(/\.(\d)/.exec(model.get("readout_format") ?? "")?.[1] ?? 0);
  const take = (place, value) => {
    const values = now();
    values[place] = value;
    if (two) { values.sort((a, b) => a - b); model.set("value", values); model.save_changes(); }
    else put(model, chosen ? "index" : "value", value);
    show();
  };
  const show = () => {
    const [low, high] = chosen ? [0, model.get("_options_labels").length - 1] : [model.get("min"), model.get("max")];
    const values = now(), name = model.get("description");
    ends.forEach((end, i) => {
      Object.assign(end, {min: String(low), max: String(high), step: String(chosen ? 1 : model.get("step") ?? 1)});
      end.value = String(values[i]);
      end.setAttribute("aria-label", two ? `${name}, ${i ? "to" : "from"}` : name);
    });
    el.style.setProperty("--wb-share", String((values[0] - low) / (high - low || 1)));
    const words = chosen ? model.get("_options_labels")[values[0]] : values.map(value => value.toFixed(digits)).join(" – ");
    if (el.getRootNode().activeElement !== field) field.value = words;
    field.size = Math.max(4, field.value.length);
    field.setAttribute("aria-label", `${name}, value`);
    ends[0].setAttribute("aria-valuetext", words);
  };
  ends.forEach((end, i) => end.addEventListener(model.get("continuous_update") === false ? "change" : "input", () => take(i, Number(end.value))));
  field.addEventListener("change", () => {
    const value = Number(field.value.replace(/\s/g, "").replace(",", "."));
    if (Number.isFinite(value) && field.value.trim()) take(0, Math.min(Math.max(value, model.get("min")), model.get("max"))); else show();
  });
  field.addEventListener("keydown", event => event.stopPropagation());
  labelled(model, el, ends[0], ["value", "index", "min", "max", "step", "_options_labels"], show, signal);
  ends[0].before(field);
  if (two) el.append(ends[1]);
};

const TEXT = (model, el, {signal}) => {
  const kind = model.get("_view_name"), field = element(kind === "TextareaView" ? "textarea" : "input");
  if (kind === "TextareaView") field.rows = model.get("rows") ?? 3; else field.type = "text";
  el.classList.add(kind === "TextareaView" ? "widget-textarea" : "widget-text");
  const list = element("datalist", "", {id: `wb-${crypto.randomUUID?.() ?? Math.random()}`});
  if (kind === "ComboboxView") field.setAttribute("list", list.id);
  field.addEventListener(model.get("continuous_update") === false ? "change" : "input", () => put(model, "value", field.value));
  labelled(model, el, field, ["value", "placeholder", "options"], () => {
    if (field.value !== model.get("value")) field.value = model.get("value");
    field.placeholder = (model.get("placeholder") ?? "").replace("\u200b", "");
    list.replaceChildren(...(model.get("options") ?? []).map(value => element("option", "", {value})));
  }, signal);
  if (kind === "ComboboxView") el.append(list);
};

const SELECT = (model, el, {signal}) => {
  el.classList.add("widget-dropdown");
  const select = element("select");
  select.onchange = () => put(model, "index", select.selectedIndex);
  labelled(model, el, select, ["index", "_options_labels"], () => {
    const words = model.get("_options_labels");
    if (select.length !== words.length || words.some((word, i) => select.options[i].text !== word))
      select.replaceChildren(...words.map(text => element("option", "", {text})));
    select.selectedIndex = model.get("index") ?? -1;
  }, signal);
};

const TOGGLES = (model, el, {signal}) => {
  el.classList.add("widget-toggle-buttons");
  const label = element("label", "widget-label"), row = element("div");
  el.append(label, row);
  const show = () => {
    label.textContent = model.get("description");
    const words = model.get("_options_labels"), held = [...row.children].indexOf(el.getRootNode().activeElement);
    row.replaceChildren(...words.map((textContent, i) => {
      const button = element("button", "jupyter-button widget-toggle-button", {type: "button", textContent, title: model.get("tooltips")?.[i] ?? ""});
      button.onclick = () => put(model, "index", i);
      button.classList.toggle("mod-active", model.get("index") === i);
      button.setAttribute("aria-pressed", String(model.get("index") === i));
      button.disabled = Boolean(model.get("disabled"));
      return button;
    }));
    row.children[held]?.focus(); // keys stay where they were
  };
  show();
  on(model, ["description", "disabled", "index", "_options_labels", "tooltips"], show, signal);
};

const CHECK = (model, el, {signal}) => {
  el.classList.add("widget-checkbox");
  const label = element("label", "widget-label-basic"), box = element("input", "", {type: "checkbox"}), words = element("span");
  label.append(box, words);
  el.append(label);
  box.onchange = () => put(model, "value", box.checked);
  const show = () => { box.checked = model.get("value"); words.textContent = model.get("description"); box.disabled = Boolean(model.get("disabled")); };
  show();
  on(model, ["value", "description", "disabled"], show, signal);
};

const KINDS = {BoxView: BOX, VBoxView: BOX, HBoxView: BOX, HTMLView: WORDS, ButtonView: BUTTON, ToggleButtonView: BUTTON, IntSliderView: SLIDER,
  FloatSliderView: SLIDER, IntRangeSliderView: SLIDER, SelectionSliderView: SLIDER, TextView: TEXT, TextareaView: TEXT, ComboboxView: TEXT,
  DropdownView: SELECT, ToggleButtonsView: TOGGLES, CheckboxView: CHECK};

async function draw(name, el, context) {
  const model = await context.ask(name);
  if (context.signal.aborted) return;
  el.classList.add("jupyter-widgets");
  if (model.get("_model_module") === "anywidget") {
    dress(model, el, context);
    await (await context.host.getWidget(`anywidget:${name}`)).render({el, signal: context.signal});
    return;
  }
  const kind = KINDS[model.get("_view_name")];
  if (kind) kind(model, el, context); else el.textContent = `(${model.get("_view_name")}: not drawn in this host)`;
  if (kind !== BUTTON) dress(model, el, context);
}

function render({model, el, host, signal}) {
  const ask = reference => model.widget_manager.get_model(id(reference));
  const around = element("div"), place = element("div");
  around.append(place);
  el.append(around);
  // marimo's themes are classes of the body; the tokens know JupyterLab's word for them
  const theme = () => { around.dataset.jpThemeLight = String(!document.body.classList.contains("dark")); };
  theme();
  const themed = new MutationObserver(theme);
  themed.observe(document.body, {attributes: true, attributeFilter: ["class"]});
  signal.addEventListener("abort", () => themed.disconnect(), {once: true});
  draw(model.get("root"), place, {host, signal, ask});
}

export default {render};
