// Makes elements. Text is only ever set as text: nothing that a server or an authenticator said becomes markup.

/** el("p", { class: "note", onclick }, "text", child, …); null, undefined and false children are left out. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** A button that copies what `text()` gives, and says so. */
export function copyButton(text, label = "Copy") {
  const button = el("button", { type: "button", class: "quiet copy" }, label);
  button.addEventListener("click", async () => {
    let said = "Copied";
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      said = "Not copied: select it by hand";
    }
    button.textContent = said;
    announce(said);
    setTimeout(() => (button.textContent = label), 1600);
  });
  return button;
}

/** A block of code that can be scrolled by keyboard. */
export function codeBlock(text, label) {
  return el("pre", { tabindex: "0", role: "region", "aria-label": label }, el("code", {}, text));
}

/** Tell a screen reader what the eye sees elsewhere. */
export function announce(text) {
  const region = byId("announcer");
  region.textContent = "";
  requestAnimationFrame(() => (region.textContent = text));
}

/** Leaves that lie in one place: a row of buttons, each of which opens its leaf and shuts the others. */
export function leaves(all, opened = -1) {
  const panels = all.map(([, content], index) => el("div", { hidden: index !== opened }, content));
  const buttons = all.map(([name], index) =>
    el(
      "button",
      {
        type: "button",
        class: "leaf",
        "aria-expanded": String(index === opened),
        onclick() {
          const open = panels[index].hidden;
          panels.forEach((panel, other) => (panel.hidden = !(open && other === index)));
          buttons.forEach((button, other) => button.setAttribute("aria-expanded", String(open && other === index)));
        },
      },
      name,
    ),
  );
  return el("div", { class: "leaves" }, el("div", { class: "leaf-row" }, buttons), panels);
}
