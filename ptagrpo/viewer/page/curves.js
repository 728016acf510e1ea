/* Metric curves as SVG, drawn when they come into view. */

const CHART = {width: 300, height: 130, left: 42, right: 10, top: 8, bottom: 18};
const WIDE = {...CHART, width: 1200, height: 230};
const COLOURS = ["var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)", "var(--c4)", "var(--c5)", "var(--c6)"];
const GROUPS = ["training", "rewards", "plan", "completions", "verdicts", "ratio", "clip_ratio", "sampling", "time"];

const FIRST = ["loss", "policy_loss", "reward", "reward_std", "entropy", "kl", "grad_norm", "learning_rate"];
const LAST = ["epoch", "num_tokens"];

function rank(name) {
  const at = FIRST.indexOf(name);
  return LAST.includes(name) ? 1000 : at < 0 ? FIRST.length : at;
}

function groupOf(name) {
  if (name.startsWith("eval_")) return "evaluation";
  return name.includes("/") ? name.split("/")[0] : "training";
}

function smoothed(values, weight) {
  let mean = values[0];
  return values.map(value => mean = weight * mean + (1 - weight) * value);
}

function ticks(low, high, count) {
  const rough = (high - low) / count || 1, unit = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map(factor => factor * unit).find(candidate => candidate >= rough * 0.999);
  const found = [];
  for (let at = Math.ceil(low / size) * size; at <= high + size * 1e-6; at += size) found.push(+at.toPrecision(12));
  return found;
}

/* One chart. series: [[name, steps, values], ...]; onstep(step) when a step is clicked. */
function chart(title, series, {box = CHART, smooth = 0, onstep}) {
  const all = series.flatMap(([, , values]) => values), steps = series.flatMap(([, at]) => at);
  let low = Math.min(...all), high = Math.max(...all);
  const pad = (high - low || Math.abs(high) || 1) * 0.06;
  low -= pad; high += pad;
  const first = Math.min(...steps), last = Math.max(...steps);
  const x = step => box.left + (last > first ? (step - first) / (last - first) : 0.5) * (box.width - box.left - box.right);
  const y = value => box.height - box.bottom - (value - low) / (high - low) * (box.height - box.top - box.bottom);
  const path = (at, values) => at.map((step, i) => (i ? "L" : "M") + x(step).toFixed(1) + " " + y(values[i]).toFixed(1)).join("");
  const svg = s("svg", {viewBox: `0 0 ${box.width} ${box.height}`, "aria-hidden": "true"});
  for (const tick of ticks(low, high, box.height / 50)) {
    svg.append(s("line", {class: "grid", x1: box.left, x2: box.width - box.right, y1: y(tick), y2: y(tick)}),
               s("text", {class: "tick", x: box.left - 5, y: y(tick) + 3.5, "text-anchor": "end"}, short(tick)));
  }
  for (const tick of ticks(first, last, box.width / 80).filter(Number.isInteger)) {
    svg.append(s("text", {class: "tick", x: x(tick), y: box.height - 5, "text-anchor": "middle"}, short(tick)));
  }
  series.forEach(([, at, values], number) => {
    const stroke = COLOURS[number % COLOURS.length];
    if (at.length === 1) svg.append(s("circle", {cx: x(at[0]), cy: y(values[0]), r: 2.5, fill: stroke}));
    if (smooth) svg.append(s("path", {class: "raw", d: path(at, values), stroke}));
    svg.append(s("path", {class: "line", d: path(at, smooth ? smoothed(values, smooth) : values), stroke}));
  });
  const cursor = s("line", {class: "cursor", y1: box.top, y2: box.height - box.bottom, visibility: "hidden"});
  svg.append(cursor);
  const values = series.map(([name], number) => h("span", {class: "value"},
    series.length > 1 ? h("i", {style: `background:${COLOURS[number % COLOURS.length]}`}) : null,
    series.length > 1 ? name + " " : null, h("b", {})));
  const where = h("span", {class: "at"});
  const read = step => {
    series.forEach(([, at, numbers], number) => {
      const i = nearest(at, step);
      values[number].querySelector("b").textContent = short(numbers[i], 4);
    });
    where.textContent = "step " + step;
    cursor.setAttribute("visibility", step === last ? "hidden" : "visible");
    cursor.setAttribute("x1", x(step));
    cursor.setAttribute("x2", x(step));
  };
  const axis = [...new Set(steps)].sort((a, b) => a - b);
  let index = axis.length - 1;
  const go = to => { index = Math.max(0, Math.min(axis.length - 1, to)); read(axis[index]); };
  const figure = h("figure", {
    tabindex: 0, "aria-label": `${title}, ${axis.length} values`,
    onpointermove: event => {
      const area = svg.getBoundingClientRect();
      const part = ((event.clientX - area.left) / area.width * box.width - box.left) / (box.width - box.left - box.right);
      go(nearest(axis, first + part * (last - first)));
    },
    onpointerleave: () => go(axis.length - 1),
    onkeydown: event => {
      const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (move) { event.preventDefault(); go(index + move); }
      if (event.key === "Enter") onstep(axis[index]);
    },
    onclick: () => onstep(axis[index]),
  }, h("figcaption", {}, h("b", {class: "title"}, title), where, h("span", {class: "values"}, values)), svg);
  read(last);
  return figure;
}

