#!/usr/bin/env python3
"""The official `anthropic` client talks to a running `tandem serve`.

Without the packages of tests/requirements.txt it says so and exits with 77: skipped.
"""
import json
import subprocess
import threading
import unittest

import serving

serving.enter_venv()
try:
    import anthropic
except ImportError as error:
    serving.skip(f"{error} (tools/test installs tests/requirements.txt in build/venv)")

FLAGS = ["--kv-tokens", "40960", "--max-sequences", "4"]
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Bern", "Oslo"]},
                       "days": {"type": "integer", "enum": [1, 2, 3]}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}


class AnthropicClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server(serving.demo_model(), *FLAGS)
        cls.client = anthropic.Anthropic(base_url=cls.server.http, api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def ask(self, *messages, sampling=None, **more):
        """A request with some defaults; `messages` are texts of the user's. The client has no words for sampling."""
        return {"model": self.server.name, "max_tokens": 24, "extra_body": sampling or {"temperature": 0},
                "messages": [{"role": "user", "content": text} for text in messages], **more}

    def create(self, *messages, **more):
        return self.client.messages.create(**self.ask(*messages, **more))

    def test_a_message(self):
        message = self.create("What is a river?")
        self.assertEqual(message.role, "assistant")
        self.assertTrue(message.id.startswith("msg_"))
        self.assertIn(message.stop_reason, ("end_turn", "max_tokens"))
        self.assertEqual([block.type for block in message.content], ["text"])
        self.assertGreater(message.usage.output_tokens, 0)
        self.assertGreater(message.usage.input_tokens + message.usage.cache_read_input_tokens, 0)

    def test_a_stream_is_the_same_answer(self):
        whole = self.create("What is a river?")
        with self.client.messages.stream(**self.ask("What is a river?")) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, whole.content[0].text)
        self.assertEqual(final.content[0].text, text)
        self.assertEqual(final.stop_reason, whole.stop_reason)
        self.assertEqual(final.usage.output_tokens, whole.usage.output_tokens)
        # All of the prompt's tokens are accounted for.
        counted = self.client.messages.count_tokens(
            model=self.server.name, messages=[{"role": "user", "content": "What is a river?"}])
        self.assertEqual(final.usage.input_tokens + final.usage.cache_read_input_tokens,
                         counted.input_tokens)

    def test_raw_events_are_in_order(self):
        events = list(self.client.messages.create(**self.ask("Hello"), stream=True))
        types = [event.type for event in events]
        self.assertEqual(types[0], "message_start")
        self.assertEqual(types[1], "content_block_start")
        self.assertEqual(types[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertEqual(set(types[2:-3]), {"content_block_delta"})

    def test_thinking(self):
        message = self.create("What is a river?", max_tokens=64,
                              thinking={"type": "enabled", "budget_tokens": 8})
        self.assertEqual(message.content[0].type, "thinking")
        self.assertTrue(message.content[0].signature)
        self.assertLessEqual(message.usage.output_tokens_details.thinking_tokens, 9)
        self.assertNotIn("thinking", {block.type for block in self.create("Hi").content})
        # It may be sent back.
        self.client.messages.create(
            model=self.server.name, max_tokens=4,
            messages=[{"role": "user", "content": "What is a river?"}, message.to_param(),
                      {"role": "user", "content": "And a lake?"}])

    def test_a_system_prompt_costs_tokens(self):
        def count(**more):
            return self.client.messages.count_tokens(
                model=self.server.name, messages=[{"role": "user", "content": "Hi"}],
                **more).input_tokens
        plain = count()
        self.assertGreater(count(system="Be brief."), plain)
        self.assertGreater(count(tools=[WEATHER]), plain)
        # What changes with every request of an agent does not.
        billing = "x-anthropic-billing-header: cc_version=2.1.177.01c; cch=36ee5;"
        self.assertEqual(count(system=[{"type": "text", "text": billing},
                                       {"type": "text", "text": "Be brief."}]),
                         count(system="Be brief."))

    def test_a_call_can_be_forced(self):
        for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
            message = self.create("Weather?", tools=[WEATHER], tool_choice=choice, max_tokens=200)
            self.assertEqual(message.stop_reason, "tool_use")
            calls = [block for block in message.content if block.type == "tool_use"]
            self.assertTrue(calls)
            for call in calls:
                self.assertRegex(call.id, "^[a-zA-Z0-9_-]+$")
                self.assertEqual(call.name, "get_weather")
                self.assertIn(call.input["city"], ("Bern", "Oslo"))
                self.assertIn(call.input["days"], (1, 2, 3))

    def test_one_call_only(self):
        message = self.create("Weather?", tools=[WEATHER], max_tokens=200,
                              tool_choice={"type": "any", "disable_parallel_tool_use": True})
        self.assertEqual([block.type for block in message.content].count("tool_use"), 1)

    def test_a_streamed_call(self):
        with self.client.messages.stream(**self.ask(
                "Weather?", tools=[WEATHER], tool_choice={"type": "any"}, max_tokens=200)) as stream:
            kinds = {event.type for event in stream}
            message = stream.get_final_message()
        self.assertIn("input_json", kinds)
        self.assertIn(message.content[-1].input["city"], ("Bern", "Oslo"))

    def test_a_tool_loop_comes_from_the_cache(self):
        messages = [{"role": "user", "content": "What will the weather be like?"}]
        shares, ids = [], []
        for turn in range(6):
            answer = self.client.messages.create(
                model=self.server.name, max_tokens=200, tools=[WEATHER], messages=messages,
                tool_choice={"type": "any", "disable_parallel_tool_use": True})
            self.assertEqual(answer.stop_reason, "tool_use")
            call = answer.content[-1]
            ids.append(int(call.id.rsplit("_", 1)[1]))
            usage = answer.usage
            prompt = usage.input_tokens + usage.cache_read_input_tokens
            shares.append(usage.cache_read_input_tokens / prompt)
            messages.append(answer.to_param())
            messages.append({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": f"{turn} degrees"}]})
        self.assertEqual(ids, list(range(6)))  # counted over the conversation
        # A page is 64 tokens: what is not cached is less than one, and the turn's new text.
        self.assertTrue(all(share > 0.5 for share in shares[1:]), shares)

    def test_structured_output(self):
        schema = {"type": "object", "properties": {"name": {"enum": ["Ann", "Bob"]}},
                  "required": ["name"], "additionalProperties": False}
        message = self.create("Who?", max_tokens=100,
                              output_config={"format": {"type": "json_schema", "schema": schema}})
        self.assertEqual(message.stop_reason, "end_turn")
        self.assertIn(json.loads(message.content[0].text)["name"], ("Ann", "Bob"))

    def test_a_prefilled_answer_goes_on(self):
        message = self.client.messages.create(
            model=self.server.name, max_tokens=8,
            messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Good"}])
        self.assertLessEqual(message.usage.output_tokens, 8)

    def test_errors(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.create("Hi", sampling={"temperature": 9})
        self.assertIn("temperature is 9", str(caught.exception))
        self.assertEqual(caught.exception.body["error"]["type"], "invalid_request_error")
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.create("Hi", extra_body={"frobnicate": 1})
        self.assertIn("frobnicate", str(caught.exception))
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.create("river " * 100000)
        self.assertIn("context", str(caught.exception))
        with self.assertRaises(anthropic.NotFoundError) as caught:
            self.client.messages.create(**{**self.ask("Hi"), "model": "claude-unknown"})
        self.assertEqual(caught.exception.body["error"]["type"], "not_found_error")

    def test_a_bad_request_is_refused_before_the_stream(self):
        with self.assertRaises(anthropic.BadRequestError):
            with self.client.messages.stream(**self.ask("Hi", sampling={"top_p": 7})):
                pass

    def test_cancelling_frees_the_engine(self):
        request = self.ask("Tell me a long story.", max_tokens=1500, sampling={"temperature": 1})
        with self.client.messages.stream(**request) as stream:
            next(iter(stream))
        self.assertTrue(serving.wait_until(lambda: self.server.metric("tandem_requests_running") == 0),
                        "the engine still works for a client that left")

    def test_requests_beside_each_other(self):
        answers, errors = [], []

        def one(i):
            try:
                answers.append(self.create(f"Number {i}?", max_tokens=16))
            except Exception as error:  # pylint: disable=broad-except
                errors.append(error)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.assertEqual(len({answer.id for answer in answers}), 8)


class KeysTest(unittest.TestCase):
    def test_a_key_is_asked_for(self):
        keys = serving.scratch() / "anthropic_keys"
        made = subprocess.run([serving.BINARY / "tandem", "keys", "add", keys, "someone"],
                              check=True, capture_output=True, text=True)
        key = made.stdout.strip()
        with serving.Server(serving.demo_model(), *FLAGS, "--keys", str(keys)) as server:
            def client(key):
                return anthropic.Anthropic(base_url=server.http, api_key=key, max_retries=0)
            request = {"model": server.name, "max_tokens": 4,
                       "messages": [{"role": "user", "content": "Hi"}]}
            self.assertTrue(client(key).messages.create(**request).id)
            with self.assertRaises(anthropic.AuthenticationError) as caught:
                client("tdm-wrong").messages.create(**request)
            self.assertEqual(caught.exception.body["error"]["type"], "authentication_error")
            with self.assertRaises(anthropic.AuthenticationError):
                client("tdm-wrong").messages.count_tokens(
                    model=server.name, messages=request["messages"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
