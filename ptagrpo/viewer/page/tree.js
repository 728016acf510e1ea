/* One plan tree: question, plans side by side, chains folded below them; tokens coloured on request. */

const MODES = {
  none: "plain",
  advantage: "advantage",
  entropy: "entropy",
  ratio: "ratio",
  logprob: "log-probability",
};
/* How strongly (−1 … 1) a value colours a token; and the ends of the legend. */
const SCALES = {
  advantage: [value => value / 2, "−2", "+2"],
  entropy: [value => value / 2, "0", "2 nats"],
  ratio: [value => Math.log(Math.max(value, 1e-6)) / Math.log(1.5), "0.67", "1.5"],
  logprob: [value => 1 - Math.exp(value), "certain", "surprising"],
};
const DIVERGING = ["advantage", "ratio"];

function tint(mode, value) {
  if (value == null) return "";
  const strength = Math.max(-1, Math.min(1, SCALES[mode][0](value)));
  const hue = !DIVERGING.includes(mode) ? "--heat" : strength < 0 ? "--minus" : "--plus";
  return `rgb(var(${hue}) / ${(Math.abs(strength) * 0.6).toFixed(2)})`;
}

function legend(mode) {
  if (mode === "none") return [];
  const [, low, high] = SCALES[mode];
  const kind = DIVERGING.includes(mode) ? "diverging" : "rising";
  const note = {
    advantage: "a plan has the mean of its chains",
    ratio: "probability in the last update over probability when sampled",
    entropy: "of the distribution that the token was drawn from",
    logprob: "when it was sampled",
  }[mode];
  return [h("span", {}, MODES[mode]), h("span", {}, low), h("i", {class: "scale " + kind}), h("span", {}, high),
          h("span", {class: "soft"}, note)];
}

const mean = values => values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;

/* A text, coloured: by its one advantage, or token by token where the run stored values of tokens. */
function coloured(text, tokens, mode, advantage) {
  if (mode === "advantage") return [h("span", {style: `background:${tint(mode, advantage)}`}, text)];
  if (mode === "none" || !tokens) return [text];
  return tokens.pieces.map((piece, i) => {
    const told = ["entropy", "ratio"].filter(name => tokens[name]).map(name => `${name} ${tokens[name][i]}`);
    const probability = Math.exp(tokens.logprob[i]).toPrecision(3);
    return h("span", {style: `background:${tint(mode, (tokens[mode] || [])[i])}`,
                      title: [`probability ${probability}`, ...told].join(", ")}, piece);
  });
}

function chainView(chain, mode, open) {
  const sign = chain.correct == null ? ["·", "unjudged"] : chain.correct ? ["✓", "ok"] : ["✗", "no"];
  const parts = Object.entries(chain.rewards || {}).filter(([, value]) => value != null);
  const notes = [chain.unclosed ? "plan not closed" : null, chain.finish === "length" ? "cut off" : null];
  const body = h("div", {class: "inside"});
  const details = h("details", {class: "chain " + sign[1]},
    h("summary", {}, h("span", {class: "mark"}, sign[0]), h("span", {class: "answer"}, chain.answer ?? "no answer"),
      h("span", {class: "adv", style: `background:${tint("advantage", chain.advantage)}`, title: "advantage"},
        signed(chain.advantage))), body);
  const build = () => body.childElementCount || body.append(
    h("p", {class: "text"}, coloured(chain.text.trim() || "(nothing after the plan)", chain.tokens, mode, chain.advantage)),
    h("p", {class: "pay"}, h("span", {}, "reward ", h("b", {}, short(chain.reward))),
      parts.map(([name, value]) => h("span", {class: "part"}, name + " " + short(value))),
      h("span", {}, chain.length + " tokens"),
      notes.filter(Boolean).map(note => h("span", {class: "flag"}, note))));
  details.addEventListener("toggle", () => details.open && build());
  if (open) { build(); details.open = true; }
  return details;
}

function planView(plan, number, mode, open) {
  const right = plan.chains.filter(chain => chain.correct).length, total = plan.chains.length;
  const kind = right === total ? "all" : right ? "some" : "none";
  const advantage = mean(plan.chains.map(chain => chain.advantage).filter(value => value != null));
  return h("div", {class: "plan " + kind},
    h("div", {class: "phead"},
      h("div", {class: "ptop"}, h("span", {}, "Plan " + (number + 1)),
        h("span", {class: "meter"}, h("i", {style: `width:${100 * right / (total || 1)}%`})),
        h("b", {}, `${right} of ${total}`)),
      h("p", {class: "text"}, coloured(plan.plan ?? "(no plan)", plan.tokens, mode, advantage)),
      plan.reward == null ? null : h("div", {class: "pmeta"}, `plan reward ${plan.reward.toFixed(2)}`)),
    plan.chains.map(chain => chainView(chain, mode, open)));
}

/* The whole tree; plans as `plansOf` gives them. */
function treeView(tree, plans, mode, open) {
  const flags = [tree.tie ? "tie: all plans score alike" : null,
                 tree.unclosed ? `${tree.unclosed} unclosed` : null].filter(Boolean);
  return h("article", {class: "tree"},
    h("div", {class: "qhead"}, h("span", {class: "tag"}, "step " + tree.step), h("span", {class: "tag"}, tree.id),
      flags.map(flag => h("span", {class: "tag flag"}, flag)),
      h("span", {class: "gold"}, tree.answer == null ? null : ["right answer ", h("b", {}, tree.answer), " · "],
        `${tree.right} of ${tree.total} chains right`)),
    h("p", {class: "question"}, tree.text),
    h("div", {class: "plans"}, plans.map((plan, number) => planView(plan, number, mode, open))));
}
