/* The data in the page: the head (curves, index of trees) and one chunk of trees for each step. */

const FILTERS = {
  all: ["all", () => true],
  right: ["all right", tree => tree.right === tree.total],
  mixed: ["mixed", tree => tree.right > 0 && tree.right < tree.total],
  wrong: ["all wrong", tree => tree.right === 0],
  tie: ["tie", tree => tree.tie],
  unclosed: ["unclosed", tree => tree.unclosed > 0],
};
const KEPT_CHUNKS = 24;

const data = {head: null, trees: [], byStep: new Map(), _chunks: new Map()};

async function unpack(id) {
  const bytes = Uint8Array.from(atob(byId(id).textContent), character => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

async function loadHead() {
  const head = data.head = JSON.parse(await unpack("head"));
  data.trees = head.trees.map(([chunk, place, question, right, total, tie, unclosed, reward], index) => {
    const step = head.steps[chunk], [id, text, answer] = head.questions[question];
    return {index, chunk, place, question, step, id, text, answer, right, total, tie: !!tie, unclosed, reward,
            key: step + "." + place};
  });
  for (const tree of data.trees) {
    if (!data.byStep.has(tree.step)) data.byStep.set(tree.step, []);
    data.byStep.get(tree.step).push(tree);
  }
}

/* The plans of a tree: [{plan, score, reward, tokens?, chains: [...]}, ...]; see plan_tree/record.py. */
async function plansOf(tree) {
  const chunks = data._chunks;
  if (!chunks.has(tree.chunk)) {
    chunks.set(tree.chunk, unpack("chunk-" + tree.chunk).then(JSON.parse));
    if (chunks.size > KEPT_CHUNKS) chunks.delete(chunks.keys().next().value);
  }
  return (await chunks.get(tree.chunk))[tree.place];
}

const treeByKey = key => data.trees.find(tree => tree.key === key);

/* Trees of a step and filter whose question, answer, plans or chains contain the text. Questions are searched at
   once; the rest chunk by chunk: `progress(trees, done)` is called as results come. Returns a function that stops. */
function search({step, filter, q}, progress) {
  const fits = (FILTERS[filter] || FILTERS.all)[1];
  const trees = (step ? data.byStep.get(+step) || [] : data.trees).filter(fits);
  const words = q.trim().toLowerCase();
  if (!words) {
    progress(trees, true);
    return () => {};
  }
  const found = new Set(trees.filter(tree => [tree.id, tree.text, tree.answer].some(
    text => String(text ?? "").toLowerCase().includes(words))));
  const ordered = () => trees.filter(tree => found.has(tree));
  let stopped = false;
  (async () => {
    const chunks = [...new Set(trees.map(tree => tree.chunk))];
    const raw = JSON.stringify(words).slice(1, -1);
    for (const [number, chunk] of chunks.entries()) {
      const text = await unpack("chunk-" + chunk);
      if (stopped) return;
      if (text.toLowerCase().includes(raw)) {
        const rows = JSON.parse(text);
        for (const tree of trees) {
          if (tree.chunk === chunk && holds(rows[tree.place], words)) found.add(tree);
        }
      }
      if (number % 50 === 49) progress(ordered(), false);
    }
    progress(ordered(), true);
  })().catch(problem);
  progress(ordered(), false);
  return () => { stopped = true; };
}

function holds(plans, words) {
  const has = text => text != null && String(text).toLowerCase().includes(words);
  return plans.some(plan => has(plan.plan) || plan.chains.some(chain => has(chain.text) || has(chain.answer)));
}

/* What the trees of a step say together. */
function summary(trees) {
  const sum = value => trees.reduce((total, tree) => total + value(tree), 0);
  const chains = sum(tree => tree.total), rewarded = trees.filter(tree => tree.reward != null);
  return {
    right: share(sum(tree => tree.right), chains),
    ties: share(sum(tree => +tree.tie), trees.length),
    unclosed: share(sum(tree => tree.unclosed), chains),
    reward: rewarded.length ? short(rewarded.reduce((total, tree) => total + tree.reward, 0) / rewarded.length) : "–",
    questions: trees.length,
  };
}
