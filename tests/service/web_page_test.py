#!/usr/bin/env python3
"""The web page in headless Chromium: over a scripted server (what a model could say at worst) and over `tandem serve`.

Pictures are written to the build folder's web_page_pictures. Without chromium it says so and exits with 77, which ctest shows
as skipped.
"""
import json
import sys
import tempfile
import time
import unittest

import browser
import serving
from scripted_server import EXPERTS, LAYERS, ScriptedServer, chunk

PAGE = serving.SOURCE / "service" / "ops" / "page"
PICTURES = serving.BINARY / "web_page_pictures"
HOSTILE = ["<img src=x onerror=\"document.title='owned'\">", "<script>document.title='owned'</script>", "</div></article>",
           "&lt;b&gt; \u202e 🙂", "]]>--><svg onload=alert(1)>"]

chromium = None


def setUpModule():
    global chromium
    scratch = tempfile.mkdtemp(prefix="tandem_web_page_")
    chromium = browser.Browser(scratch)
    PICTURES.mkdir(parents=True, exist_ok=True)


def tearDownModule():
    chromium.__exit__()


def open_page(url, **how):
    page = chromium.open(url, **how)
    page.wait("document.documentElement.dataset.ready === '1'")
    return page


def say(page, text):
    page.run("document.getElementById('message').focus()")
    page.type(text)
    page.press("Enter")


def status(page):
    return page.run("document.getElementById('status').textContent")


def wait_for_end(page):
    page.wait("document.getElementById('stop').hidden && document.querySelectorAll('article.assistant').length > 0")


def usage(prompt, completion, cached=0):
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion,
                                     "prompt_tokens_details": {"cached_tokens": cached}},
            "timings": {"queue_s": 0.25, "prefill_s": 0.1, "decode_s": 2.0}}


class Scripted(unittest.TestCase):
    key = None

    def setUp(self):
        self.server = ScriptedServer(PAGE, self.key)

    def tearDown(self):
        self.server.stop()

    def open(self, **how):
        page = open_page(self.server.url, **how)
        self.addCleanup(page.close)
        return page

    def last(self, page, selector):
        return page.run(f"[...document.querySelectorAll('article')].at(-1).querySelector('{selector}')?.textContent ?? null")


