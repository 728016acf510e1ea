/* State, kept in the address (#view=trees&step=12&filter=wrong&q=…), and everything that changes it. */

const DEFAULTS = {view: "curves", step: "", filter: "all", q: "", tree: "", color: "none", vs: "", vtree: "",
                  open: "", find: "", smooth: "60"};
const wide = matchMedia("(min-width: 900px)");
let state = {...DEFAULTS}, list, found = [], stopSearch = () => {}, lastInput = 0;

function readHash() {
  state = {...DEFAULTS, ...Object.fromEntries(new URLSearchParams(location.hash.slice(1)))};
  const trees = ["step", "filter", "q", "tree", "vs", "color"].some(name => state[name] !== DEFAULTS[name]);
  if (trees && !location.hash.includes("view=")) state.view = "trees";
}

function writeHash() {
  const changed = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  history.replaceState(null, "", "#" + new URLSearchParams(changed));
}

/* Change the state and show it. */
function set(changes) {
  Object.assign(state, changes);
  writeHash();
  return render();
}

function render() {
  for (const name of ["curves", "trees"]) byId(name).hidden = state.view !== name;
  for (const button of document.querySelectorAll("[data-view]")) {
    button.setAttribute("aria-current", String(button.dataset.view === state.view));
  }
  return state.view === "curves" ? renderCurves() : renderTrees();
}

function renderCurves() {
  byId("metric-search").value = state.find;
  byId("smooth").value = state.smooth;
  drawCurves(byId("charts"), data.head.curves, {
    find: state.find, smooth: state.smooth / 100,
    onstep: step => {
      const {steps} = data.head;
      if (steps.length) set({view: "trees", step: String(steps[nearest(steps, step)]), tree: ""});
    },
  });
}

function renderTrees() {
  const {head} = data;
  if (byId("search").value !== state.q) byId("search").value = state.q;
  byId("step").replaceChildren(h("option", {value: ""}, "all steps"),
    ...head.steps.map(step => h("option", {value: step, selected: String(step) === state.step}, "step " + step)));
  chips(byId("filters"), Object.entries(FILTERS).map(([name, [label]]) => [name, label]), state.filter,
        name => set({filter: name, tree: ""}));
  chips(byId("colours"), Object.entries(MODES), state.color, name => set({color: name}),
        name => ["entropy", "ratio", "logprob"].includes(name) && !head.tokens
          ? "This run stored no values of tokens: train with log_token_stats=True" : null);
  byId("legend").replaceChildren(...legend(state.color));
  byId("open-all").textContent = state.open ? "Fold all" : "Open all";
  stopSearch();
  return new Promise(resolve => {
    stopSearch = search(state, (trees, done) => {
      found = trees;
      byId("found").textContent = (trees.length === 1 ? "1 tree" : trees.length.toLocaleString("en") + " trees")
        + (done ? "" : ", searching…");
      byId("found").dataset.count = done ? trees.length : "";
      const shown = renderDetail();
      if (done) shown.then(resolve);
    });
  });
}

/* The tree in the detail pane: the chosen one; where there is room, the first one found. */
function currentTree() {
  return treeByKey(state.tree) || (wide.matches ? found[0] : null);
}

async function renderDetail() {
  const tree = currentTree();
  document.body.classList.toggle("reading", !!state.tree);
  list.set(found, tree);
  const same = tree ? stepsWith(tree) : new Set();
  byId("versus").replaceChildren(h("option", {value: ""}, "none"), ...data.head.steps.filter(step => !tree || step !== tree.step)
    .map(step => h("option", {value: step, selected: String(step) === state.vs}, step + (same.has(step) ? " (same question)" : ""))));
  await drawSides(byId("sides"), tree, {vs: state.vs, vtree: state.vtree, mode: state.color, open: !!state.open,
                                        moved: key => set({vtree: key})});
}

function chips(target, entries, current, choose, refused = () => null) {
  target.replaceChildren(...entries.map(([name, label]) => h("button", {
    "aria-pressed": String(name === current), disabled: !!refused(name), title: refused(name), "data-name": name,
    onclick: () => choose(name)}, label)));
}

function cycle(names, current) {
  return names[(names.indexOf(current) + 1) % names.length];
}

