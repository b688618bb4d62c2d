// Elements are made here and text only ever becomes a text node: SQL, errors and names are untrusted.
// Controls that turn the direction of text around can make SQL read as something else, so they are shown by name.
const HIDDEN_CONTROLS = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g;

function visible(text) {
  return String(text).replace(HIDDEN_CONTROLS, (control) => `⟨U+${control.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

function append(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(node, child);
    else node.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return node;
}

export function setAttr(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : visible(value);
  if (node.getAttribute(name) !== text) node.setAttribute(name, text);
}

/** An HTML element. `on` holds listeners, `css` holds custom properties; everything else is an attribute. */
export function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    else if (name === "css") setVars(node, value);
    else setAttr(node, name, value);
  }
  return append(node, children);
}

/** An SVG element. */
export function s(tag, attributes, ...children) {
  const node = document.createElementNS(SVG_NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes ?? {})) setAttr(node, name, value);
  return append(node, children);
}

// The content policy forbids style attributes but not the CSS object model.
export function setVars(node, variables) {
  for (const [name, value] of Object.entries(variables)) {
    if (node.style.getPropertyValue(name) !== String(value)) node.style.setProperty(name, String(value));
  }
}

// An unchanged text is left alone, so that a selection or a screen reader is not disturbed each second.
export function setText(node, text) {
  const wanted = visible(text ?? "");
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

/**
 * Keeps one child per item, in order, and reuses the children of known keys so that focus survives an update.
 * `make(item)` returns { node, update(item) }.
 */
export function keyed(parent, items, keyOf, make) {
  const known = parent.keyedChildren ?? (parent.keyedChildren = new Map());
  const wanted = new Set();
  let place = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    if (wanted.has(key)) continue;
    wanted.add(key);
    let entry = known.get(key);
    if (!entry) {
      entry = make(item);
      known.set(key, entry);
    }
    entry.update(item);
    if (entry.node === place) place = place.nextSibling;
    else parent.insertBefore(entry.node, place);
  }
  for (const [key, entry] of known) {
    if (wanted.has(key)) continue;
    entry.node.remove();
    known.delete(key);
  }
}
