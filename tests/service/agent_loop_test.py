#!/usr/bin/env python3
"""An agent's loop of 50 turns with tools, by the official clients: after the first turn at least 95 % of the prompts' tokens
come from the prefix cache. The model has random weights, a long context, and the published vocabulary where it is at hand.

Without the packages of tests/requirements.txt it says so and exits with 77: skipped.
"""
import json
import os
import random
import unittest

import serving

serving.enter_venv()
try:
    import anthropic
    import openai
except ImportError as error:
    serving.skip(f"{error} (tools/test installs tests/requirements.txt in build/venv)")

TURNS = 50
WORDS = "river stone lamp wind table green seven house paper night bread cloud garden music window train letter".split()
SCHEMA = {"type": "object",
          "properties": {"path": {"type": "string", "enum": ["src/main.c", "src/parse.c", "README"]},
                         "line": {"type": "integer", "enum": [1, 20, 300]}, "whole": {"type": "boolean"}},
          "required": ["path", "line", "whole"], "additionalProperties": False}


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


class AgentLoopTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        kimi = os.environ.get("TANDEM_KIMI_DATA")
        flags = ["--tokenizer", kimi, "--vocab", "163840"] if kimi else []
        model = serving.synth_model("agent", "--max-positions", "32768", "--seed", "5", *flags)
        cls.server = serving.Server(model, "--kv-tokens", "65536", "--max-sequences", "4")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def check(self, name, usages):
        """`usages`: (prompt, cached) of each turn."""
        prompt, cached = (sum(column) for column in zip(*usages[1:]))
        print(f"{name}: {len(usages)} turns, the last prompt has {usages[-1][0]} tokens; {100 * cached / prompt:.1f} % of "
              f"{prompt} prompt tokens after the first turn from the cache")
        self.assertEqual(len(usages), TURNS)
        self.assertGreaterEqual(cached, 0.95 * prompt)
        for (_, before), (_, now) in zip(usages[1:], usages[2:]):
            self.assertGreaterEqual(now, before, "the cached part of an append-only conversation shrank")

    def test_chat_completions(self):
        rng, usages = random.Random(1), []
        tool = {"type": "function", "function": {"name": "read_file", "description": words(rng, 40), "parameters": SCHEMA,
                                                 "strict": True}}
        messages = [{"role": "system", "content": words(rng, 1500)}, {"role": "user", "content": words(rng, 40)}]
        with openai.OpenAI(base_url=self.server.http + "/v1", api_key="none", max_retries=0) as client:
            for turn in range(TURNS):
                # Every third turn thinks for a moment: the reasoning of a loop stays in its prompts.
                extra = {"thinking_token_budget": 12} if turn % 3 == 2 else {"thinking_token_budget": 2}
                answer = client.chat.completions.create(
                    model=self.server.name, messages=messages, tools=[tool], tool_choice="required",
                    parallel_tool_calls=turn % 4 == 1, max_completion_tokens=400, seed=turn, extra_body=extra)
                usages.append((answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens))
                message = answer.choices[0].message
                self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
                messages.append(message.model_dump(exclude_none=True))
                for call in message.tool_calls:
                    self.assertIn(json.loads(call.function.arguments)["line"], (1, 20, 300))
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": words(rng, 25)})
        self.check("chat completions", usages)

    def test_messages(self):
        rng, usages = random.Random(2), []
        tool = {"name": "read_file", "description": words(rng, 40), "input_schema": SCHEMA, "strict": True}
        system = words(rng, 1500)
        messages = [{"role": "user", "content": words(rng, 40)}]
        with anthropic.Anthropic(base_url=self.server.http, api_key="none", max_retries=0) as client:
            for turn in range(TURNS):
                # As agents do: fields at the head of the prompt that differ in every request.
                heads = [{"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.{turn}; cch={rng.random()};"},
                         {"type": "text", "text": system}]
                answer = client.messages.create(
                    model=self.server.name, max_tokens=400, system=heads, messages=messages, tools=[tool],
                    tool_choice={"type": "any", "disable_parallel_tool_use": turn % 4 != 1})
                usage = answer.usage
                usages.append((usage.input_tokens + usage.cache_read_input_tokens, usage.cache_read_input_tokens))
                self.assertEqual(answer.stop_reason, "tool_use")
                messages.append({"role": "assistant", "content": [block.model_dump() for block in answer.content]})
                messages.append({"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": block.id, "content": words(rng, 25)}
                    for block in answer.content if block.type == "tool_use"]})
        self.check("messages", usages)


if __name__ == "__main__":
    unittest.main(verbosity=2)
