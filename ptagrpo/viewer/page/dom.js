/* Small helpers: elements, numbers, errors that show themselves. */

const byId = id => document.getElementById(id);

/* h("div", {class: "x", onclick: f}, "text", child, ...): an element; null children are left out. */
function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/* The same for SVG. */
function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter(child => child != null));
  return element;
}

/* A number in at most `digits` significant digits, short. */
function short(value, digits = 3) {
  if (value == null) return "–";
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-3)) return value.toExponential(1).replace("e+", "e");
  if (size >= 1e6) return (value / 1e6).toPrecision(digits) + "M";
  if (size >= 1e4) return (value / 1e3).toPrecision(digits) + "k";
  return String(+value.toPrecision(digits));
}

const signed = value => value == null ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const share = (part, whole) => whole ? Math.round(100 * part / whole) + " %" : "–";

/* An error is shown on the page (and in an attribute that tests read), never only in the console. */
function problem(error) {
  const text = String(error && error.message || error);
  document.documentElement.dataset.error = text;
  const box = byId("problem");
  box.textContent = "This page cannot show everything: " + text;
  box.hidden = false;
}
addEventListener("error", event => problem(event.error || event.message));
addEventListener("unhandledrejection", event => problem(event.reason));
