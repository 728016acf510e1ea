"""The page of `ptagrpo view` in a real browser: headless Chromium, driven by the address and by key events."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import time

import pytest
import viewer_runs
from patience import patience

from ptagrpo.viewer import write_page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium here (Debian: apt-get install chromium): the page is not tested in a browser",
)
LOAD_10000_S = 5.0  # browser start included; about 2.5 s on the machine that it was written on


class Page:
    """What the browser made of the page: its DOM as text, and what its console said."""

    def __init__(self, dom: str, console: list[str]):
        self.dom, self.console = dom, console
        self.text = html.unescape(
            re.sub(r"<[^>]+>", " ", re.sub(r"<script.*?</script>", "", dom, flags=re.S))
        )

    def count(self, pattern: str) -> int:
        return len(re.findall(pattern, self.dom))

    @property
    def found(self) -> int:
        return int(re.search(r'id="found"[^>]*data-count="(\d+)"', self.dom)[1])


@pytest.fixture
def browse(tmp_path):
    def browse(page, state="", *, keys=(), size=(1280, 900)):
        """Load the page at `#state`, press keys, return a Page. Any error on page or console is a failure."""
        path = page
        if keys:
            path = tmp_path / "with_keys.html"
            path.write_text(page.read_text().replace("</body>", PRESS % {"keys": list(keys)} + "</body>"))
        command = [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={size[0]},{size[1]}", "--enable-logging=stderr", "--virtual-time-budget=20000",
            "--dump-dom", f"{path.resolve().as_uri()}#{state}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        shown = Page(done.stdout, console)
        assert re.search(r'<html[^>]* data-ready="\d+"', shown.dom), (done.stdout[-500:], done.stderr[-2000:])
        assert "data-error" not in shown.dom and console == []
        return shown

    return browse


PRESS = """<script>
const ready = setInterval(async () => {
  if (!document.documentElement.dataset.ready) return;
  clearInterval(ready);
  for (const key of %(keys)s) {
    const press = new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true});
    (document.activeElement || document.body).dispatchEvent(press);
    await new Promise(later => setTimeout(later, 300));
  }
}, 50);
</script>"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    counts = viewer_runs.write_run(folder, 20, 10, tokens=True)
    return write_page(folder), counts


def test_curves_are_drawn_and_search_narrows_them(small, browse):
    page, _ = small
    assert browse(page).count(r"<figure") < 9  # those below the window wait
    shown = browse(page, size=(1280, 2600))
    for name in ("Reward and its components", "loss", "success_mean", "sampling"):
        assert name in shown.text, name
    assert shown.count(r"<figure") == 9  # the components together, and 8 metrics
    shown = browse(page, "view=curves&find=success")
    assert shown.count(r"<figure") == 1 and "Reward and its components" not in shown.text


@pytest.mark.parametrize("name", ["all", "right", "mixed", "wrong", "tie", "unclosed"])
def test_filters(small, browse, name):
    page, counts = small
    shown = browse(page, f"view=trees&filter={name}")
    assert shown.found == counts[name] and 0 < counts[name]
    assert 5 < shown.count(r'class="row"') < 40  # only the rows in sight are in the page


def test_filter_step_and_search_together(small, browse):
    page, counts = small
    assert browse(page, "step=12&filter=wrong").found == 2
    assert browse(page, "q=NEEDLE").found == counts["needle"] == 1
    assert browse(page, "q=question+7:").found == 1
    assert browse(page, "q=%22needle%22+is").found == 1  # quotes are escaped in the data
    shown = browse(page, "filter=wrong&q=needle")
    assert shown.found == 0


def test_a_tree_shows_plans_chains_and_components(small, browse):
    page, _ = small
    shown = browse(page, "tree=3.2&open=1")
    assert shown.count(r'class="plan (all|some|none)"') == 4 and shown.count(r"<details[^>]* open") == 12
    assert "right answer 4" in re.sub(r"\s+", " ", shown.text)
    assert "structure 0.2" in shown.text and "+0.90" in shown.text and "−0.90" in shown.text
    assert "<mark" not in shown.dom and "Question 22:" in shown.text


