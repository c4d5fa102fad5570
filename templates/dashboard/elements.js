// Elements from text. What hosts say becomes text nodes alone, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. `attributes`: class, title and the like; children: elements or text; null and "" are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const GLYPHS = { good: "✓", warning: "▲", bad: "✕", busy: "◆", waits: "◌" };

/** A state that is readable without its colour: a sign and a word. */
export function badge(level, word) {
  return h("span", { class: `badge ${level}` }, h("span", { class: "sign", "aria-hidden": "true" }, GLYPHS[level]), word);
}

/** A bar that is filled to `share` (0 to 1). */
export function meter(share, label, level = "") {
  const filled = h("span", { class: `filled ${level}` });
  filled.style.width = `${Math.round(100 * Math.min(1, Math.max(0, share)))}%`;
  return h("span", { class: "meter", role: "img", "aria-label": label }, filled);
}

let ahead = 0; // how far the clock of the machine that serves is ahead of this one's, in s

export function setClock(now) {
  ahead = now - Date.now() / 1000;
}

export function now() {
  return Date.now() / 1000 + ahead;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d`;
}

/** Text that grows older by itself: "14 s", "3 min". */
export function age(at, before = "", after = " ago") {
  const element = h("time", { title: new Date(at * 1000).toLocaleString() });
  element.dataset.at = at;
  element.dataset.before = before;
  element.dataset.after = after;
  return aged(element);
}

function aged(element) {
  const { at, before, after } = element.dataset;
  element.textContent = `${before}${duration(now() - Number(at))}${after}`;
  return element;
}

export function ageAll() {
  document.querySelectorAll("time[data-at]").forEach(aged);
}