class ChatTest(Scripted):
    def test_streams_reasoning_text_and_what_it_took(self):
        self.server.answer = lambda body: [
            ": position 2 in the queue", 0.3, chunk(reasoning_content="Hm, "), chunk(reasoning_content="a river."), 0.2,
            chunk(content="A river "), 0.4, chunk(content="flows."), chunk(finish="stop"), usage(200, 41, 128), "data: [DONE]"]
        page = self.open()
        say(page, "What is a river?")
        page.wait("document.getElementById('status').textContent.includes('position 2 in the queue')")
        page.wait("document.body.innerText.includes('Reasoning')")
        page.wait("[...document.querySelectorAll('article')].at(-1).innerText.includes('A river')")
        self.assertNotIn("flows", page.text(), "it streams")
        self.assertFalse(page.run("document.getElementById('stop').hidden"))
        wait_for_end(page)
        self.assertEqual(self.last(page, ":scope > div > .text"), "A river flows.")
        self.assertEqual(self.last(page, ".reasoning .text"), "Hm, a river.")
        self.assertFalse(page.run("document.querySelector('.reasoning').open"), "folded")
        took = self.last(page, ".use")
        self.assertIn("200 prompt tokens (128 from the cache) · 41 tokens · 20 tokens/s · first after", took)
        self.assertIn("0.25 s of it waiting", took)
        self.assertEqual(status(page), "The answer is complete.")
        self.assertEqual(page.console, [])

    def test_sends_what_was_chosen(self):
        page = self.open()
        page.run("document.getElementById('system').value = 'Be brief.'")
        page.click("#thinking")
        page.run("document.getElementById('temperature').value = '0.5'")
        page.run("document.getElementById('max_tokens').value = '77'")
        page.run("document.getElementById('message').focus()")
        page.type("one")
        page.press("Enter", shift=True)
        page.type("two")
        page.press("Enter")
        wait_for_end(page)
        say(page, "three")
        page.wait("document.querySelectorAll('article').length === 4")
        wait_for_end(page)
        self.assertEqual(self.server.bodies[0], {
            "model": "scripted", "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5,
            "max_completion_tokens": 77, "chat_template_kwargs": {"thinking": False},
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "one\ntwo"}]})
        self.assertEqual([m["content"] for m in self.server.bodies[1]["messages"]],
                         ["Be brief.", "one\ntwo", "Hello.", "three"])

    def test_stops_by_button_and_by_escape(self):
        self.server.answer = lambda body: [chunk(content="word "), 0.02] * 1500
        page = self.open()
        for stop in [lambda: page.click("#stop"), lambda: page.press("Escape")]:
            broken = self.server.broken
            say(page, "go on")
            page.wait("[...document.querySelectorAll('article')].at(-1).innerText.includes('word word')")
            stop()
            wait_for_end(page)
            self.assertEqual(status(page), "Stopped.")
            self.assertIn("Stopped.", self.last(page, ".note"))
            for _ in range(200):
                if self.server.broken > broken:
                    break
                time.sleep(0.02)
            self.assertEqual(self.server.broken, broken + 1, "the server sees that nobody listens")
        self.assertEqual(page.console, [])

    def test_text_is_never_html(self):
        self.server.answer = lambda body: [chunk(reasoning_content=text) for text in HOSTILE] + [
            chunk(content=text) for text in HOSTILE] + [chunk(finish="stop")]
        page = self.open()
        say(page, "".join(HOSTILE))
        wait_for_end(page)
        self.assertEqual(self.last(page, ":scope > div > .text"), "".join(HOSTILE))
        self.assertEqual(self.last(page, ".reasoning .text"), "".join(HOSTILE))
        self.assertEqual(page.run("document.title"), "Tandem")
        self.assertEqual(page.run("document.querySelectorAll('article img, article script, article svg').length"), 0)
        self.server.answer = lambda body: (400, {"error": {"message": HOSTILE[0]}})
        say(page, "x")
        page.wait("document.querySelector('.error')")
        self.assertIn(HOSTILE[0], page.run("document.querySelector('.error').textContent"))
        self.assertEqual(page.run("document.querySelectorAll('article img').length"), 0)

    def test_chunks_may_end_anywhere(self):
        stream = "".join(f"data: {json.dumps(piece, ensure_ascii=False)}\r\n\r\n" for piece in
                         [chunk(content="Größe "), chunk(content="漢字 🙂"), chunk(finish="stop")]).encode()
        self.server.answer = lambda body: [x for byte in stream for x in (bytes([byte]), 0.0005)]
        page = self.open()
        say(page, "x")
        wait_for_end(page)
        self.assertEqual(self.last(page, ":scope > div > .text"), "Größe 漢字 🙂")

    def test_errors_are_in_words(self):
        page = self.open()
        cases = [((429, {"error": {"message": "the queue is full"}}, {"Retry-After": 7}),
                  "The server has enough to do. the queue is full Try again in 7 s."),
                 ((503, {"error": {"message": ""}}), "The server is shutting down."),
                 ((500, b"<html>oops</html>"), "The server failed (500)."),
                 ([chunk(content="half"), {"error": {"message": "the step failed"}}], "The answer broke off. the step failed"),
                 ([chunk(content="half")], "The answer broke off.")]
        for answer, words in cases:
            with self.subTest(words=words):
                self.server.answer = lambda body: answer
                say(page, "x")
                page.wait(f"[...document.querySelectorAll('article')].at(-1).querySelector('.error')?.textContent === "
                          f"{json.dumps(words)}")
                wait_for_end(page)
        page.call("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        say(page, "x")
        page.wait("[...document.querySelectorAll('.error')].at(-1).textContent.startsWith('The server cannot be reached')")

    def test_tries_again_edits_and_exports(self):
        answers = iter(["first", "second", "third", "fourth"])
        self.server.answer = lambda body: [chunk(content=next(answers)), chunk(finish="stop")]
        page = self.open()
        say(page, "question")
        wait_for_end(page)
        self.click_action(page, "Try again")
        page.wait("document.body.innerText.includes('second')")
        wait_for_end(page)
        self.assertEqual(page.run("document.querySelectorAll('article').length"), 2)
        self.click_action(page, "Edit")
        self.assertEqual(page.run("document.getElementById('message').value"), "question")
        self.assertEqual(page.run("document.querySelectorAll('article').length"), 0)
        page.type(" edited")
        page.press("Enter")
        page.wait("document.body.innerText.includes('third')")
        wait_for_end(page)
        self.assertEqual([m["content"] for m in self.server.bodies[-1]["messages"]], ["question edited"])
        page.run("""(window.saved = new Promise((resolve) => {
            const make = URL.createObjectURL;
            URL.createObjectURL = (blob) => { resolve(blob.text()); return make(blob); };
        }), 0)""")
        page.click("#export")
        saved = json.loads(page.run("window.saved"))
        self.assertEqual([(m["role"], m["content"]) for m in saved["messages"]],
                         [("user", "question edited"), ("assistant", "third")])
        page.click("#clear")
        self.assertEqual(page.run("document.querySelectorAll('article').length"), 0)

    def click_action(self, page, name):
        page.run(f"[...document.querySelectorAll('article button')].filter((b) => b.textContent === '{name}').at(-1).click()")


class KeyTest(Scripted):
    key = "tdm-right"

    def test_asks_for_a_key_and_keeps_it(self):
        page = chromium.open(self.server.url)
        self.addCleanup(page.close)
        page.wait("document.getElementById('key_dialog').open")
        page.type("tdm-wrong")
        page.press("Enter")
        page.wait("document.getElementById('key_about').textContent.startsWith('That key is not')")
        page.type("tdm-right")
        page.press("Enter")
        page.wait("!document.getElementById('key_dialog').open && document.documentElement.dataset.ready")
        say(page, "x")
        wait_for_end(page)
        self.assertIn("Hello.", page.text())
        self.assertNotIn("tdm-right", page.run("document.documentElement.outerHTML"))
        page.call("Page.reload")
        page.wait("document.getElementById('model')?.textContent === 'scripted'")
        self.assertFalse(page.run("document.getElementById('key_dialog').open"))

    def test_without_a_key_it_says_so(self):
        page = chromium.open(self.server.url)
        self.addCleanup(page.close)
        page.wait("document.getElementById('key_dialog').open")
        page.press("Escape")
        page.wait("document.getElementById('status').textContent.includes('asks for a key')")


class LiveTest(Scripted):
    def test_shows_numbers_layers_and_experts(self):
        page = self.open(height=1500)
        page.run("document.getElementById('chat_tab').focus()")
        page.press("ArrowRight")
        page.wait("Number(document.documentElement.dataset.looks) >= 3")
        text = page.text()
        for words in ["kimi-k2.6: 61 layers", "96.3", "23.4 %", "used: 6,021", "kept for the next prompt: 8,333", "1 h 2 min",
                      "crawl/7", "<b>alice</b>", "1,203 of 4,000", "95.9 %"]:
            self.assertIn(words, text)
        canvas = json.loads(page.run("JSON.stringify(document.querySelector('canvas').dataset)"))
        self.assertEqual((canvas["rows"], canvas["columns"]), (str(LAYERS), str(EXPERTS)))
        self.assertGreater(int(canvas["hot"]), 100)
        self.assertEqual(page.run("document.getElementById('layers').dataset.layers"), str(LAYERS + 1))
        page.run("document.querySelector('canvas').focus()")
        for key in ["ArrowRight", "ArrowRight", "ArrowDown"]:
            page.press(key)
        self.assertEqual(page.run("document.querySelector('canvas').dataset.told"), "1,2")
        self.assertIn("layer 2, expert 2", page.run("document.getElementById('tip').textContent"))
        page.run("document.getElementById('layers_phase').value = 'prefill'")
        page.run("document.getElementById('layers_phase').dispatchEvent(new Event('change'))")
        page.wait("document.getElementById('layers').dataset.empty")
        page.run("[...document.querySelectorAll('#tasks button')][0].click()")
        for _ in range(200):
            if self.server.cancelled:
                break
            time.sleep(0.02)
        self.assertEqual(self.server.cancelled, ["crawl%2F7"])
        self.assertEqual(page.console, [])

    def test_draws_fast(self):
        page = self.open()
        page.click("#live_tab")
        page.wait("Number(document.documentElement.dataset.looks) >= 2")
        took_ms = page.run("""(async () => {
            const {HeatView} = await import('/heat.js');
            const heat = (await (await fetch('/api/live')).json()).heat, view = new HeatView(document.getElementById('heat'));
            view.show(heat);
            const times = [];
            for (let i = 0; i < 9; ++i) {
              const begin = performance.now();
              view.show(heat);
              document.querySelector('canvas').getContext('2d').getImageData(0, 0, 1, 1);
              times.push(performance.now() - begin);
            }
            return times.sort((a, b) => a - b)[4];
          })()""")
        print(f"a map of {LAYERS} x {EXPERTS}: {took_ms:.1f} ms (median of 9)")
        self.assertLess(took_ms, 250, "drawn every second")

    def test_rests_while_unseen(self):
        page = self.open()
        page.click("#live_tab")
        page.wait("Number(document.documentElement.dataset.looks) >= 1")
        page.click("#chat_tab")
        time.sleep(0.3)
        turn = self.server.turn
        time.sleep(1.5)
        self.assertEqual(self.server.turn, turn)


class LooksTest(Scripted):
    def test_pictures_and_widths(self):
        words = ("A river is a natural stream of fresh water that flows over land towards an ocean, a lake or another river.\n\n"
                 "It begins at a source and ends at its mouth. ").split(" ")
        self.server.answer = lambda body: [chunk(reasoning_content="The user asks about rivers. " * 5)] + [
            chunk(content=word + " ") for word in words] + [chunk(content="x" * 300), chunk(finish="stop"), usage(200, 41, 128)]
        for scheme in ["light", "dark"]:
            page = self.open(dark=scheme == "dark")
            for question in ["What is a river?", "y" * 300]:
                say(page, question)
                wait_for_end(page)
            page.run("document.querySelector('details.reasoning').open = true")
            for view in ["chat", "live"]:
                page.click(f"#{view}_tab")
                if view == "live":
                    page.wait("Number(document.documentElement.dataset.looks) >= 3")
                for width in [1280, 800, 520]:
                    page.resize(width, 900 if view == "chat" else 1700)
                    page.wait(f"innerWidth === {width} && "
                              "document.documentElement.scrollWidth <= document.documentElement.clientWidth", 10)
                    picture = PICTURES / f"{view}_{scheme}_{width}.png"
                    page.picture(picture)
                    self.assertGreater(picture.stat().st_size, 15_000, "an empty page is smaller")
            self.assertEqual(page.console, [])
            page.resize(1280, 900)


class ServedTest(unittest.TestCase):
    """Everything real: the page as it is in the program, the engine, a model."""

    def test_a_chat_and_the_live_view(self):
        with serving.Server(serving.demo_model(), "--kv-tokens", "40960") as server:
            page = open_page(server.http)
            page.run("document.getElementById('thinking').checked = true")
            say(page, "What is a river?")
            wait_for_end(page)
            text = page.run("[...document.querySelectorAll('article')].at(-1).innerText")
            self.assertIn("Reasoning", text)
            self.assertRegex(text, r"\d+ prompt tokens.* · \d+ tokens · [\d.,]+ tokens/s")
            self.assertEqual(status(page), "The answer is complete.")
            page.picture(PICTURES / "served_chat.png")
            page.click("#live_tab")
            page.wait("Number(document.documentElement.dataset.looks) >= 2")
            self.assertIn("kimi_k25", page.run("document.getElementById('live_about').textContent"))
            page.resize(1280, 1700)
            page.picture(PICTURES / "served_live.png")
            self.assertEqual(page.console, [])
            page.close()

    def test_stopping_frees_the_engine(self):
        model = serving.synth_model("endless", "--max-positions", "32768", "--layers", "16")
        with serving.Server(model, "--kv-tokens", "40960") as server:
            page = open_page(server.http)
            page.click("#thinking")
            for _ in range(10):  # random weights may end an answer at any token
                answers = page.run("document.querySelectorAll('article.assistant').length")
                say(page, "Tell me a very long story.")
                page.wait(f"document.querySelectorAll('article.assistant').length > {answers} && "
                          "([...document.querySelectorAll('article')].at(-1).innerText.length > 40 || "
                          "document.getElementById('stop').hidden)")
                page.click("#stop")
                wait_for_end(page)
                if status(page) == "Stopped.":
                    break
            self.assertEqual(status(page), "Stopped.")
            self.assertTrue(serving.wait_until(lambda: server.metric("tandem_requests_running") == 0))
            page.close()


def main():
    if browser.CHROMIUM is None:
        print("skipped: no chromium (tools/packages.sh names the package)")
        return serving.SKIPPED
    return 0 if unittest.main(exit=False, verbosity=2).result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