def test_tokens_are_coloured_on_request(small, browse, tmp_path):
    page, _ = small
    plain = browse(page, "tree=3.2&open=1")
    assert plain.count('title="probability') == 0
    for mode, variable in (
        ("entropy", "--heat"),
        ("ratio", "--plus"),
        ("ratio", "--minus"),
        ("logprob", "--heat"),
    ):
        shown = browse(page, f"tree=3.2&open=1&color={mode}")
        assert shown.count('title="probability') > 200
        assert shown.count(rf"<span style=\"background:\s?rgb\(var\({variable}\)") > 20, (mode, variable)
    without = tmp_path / "without"
    without.mkdir()
    viewer_runs.write_run(without, 2, 5)
    shown = browse(write_page(without), "tree=1.0&open=1&color=advantage")
    assert shown.count(r'disabled=""[^>]*title="This run stored no values of tokens') == 3
    assert shown.count(r"<span style=\"background:\s?rgb\(var\(--plus\)") >= 12


def test_two_steps_side_by_side(small, browse):
    page, _ = small
    shown = browse(page, "tree=3.2&vs=20")
    assert shown.count(r'class="side"') == 2 and shown.count(r'class="plan (all|some|none)"') == 8
    assert shown.count(r'<dl class="summary"') == 2
    assert "another question: this one was not sampled at step 20" in shown.text


def test_keys(small, browse):
    page, counts = small
    shown = browse(page, "view=trees", keys=["j", "j", "o"])
    assert shown.count(r'id="row-2"[^>]*aria-selected="true"') == 1
    assert shown.count(r"<details[^>]* open") == 12
    assert browse(page, "view=trees", keys=["f", "f", "f"]).found == counts["wrong"]
    assert browse(page, "", keys=["2", "v"]).count(r'class="side"') == 2
    assert browse(page, "view=trees", keys=["]", "]"]).found == 10
    assert browse(page, "q=needle", keys=["Escape"]).found == counts["all"]
    assert browse(page, "", keys=["?"]).count(r"<dialog[^>]* open") == 1


def test_on_a_phone_the_list_and_the_tree_take_turns(small, browse):
    page, _ = small
    shown = browse(page, "view=trees", size=(390, 844))
    assert shown.count(r'<body[^>]*class="reading"') == 0 and shown.count(r'class="plan ') == 0
    shown = browse(page, "view=trees&tree=3.2", size=(390, 844))
    assert shown.count(r'<body[^>]*class="reading"') == 1 and shown.count(r'class="plan ') == 4


def test_a_run_that_has_only_just_begun(browse, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    page = write_page(tmp_path)
    assert browse(page).count("<figure") == 1
    assert "No plan trees are stored yet" in browse(page, "view=trees").text


def test_texts_of_a_model_cannot_become_markup(browse, tmp_path):
    evil = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
    chain = {"text": evil, "answer": evil, "correct": True}
    plan = {"plan": evil, "score": 1.0, "reward": 1.0, "chains": [chain]}
    tree = {"step": 1, "id": evil, "prompt": evil, "answer": evil, "plans": [plan]}
    viewer_runs.StepFiles(tmp_path, "trees", 1.0, compress=True).write(1, [tree])
    shown = browse(write_page(tmp_path), "view=trees&open=1")
    assert "<title>owned" not in shown.dom and "<img" not in re.sub(
        r"<script.*?</script>", "", shown.dom, flags=re.S
    )
    assert shown.text.count("onerror=alert(1)") >= 4


def test_ten_thousand_trees(browse, tmp_path):
    counts = viewer_runs.write_run(tmp_path, 625, 16)
    assert counts["all"] == 10_000
    page = write_page(tmp_path)
    browse(page, "view=curves")  # the browser's first start writes its profile
    for state, found in (("view=trees", counts["all"]), ("filter=unclosed", counts["unclosed"]),
                         ("q=needle", counts["needle"])):  # fmt: skip
        began = time.perf_counter()
        shown = browse(page, state)
        assert time.perf_counter() - began < patience(LOAD_10000_S)
        assert shown.found == found and shown.count(r'class="row"') < 40
