// A labelled row of buttons of which any number can be pressed. Looks are those of ipywidgets' ToggleButtons, as panel.css has them.

function render({model, el}) {
  el.classList.add("jupyter-widgets", "widget-toggle-buttons", "wb-several");
  const label = document.createElement("label"), row = document.createElement("div");
  label.className = "widget-label";
  label.id = `wb-several-${crypto.randomUUID?.() ?? Math.random()}`;
  row.setAttribute("role", "group");
  row.setAttribute("aria-labelledby", label.id);
  el.append(label, row);

  const draw = () => {
    label.textContent = model.get("description");
    const pressed = new Set(model.get("value")), options = model.get("options");
    const same = row.children.length === options.length && options.every(([words], i) => row.children[i].textContent === words);
    if (!same) row.replaceChildren(...options.map(([words, value]) => { // kept otherwise, so that the focus stays where it is
      const button = Object.assign(document.createElement("button"), {type: "button", textContent: words});
      button.className = "jupyter-button widget-toggle-button";
      button.onclick = () => {
        const now = new Set(model.get("value"));
        if (!now.delete(value)) now.add(value);
        model.set("value", model.get("options").map(option => option[1]).filter(option => now.has(option)));
        model.save_changes();
      };
      return button;
    }));
    options.forEach(([, value], i) => {
      const button = row.children[i], on = pressed.has(value);
      button.classList.toggle("mod-active", on);
      button.setAttribute("aria-pressed", String(on));
      button.disabled = model.get("disabled");
    });
  };
  draw();
  for (const name of ["description", "value", "options", "disabled"]) model.on(`change:${name}`, draw);
  return () => { for (const name of ["description", "value", "options", "disabled"]) model.off(`change:${name}`, draw); };
}

export default {render};
