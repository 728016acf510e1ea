/* A list of any length of which only the rows in sight exist. */

const ROW = 62;

class VirtualList {
  /* box: the scrolling element. draw(item) -> element. choose(item): called when a row is picked. */
  constructor(box, draw, choose) {
    Object.assign(this, {box, draw, choose, items: [], current: -1});
    this.inner = h("div", {class: "rows", role: "presentation"});
    box.append(this.inner);
    box.addEventListener("scroll", () => requestAnimationFrame(() => this.render()));
    new ResizeObserver(() => this.render()).observe(box);
    box.addEventListener("click", event => {
      const row = event.target.closest("[data-row]");
      if (row) this.pick(+row.dataset.row);
    });
    box.addEventListener("keydown", event => {
      const page = Math.max(1, Math.floor(box.clientHeight / ROW) - 1), end = this.items.length - 1;
      const to = {ArrowDown: this.current + 1, ArrowUp: this.current - 1, PageDown: this.current + page,
                  PageUp: this.current - page, Home: 0, End: end}[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.pick(to);
    });
  }

  set(items, current) {
    this.items = items;
    this.current = items.indexOf(current);
    this.inner.style.height = items.length * ROW + "px";
    this.render();
  }

  pick(row) {
    if (!this.items.length) return;
    this.current = Math.max(0, Math.min(this.items.length - 1, row));
    this.show();
    this.choose(this.items[this.current]);
  }

  /* Scroll as little as needed to have the current row in sight. */
  show() {
    const top = this.current * ROW, {scrollTop, clientHeight} = this.box;
    if (this.current >= 0 && clientHeight) {
      if (top < scrollTop) this.box.scrollTop = top;
      else if (top + ROW > scrollTop + clientHeight) this.box.scrollTop = top + ROW - clientHeight;
    }
    this.render();
  }

  render() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / ROW) - 5);
    const last = Math.min(this.items.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / ROW) + 5);
    const rows = [];
    for (let i = first; i < last; i++) {
      const row = this.draw(this.items[i]);
      fill(row, {id: "row-" + i, "data-row": i, role: "option", "aria-selected": String(i === this.current),
                 "aria-posinset": i + 1, "aria-setsize": this.items.length, style: `top:${i * ROW}px`}, []);
      rows.push(row);
    }
    this.inner.replaceChildren(...rows);
    if (this.current >= first && this.current < last) this.box.setAttribute("aria-activedescendant", "row-" + this.current);
    else this.box.removeAttribute("aria-activedescendant");
  }
}

/* A row of the list: the question, its step, how many chains are right. */
function treeRow(tree) {
  const flags = [tree.tie ? "tie" : null, tree.unclosed ? "unclosed" : null].filter(Boolean);
  return h("div", {class: "row"},
    h("div", {class: "what"}, tree.text.slice(0, 200)),
    h("div", {class: "facts"}, h("span", {class: "at"}, "step " + tree.step),
      h("span", {class: "meter"}, h("i", {style: `width:${100 * tree.right / (tree.total || 1)}%`})),
      h("span", {}, `${tree.right}/${tree.total}`), flags.map(flag => h("span", {class: "tag flag"}, flag))));
}
