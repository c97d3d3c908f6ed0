#!/usr/bin/env python3
"""Prompts of the published model's chat template, counted by the server: `usage.prompt_tokens`, and the ids of /tokenize, against
chat_cases.jsonl of $TANDEM_KIMI_DATA. Without it: exit code 77, skipped. Cases with images have to be refused: the server reads
text only.
"""
import concurrent.futures
import json
import os
import pathlib
import unittest
import urllib.error
import urllib.request

import serving

DATA = os.environ.get("TANDEM_KIMI_DATA")
if not DATA:
    serving.skip("TANDEM_KIMI_DATA is not set")


def has_images(case):
    return any(part.get("type") != "text" for message in case["messages"] if isinstance(message.get("content"), list)
               for part in message["content"])


class KimiPromptsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        model = serving.synth_model("kimi", "--max-positions", "32768", "--tokenizer", DATA, "--vocab", "163840")
        cls.server = serving.Server(model, "--kv-tokens", "262144", "--max-sequences", "16")
        with open(pathlib.Path(DATA) / "chat_cases.jsonl") as lines:
            cases = [json.loads(line) for line in lines]
        cls.cases = [case for case in cases if not has_images(case)]
        cls.with_images = [case for case in cases if has_images(case)]

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def post(self, path, body):
        request = urllib.request.Request(self.server.http + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def body(self, case):
        kwargs = {key: case[key] for key in ("thinking", "preserve_thinking") if case.get(key) is not None}
        body = {"model": self.server.name, "messages": case["messages"], "chat_template_kwargs": kwargs}
        if case.get("tools"):
            body["tools"] = case["tools"]
        if case.get("add_generation_prompt") is not None:
            body["add_generation_prompt"] = case["add_generation_prompt"]
        return body

    def over_cases(self, check):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            failures = [f for f in pool.map(lambda pair: check(*pair), enumerate(self.cases)) if f]
        self.assertEqual(failures, [])
        self.assertGreater(len(self.cases), 200)
        print(f"{len(self.cases)} cases")

    def test_ids(self):
        def check(index, case):
            ids = self.post("/tokenize", self.body(case))["tokens"]
            return None if ids == case["ids"] else f"case {index}: {len(ids)} ids, expected {len(case['ids'])}"
        self.over_cases(check)

    def test_prompt_tokens(self):
        def check(index, case):
            body = {**self.body(case), "max_tokens": 1, "tool_choice": "none"}
            tokens = self.post("/v1/chat/completions", body)["usage"]["prompt_tokens"]
            return None if tokens == len(case["ids"]) else f"case {index}: {tokens}, expected {len(case['ids'])}"
        self.over_cases(check)

    def test_images_are_refused(self):
        for case in self.with_images[:20]:
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.post("/v1/chat/completions", {**self.body(case), "max_tokens": 1})
            self.assertEqual(caught.exception.code, 400)
            self.assertIn("text only", caught.exception.read().decode())


if __name__ == "__main__":
    unittest.main(verbosity=2)
