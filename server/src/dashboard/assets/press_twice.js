import { h, setText } from "./dom.js";

const SECONDS_TO_CONFIRM = 6;

/** A button that acts on its second press. `action` is asynchronous; what it throws is shown beside the button. */
export function pressTwice({ label, confirm, busy, done, action, describedBy }) {
  const button = h("button", { type: "button", "aria-label": describedBy ? `${label} ${describedBy}` : null }, label);
  const note = h("span", { class: "note", role: "status" });
  const node = h("span", { class: "press-twice" }, button, note);
  let armed = null;

  function show(text, spoken) {
    setText(button, text);
    if (describedBy) button.setAttribute("aria-label", `${text} ${describedBy}`);
    setText(note, spoken);
  }

  function disarm() {
    clearTimeout(armed);
    armed = null;
    button.classList.remove("danger");
    if (!button.disabled) show(label, "");
  }

  button.addEventListener("click", async () => {
    if (armed === null) {
      button.classList.add("danger");
      show(confirm, "");
      armed = setTimeout(disarm, SECONDS_TO_CONFIRM * 1000);
      return;
    }
    clearTimeout(armed);
    armed = null;
    button.disabled = true;
    button.classList.remove("danger");
    show(busy, "");
    try {
      await action();
      show(label, done);
    } catch (error) {
      show(label, error.message);
    } finally {
      button.disabled = false;
    }
  });
  button.addEventListener("blur", () => armed !== null && disarm());
  button.addEventListener("keydown", (event) => event.key === "Escape" && armed !== null && disarm());
  return { node, button };
}