function nearest(sorted, wanted) {
  let low = 0, high = sorted.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < wanted) low = middle + 1; else high = middle;
  }
  return low && wanted - sorted[low - 1] <= sorted[low] - wanted ? low - 1 : low;
}

/* All charts into `target`; those out of sight wait as empty boxes. */
function drawCurves(target, curves, {find = "", smooth = 0, onstep}) {
  const names = Object.keys(curves).filter(name => name.toLowerCase().includes(find.toLowerCase()))
    .sort((a, b) => rank(a) - rank(b));
  const options = {smooth, onstep}, waiting = new Map();
  const later = (frame, draw) => { waiting.set(frame, draw); return frame; };
  const groups = new Map(GROUPS.map(name => [name, []]));
  for (const name of names) {
    if (!groups.has(groupOf(name))) groups.set(groupOf(name), []);
    groups.get(groupOf(name)).push(name);
  }
  const parts = names.includes("reward") || find === "" ? Object.keys(curves).filter(
    name => name === "reward" || /^rewards\/.*\/mean$/.test(name)) : [];
  const sections = [];
  if (parts.length > 1) {
    const series = parts.map(name => [name === "reward" ? "total" : name.slice(8, -5), ...curves[name]]);
    sections.push(h("h2", {}, "Reward and its components"), later(h("div", {class: "frame wide"}), () =>
      chart("mean over responses", series, {...options, box: innerWidth < 700 ? CHART : WIDE})));
  }
  for (const [group, members] of groups) {
    if (!members.length) continue;
    const frames = members.map(name => later(h("div", {class: "frame"}), () =>
      chart(group === "training" ? name : name.replace(group + "/", ""), [[name, ...curves[name]]], options)));
    sections.push(h("h2", {}, group), h("div", {class: "grid"}, frames));
  }
  target.replaceChildren(...(sections.length ? sections : [h("p", {class: "empty"}, Object.keys(curves).length
    ? "No metric has this in its name." : "No metrics yet: the first row comes after logging_steps steps.")]));
  const ahead = 300, root = target.parentElement, edge = root.getBoundingClientRect();
  const watcher = new IntersectionObserver(entries => {
    for (const {target: frame, isIntersecting} of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(frame);
      frame.replaceChildren(waiting.get(frame)());
    }
  }, {root, rootMargin: `${ahead}px`});
  for (const frame of waiting.keys()) {  // those in sight now, without waiting for the browser's next frame
    const {top, bottom} = frame.getBoundingClientRect();
    const inSight = top < edge.bottom + ahead && bottom > edge.top - ahead;
    if (inSight) frame.replaceChildren(waiting.get(frame)()); else watcher.observe(frame);
  }
}
