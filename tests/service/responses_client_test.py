#!/usr/bin/env python3
"""The official `openai` client asks a running `tandem serve` for Responses.

Without the packages of tests/requirements.txt it says so and exits with 77: skipped.
"""
import json
import typing
import unittest

import serving

serving.enter_venv()
try:
    import openai
    import pydantic
except ImportError as error:
    serving.skip(f"{error} (tools/test installs tests/requirements.txt in build/venv)")

WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Bern", "Oslo"]},
                       "days": {"type": "integer", "enum": [1, 2, 3]}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}
INSTANT = {"effort": "none"}


class Person(pydantic.BaseModel):
    name: typing.Literal["Ann", "Bob"]
    grown_up: bool


class ResponsesClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server(serving.demo_model(), "--kv-tokens", "40960",
                                    "--max-sequences", "4")
        cls.client = openai.OpenAI(base_url=cls.server.http + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def ask(self, question, /, **more):
        return {"model": self.server.name, "input": question, "max_output_tokens": 24,
                "temperature": 0, "reasoning": INSTANT, **more}

    def create(self, question, /, **more):
        return self.client.responses.create(**self.ask(question, **more))

    def test_a_response(self):
        response = self.create("What is a river?", metadata={"why": "a test"})
        self.assertIn(response.status, ("completed", "incomplete"))
        self.assertEqual([item.type for item in response.output], ["message"])
        self.assertEqual(response.output_text, response.output[0].content[0].text)
        self.assertEqual(response.metadata, {"why": "a test"})
        usage = response.usage
        self.assertEqual(usage.total_tokens, usage.input_tokens + usage.output_tokens)
        self.assertEqual(usage.output_tokens_details.reasoning_tokens, 0)

    def test_reasoning(self):
        response = self.create("What is a river?", reasoning=None, max_output_tokens=48)
        self.assertEqual(response.output[0].type, "reasoning")
        self.assertGreater(response.usage.output_tokens_details.reasoning_tokens, 0)

    def test_a_stream_is_the_same_answer(self):
        whole = self.create("What is a river?")
        with self.client.responses.stream(**self.ask("What is a river?")) as stream:
            events = list(stream)
        text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        self.assertEqual(text, whole.output_text)
        self.assertEqual([e.sequence_number for e in events], list(range(len(events))))
        self.assertEqual(events[0].type, "response.created")
        last = events[-1]
        self.assertEqual(last.type, "response." + whole.status)
        self.assertEqual(last.response.output[0].content[0].text, text)

    def test_a_streamed_answer_that_completes(self):
        schema = {"type": "json_schema", "name": "n", "strict": True, "schema": {
            "type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"],
            "additionalProperties": False}}
        with self.client.responses.stream(**self.ask("Which?", text={"format": schema},
                                                     max_output_tokens=100)) as stream:
            for _ in stream:
                pass
            final = stream.get_final_response()
        self.assertIn(json.loads(final.output_text)["n"], (1, 2))

    def test_structured_output(self):
        response = self.client.responses.parse(**self.ask("Who?", max_output_tokens=100),
                                               text_format=Person)
        self.assertIn(response.output_parsed.name, ("Ann", "Bob"))

    def test_any_json_object(self):
        response = self.create("Give me JSON.", text={"format": {"type": "json_object"}},
                               temperature=1, max_output_tokens=1200)
        if response.status == "completed":
            self.assertIsInstance(json.loads(response.output_text), dict)

    def test_calls_by_stored_responses(self):
        answer = self.create("Weather?", tools=[WEATHER], tool_choice="required",
                             max_output_tokens=200, parallel_tool_calls=False)
        for turn in range(4):
            self.assertEqual(answer.status, "completed")
            call = answer.output[-1]
            self.assertEqual(call.type, "function_call")
            self.assertEqual(call.call_id, f"functions.get_weather:{turn}")
            self.assertIn(json.loads(call.arguments)["city"], ("Bern", "Oslo"))
            before = answer.usage
            answer = self.create(
                [{"type": "function_call_output", "call_id": call.call_id, "output": "9 degrees"}],
                previous_response_id=answer.id, tools=[WEATHER], tool_choice="required",
                max_output_tokens=200, parallel_tool_calls=False)
            # All whole pages (64 tokens) of what was computed are found again.
            self.assertGreater(answer.usage.input_tokens_details.cached_tokens,
                               before.total_tokens - 128)

    def test_calls_by_items(self):
        items = [{"role": "user", "content": "Weather?"}]
        answer = self.create(items, tools=[WEATHER], tool_choice="required", store=False,
                             max_output_tokens=200)
        self.assertEqual(answer.status, "completed")
        items += answer.output
        items += [{"type": "function_call_output", "call_id": call.call_id, "output": "9 degrees"}
                  for call in answer.output if call.type == "function_call"]
        self.assertTrue(self.create(items, tools=[WEATHER], store=False).id)

    def test_a_streamed_call(self):
        with self.client.responses.stream(**self.ask("Weather?", tools=[WEATHER],
                                                     tool_choice="required",
                                                     max_output_tokens=200)) as stream:
            deltas = "".join(e.delta for e in stream
                             if e.type == "response.function_call_arguments.delta"
                             and e.output_index == 0)
            final = stream.get_final_response()
        self.assertEqual(final.output[0].arguments, deltas)

    def test_responses_are_kept(self):
        response = self.create("What is a river?")
        again = self.client.responses.retrieve(response.id)
        self.assertEqual(again.output_text, response.output_text)
        self.client.responses.delete(response.id)
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.retrieve(response.id)
        with self.assertRaises(openai.NotFoundError):
            self.create("And?", previous_response_id=response.id)
        unkept = self.create("Hi", store=False)
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.retrieve(unkept.id)

    def test_errors(self):
        for field, value in [("temperature", 9), ("background", True), ("truncation", "auto"),
                             ("top_logprobs", 3), ("tools", [{"type": "web_search"}])]:
            with self.subTest(field=field):
                with self.assertRaises(openai.BadRequestError) as caught:
                    self.create("Hi", **{field: value})
                self.assertIn(field, str(caught.exception))
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.create(model="gpt-unknown", input="Hi")

    def test_cancelling_frees_the_engine(self):
        request = self.ask("Tell me a long story.", max_output_tokens=1500, temperature=1)
        with self.client.responses.stream(**request) as stream:
            next(iter(stream))
        self.assertTrue(serving.wait_until(lambda: self.server.metric("tandem_requests_running") == 0),
                        "the engine still works for a client that left")


if __name__ == "__main__":
    unittest.main(verbosity=2)
