#!/usr/bin/env python3
"""Opens pages of made-up profiles in headless Chromium and looks at what their scripts made of them.

Without chromium it says so and exits with 77, which ctest shows as skipped.
--keep FOLDER keeps pages and pictures.
"""
import argparse
import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ.get("TANDEM_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BINARY = pathlib.Path(os.environ.get("TANDEM_BINARY_DIR", SOURCE / "build" / "release"))
SKIPPED = 77
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHARTS = ["skew", "gini", "hits_decode", "hits_prefill", "distinct", "reuse", "drift"]

scratch = tempfile.TemporaryDirectory(prefix="tandem_profile_page_", ignore_cleanup_errors=True)
folder = pathlib.Path(scratch.name)


def browse(url, *arguments, width=1280, height=1000):
    """Standard output of Chromium, and what the page wrote to the console."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
               "--no-first-run", "--disable-extensions", f"--user-data-dir={folder / 'browser'}",
               "--enable-logging=stderr", "--v=0", f"--window-size={width},{height}", "--virtual-time-budget=20000",
               *arguments, url]
    done = subprocess.run(command, capture_output=True, timeout=120)
    console = [line for line in done.stderr.decode(errors="replace").splitlines() if "CONSOLE" in line]
    return done.stdout.decode(), console


class Elements(html.parser.HTMLParser):
    """All elements as (name, attributes, text right behind the start tag)."""

    def __init__(self, text):
        super().__init__()
        self.all = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.all.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        if self.all:
            self.all[-1][2] += data

    def by_id(self, name):
        return next(attributes for _, attributes, _ in self.all if attributes.get("id") == name)

    def named(self, tag):
        return [(attributes, text.strip()) for name, attributes, text in self.all if name == tag]


def open_page(name, hash="", **size):
    dom, console = browse((folder / name).as_uri() + hash, "--dump-dom", **size)
    return Elements(dom), console


class ProfilePage(unittest.TestCase):
    def check_quiet(self, page, console):
        self.assertEqual(console, [])
        self.assertEqual(page.named("html")[0][0].get("data-ready"), "1", "the script ran to its end")

    def test_all_charts_of_a_large_model(self):
        page, console = open_page("large.html")
        self.check_quiet(page, console)
        (canvas, _), = page.named("canvas")
        self.assertEqual((canvas["data-rows"], canvas["data-columns"], canvas["data-cells"]), ("60", "384", "23040"))
        # 3 labels: 3,000 + 800 training tokens, a third of it held out, 8 of 60 layers' experts each.
        self.assertEqual(int(canvas["data-hits"]), 3 * (3800 + 1266) * 8 * 60)
        points = {chart: page.by_id(chart)["data-points"] for chart in CHARTS}
        self.assertEqual(page.by_id("skew")["data-series"], "61")  # a line per layer, and the even one
        self.assertEqual(points["gini"], "60")
        self.assertEqual(points["hits_decode"], str(4 * 27))
        self.assertEqual(points["hits_prefill"], str(4 * 27))
        self.assertEqual(points["distinct"], str(2 * 10))
        windows = -(-3 * 1066 // 256) - 1
        self.assertEqual(int(points["drift"]), 2 * (windows - (3 * 1066 % 256 < 128)) + 2)
        self.assertEqual(page.by_id("matrix")["data-cells"], "9")
        self.assertEqual(page.by_id("pairs")["data-rows"], "10")

    def test_the_hash_chooses(self):
        page, console = open_page("large.html", "#label=1&phase=1&split=1&order=busiest&curve_label=2&measure=jaccard")
        self.check_quiet(page, console)
        (canvas, _), = page.named("canvas")
        self.assertEqual(int(canvas["data-hits"]), 266 * 8 * 60)
        self.assertIn("266 held-out tokens, ranked by 800 training tokens", [text for _, text in page.named("div")])

    def test_hostile_text_stays_text(self):
        page, console = open_page("hostile.html")
        self.check_quiet(page, console)
        self.assertEqual(page.named("b") + page.named("img"), [])
        labels = [text for _, text in page.named("option")]
        for label in ["</script><b>bold</b>", "\"quoted\" & 'more'", "<!--<script>", "(no label)"]:
            self.assertIn(label, labels)
        self.assertIn("</title><img src=x>{{data}}", page.named("p")[0][1])

    def test_says_what_is_missing(self):
        page, console = open_page("one.html")
        self.check_quiet(page, console)
        for chart in ["hits_decode", "hits_prefill", "matrix"]:
            self.assertEqual(page.by_id(chart).get("data-empty"), "1", chart)
        self.assertIn("No held-out decode tokens, so no hit rate can be told.", [text for _, text in page.named("div")])
        page, console = open_page("empty.html")
        self.check_quiet(page, console)
        for chart in ["heatmap", *CHARTS, "matrix", "pairs"]:
            self.assertEqual(page.by_id(chart).get("data-empty"), "1", chart)

    def test_nothing_comes_from_elsewhere(self):
        text = (folder / "large.html").read_text()
        text = text.replace("http://www.w3.org/2000/svg", "")  # the name of SVG, not an address
        self.assertEqual(re.findall(r"https?://|\bsrc=|<link\b|@import|url\(", text), [])

    def test_fits_the_window(self):
        # The page's own word on its width, as its last line of script.
        probe = ("<script>document.documentElement.dataset.wide = document.documentElement.scrollWidth + '/' + "
                 "document.documentElement.clientWidth</script></body>")
        for name in ["large.html", "hostile.html"]:
            (folder / "wide.html").write_text((folder / name).read_text().replace("</body>", probe))
            for width in [1280, 800, 520]:
                page, _ = open_page("wide.html", width=width)
                needed, there = map(int, page.named("html")[0][0]["data-wide"].split("/"))
                self.assertLessEqual(needed, there, f"{name} at {width}")

    def test_keys_move_through_the_map(self):
        probe = """<script>
            const map = document.querySelector('canvas');
            map.focus();
            for (const key of ['ArrowRight', 'ArrowRight', 'ArrowDown', 'ArrowLeft'])
              map.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
            document.documentElement.dataset.tip = document.getElementById('tip').textContent;
            </script></body>"""
        (folder / "keys.html").write_text((folder / "large.html").read_text().replace("</body>", probe))
        page, console = open_page("keys.html")
        self.check_quiet(page, console)
        self.assertEqual(page.named("canvas")[0][0]["data-told"], "1,1")
        self.assertRegex(page.named("html")[0][0]["data-tip"], r"^layer 2, expert 1\n[\d,]+ of 121,584 choices")

    def test_pictures(self):
        for scheme in ["light", "dark"]:
            picture = folder / f"large_{scheme}.png"
            dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
            _, console = browse((folder / "large.html").as_uri(), f"--screenshot={picture}", *dark, height=3200)
            self.assertEqual(console, [])
            self.assertGreater(picture.stat().st_size, 50_000, "an empty page is smaller")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=pathlib.Path)
    arguments, rest = parser.parse_known_args()
    if CHROMIUM is None:
        print("skipped: no chromium (tools/packages.sh names the package)")
        return SKIPPED
    subprocess.run([BINARY / "write_profile_pages", folder], check=True)
    result = unittest.main(argv=[sys.argv[0], *rest], exit=False).result
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
        for path in [*folder.glob("*.html"), *folder.glob("*.png")]:
            shutil.copy(path, arguments.keep)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
