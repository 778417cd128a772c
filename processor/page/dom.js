// Elements, text and colours: what the parts of the page share.

export const by = (id) => document.getElementById(id);

export function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A custom property of two colours is resolved only where it is used.
export function colour(name) {
  const probe = by("announce");
  probe.style.color = `var(--${name})`;
  const resolved = getComputedStyle(probe).color;
  probe.style.color = "";
  return resolved;
}