function moveStep(by) {
  const {steps} = data.head, at = steps.indexOf(+state.step);
  const to = at < 0 ? (by > 0 ? 0 : steps.length - 1) : Math.max(0, Math.min(steps.length - 1, at + by));
  if (steps.length) set({view: "trees", step: String(steps[to]), tree: ""});
}

/* Another step beside this one: one with the same question if there is, else the farthest; or none again. */
function toggleVersus() {
  const tree = currentTree();
  if (!tree || state.vs) return set({vs: "", vtree: ""});
  const others = data.head.steps.filter(step => step !== tree.step), same = stepsWith(tree);
  const distance = step => Math.abs(step - tree.step) + (same.has(step) ? 1e12 : 0);
  return others.length && set({vs: String(others.reduce((a, b) => distance(b) > distance(a) ? b : a)), vtree: ""});
}

const KEYS = {
  1: () => set({view: "curves"}),
  2: () => set({view: "trees"}),
  j: () => list.pick(list.current + 1),
  k: () => list.pick(list.current - 1),
  "[": () => moveStep(-1),
  "]": () => moveStep(1),
  "/": () => { set({view: "trees"}); byId("search").focus(); },
  f: () => set({filter: cycle(Object.keys(FILTERS), state.filter), tree: ""}),
  c: () => set({color: cycle(data.head.tokens ? Object.keys(MODES) : ["none", "advantage"], state.color)}),
  o: () => set({open: state.open ? "" : "1"}),
  v: toggleVersus,
  "?": () => byId("help").showModal(),
};
const CURVE_KEYS = ["1", "2", "/", "?", "[", "]"];

function listen() {
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => set({view: button.dataset.view}));
  }
  byId("help-open").addEventListener("click", KEYS["?"]);
  byId("metric-search").addEventListener("input", event => set({find: event.target.value}));
  byId("smooth").addEventListener("input", event => set({smooth: event.target.value}));
  let typing;
  byId("search").addEventListener("input", event => {
    clearTimeout(typing);
    typing = setTimeout(() => set({q: event.target.value, tree: ""}), 200);
  });
  byId("step").addEventListener("change", event => set({step: event.target.value, tree: ""}));
  byId("versus").addEventListener("change", event => set({vs: event.target.value, vtree: ""}));
  byId("open-all").addEventListener("click", KEYS.o);
  byId("back").addEventListener("click", () => set({tree: "", vs: "", vtree: ""}));
  addEventListener("hashchange", () => { readHash(); render(); });
  wide.addEventListener("change", render);
  for (const kind of ["keydown", "pointerdown", "wheel"]) addEventListener(kind, () => { lastInput = Date.now(); }, {passive: true});
  addEventListener("keydown", event => {
    const field = event.target.matches("input, select, textarea");
    if (event.key === "Escape" && !byId("help").open) {
      if (field) event.target.blur();
      set(state.q ? {q: "", tree: ""} : {tree: "", vs: "", vtree: ""});
    }
    if (field || byId("help").open || event.ctrlKey || event.metaKey || event.altKey) return;
    const allowed = state.view === "trees" || CURVE_KEYS.includes(event.key);
    if (allowed && Object.hasOwn(KEYS, event.key)) { event.preventDefault(); KEYS[event.key](); }
  });
}

/* A page of a run that is going on loads itself again, but not under the hands of somebody who uses it. */
function reloadLater(seconds) {
  setTimeout(() => {
    const idle = Date.now() - lastInput > 1000 * Math.min(seconds, 15);
    if (idle && !document.hidden && !byId("help").open) location.reload();
    else reloadLater(seconds);
  }, 1000 * seconds);
}

async function start() {
  await loadHead();
  const {head} = data, {written, reload} = document.body.dataset;
  byId("run-name").textContent = head.name;
  const of = head.max_steps && head.max_steps > head.step ? ` of ${head.max_steps}` : "";
  const thinned = head.stored > head.steps.length ? ` (${head.stored} steps stored, ${head.steps.length} shown)` : "";
  byId("status").textContent = `step ${head.step}${of} · ${data.trees.length.toLocaleString("en")} plan trees${thinned} · `
    + `written ${written}${+reload ? ", reloads itself" : ""}`;
  list = new VirtualList(byId("list"), treeRow, tree => set({tree: tree.key, vtree: ""}));
  listen();
  readHash();
  await render();
  document.documentElement.dataset.ready = Math.round(performance.now());
  if (+reload) reloadLater(+reload);
}
start().catch(problem);
