/* The detail pane: one tree, or the trees of two steps side by side with what each step says as a whole. */

/* The tree to show at another step: the one asked for, else the same question, else the first. */
function counterpart(tree, step, wanted) {
  const trees = data.byStep.get(step) || [];
  return trees.find(other => other.key === wanted) || trees.find(other => other.question === tree.question) || trees[0];
}

function stepsWith(tree) {
  return new Set(data.trees.filter(other => other.question === tree.question).map(other => other.step));
}

function stepSummary(step) {
  const found = summary(data.byStep.get(step) || []);
  const cell = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  return h("dl", {class: "summary"}, cell("step", step), cell("questions", found.questions), cell("chains right", found.right),
    cell("ties", found.ties), cell("unclosed", found.unclosed), cell("reward", found.reward));
}

/* Fill `target`; `moved(key)` when another tree of the second step is asked for. Resolves when it is drawn. */
async function drawSides(target, tree, {vs, vtree, mode, open, moved}) {
  const other = vs && tree ? counterpart(tree, +vs, vtree) : null;
  const plans = tree ? await plansOf(tree) : null;
  const otherPlans = other ? await plansOf(other) : null;
  target.classList.toggle("two", !!other);
  if (!tree) {
    target.replaceChildren(h("p", {class: "empty"}, data.trees.length
      ? "Choose a tree from the list." : "No plan trees are stored yet (store_trees=True, the default, stores them)."));
    return;
  }
  const left = h("div", {class: "side"}, other ? stepSummary(tree.step) : null, treeView(tree, plans, mode, open));
  if (!other) {
    target.replaceChildren(left);
    return;
  }
  const row = data.byStep.get(other.step), at = row.indexOf(other);
  const go = by => moved(row[(at + by + row.length) % row.length].key);
  const note = other.question === tree.question ? "the same question"
    : "another question: this one was not sampled at step " + other.step;
  target.replaceChildren(left, h("div", {class: "side"}, stepSummary(other.step), treeView(other, otherPlans, mode, open),
    h("div", {class: "turn"}, h("button", {onclick: () => go(-1), "aria-label": "Previous question of this step"}, "‹"),
      h("span", {}, `${at + 1} of ${row.length}, ${note}`),
      h("button", {onclick: () => go(1), "aria-label": "Next question of this step"}, "›"))));
}
