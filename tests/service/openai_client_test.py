#!/usr/bin/env python3
"""The official `openai` client talks to a running `tandem serve`: chat completions, completions, models.

Without the packages of tests/requirements.txt it says so and exits with 77: skipped.
"""
import json
import threading
import typing
import unittest

import serving

serving.enter_venv()
try:
    import openai
    import pydantic
except ImportError as error:
    serving.skip(f"{error} (tools/test installs tests/requirements.txt in build/venv)")

INSTANT = {"thinking": {"type": "disabled"}}
WEATHER = {"type": "function", "function": {
    "name": "get_weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object",
                   "properties": {"city": {"type": "string", "enum": ["Bern", "Oslo"]},
                                  "days": {"type": "integer", "enum": [1, 2, 3]}},
                   "required": ["city", "days"], "additionalProperties": False},
    "strict": True}}


class Person(pydantic.BaseModel):
    name: typing.Literal["Ann", "Bob"]
    grown_up: bool


class OpenAiClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = serving.Server(serving.demo_model(), "--kv-tokens", "40960", "--max-sequences", "8")
        cls.client = openai.OpenAI(base_url=cls.server.http + "/v1", api_key="none", max_retries=0)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def ask(self, text, extra=INSTANT, **more):
        return {"model": self.server.name, "messages": [{"role": "user", "content": text}], "max_completion_tokens": 24,
                "temperature": 0, "extra_body": extra, **more}

    def create(self, text, extra=INSTANT, **more):
        return self.client.chat.completions.create(**self.ask(text, extra, **more))

    def test_an_answer(self):
        answer = self.create("What is a river?")
        self.assertEqual(answer.object, "chat.completion")
        choice = answer.choices[0]
        self.assertIn(choice.finish_reason, ("stop", "length"))
        self.assertEqual(choice.message.role, "assistant")
        self.assertTrue(choice.message.content)
        self.assertIsNone(choice.message.tool_calls)
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertEqual(usage.completion_tokens_details.reasoning_tokens, 0)

    def test_a_stream_is_the_same_answer(self):
        whole = self.create("What is a river?")
        chunks = list(self.create("What is a river?", stream=True, stream_options={"include_usage": True}))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1], whole.choices[0].finish_reason)
        self.assertEqual(len({c.id for c in chunks}), 1)
        last = chunks[-1]
        self.assertEqual(last.choices, [])
        self.assertEqual(last.usage.completion_tokens, whole.usage.completion_tokens)
        self.assertTrue(all(c.usage is None for c in chunks[:-1]))

    def test_thinking(self):
        answer = self.create("What is a river?", extra={}, max_completion_tokens=64)
        message = answer.choices[0].message
        self.assertTrue(message.reasoning_content)
        self.assertEqual(message.reasoning, message.reasoning_content)
        self.assertGreater(answer.usage.completion_tokens_details.reasoning_tokens, 0)
        for way in ({"chat_template_kwargs": {"thinking": False}}, {"reasoning_effort": "none"},
                    {"chat_template_kwargs": {"enable_thinking": False}}):
            with self.subTest(way=way):
                instant = self.create("What is a river?", extra=way, max_completion_tokens=64)
                self.assertFalse(hasattr(instant.choices[0].message, "reasoning_content"))
                self.assertEqual(instant.usage.prompt_tokens, answer.usage.prompt_tokens + 1)

    def test_thinking_streams_before_the_text(self):
        kinds = []
        for chunk in self.create("What is a river?", extra={}, max_completion_tokens=200, stream=True):
            delta = chunk.choices[0].delta
            for kind in ("reasoning_content", "content"):
                if getattr(delta, kind, None) and (not kinds or kinds[-1] != kind):
                    kinds.append(kind)
        self.assertEqual(kinds, ["reasoning_content", "content"][:len(kinds)])
        self.assertTrue(kinds)

    def test_a_limit_of_reasoning(self):
        answer = self.create("What is a river?", extra={"thinking_token_budget": 5}, max_completion_tokens=64)
        self.assertLessEqual(answer.usage.completion_tokens_details.reasoning_tokens, 6)
        self.assertTrue(answer.choices[0].message.content)

    def test_tools(self):
        answer = self.create("Weather?", tools=[WEATHER], tool_choice="required", max_completion_tokens=200)
        choice = answer.choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assertIsNone(choice.message.content)
        call = choice.message.tool_calls[0]
        self.assertEqual((call.id, call.type, call.function.name), ("functions.get_weather:0", "function", "get_weather"))
        self.assertIn(json.loads(call.function.arguments)["city"], ("Bern", "Oslo"))
        messages = [{"role": "user", "content": "Weather?"}, choice.message,
                    *({"role": "tool", "tool_call_id": c.id, "content": "9 degrees"} for c in choice.message.tool_calls)]
        answer = self.client.chat.completions.create(**{**self.ask(""), "messages": messages}, tools=[WEATHER])
        self.assertTrue(answer.usage.prompt_tokens_details.cached_tokens > 0)
        named = self.create("Weather?", tools=[WEATHER], max_completion_tokens=200, parallel_tool_calls=False,
                            tool_choice={"type": "function", "function": {"name": "get_weather"}})
        self.assertEqual(len(named.choices[0].message.tool_calls), 1)
        none = self.create("Weather?", tools=[WEATHER], tool_choice="none")
        self.assertIsNone(none.choices[0].message.tool_calls)

    def test_streamed_tools(self):
        request = self.ask("Weather?", tools=[WEATHER], tool_choice="required", max_completion_tokens=200)
        whole = self.client.chat.completions.create(**request).choices[0].message.tool_calls
        with self.client.chat.completions.stream(**request) as stream:
            final = stream.get_final_completion().choices[0]
        self.assertEqual(final.finish_reason, "tool_calls")
        self.assertEqual([c.function.arguments for c in final.message.tool_calls], [c.function.arguments for c in whole])
        self.assertEqual([c.id for c in final.message.tool_calls], [c.id for c in whole])

    def test_structured_output(self):
        answer = self.client.chat.completions.parse(**self.ask("Who?", max_completion_tokens=100), response_format=Person)
        self.assertIn(answer.choices[0].message.parsed.name, ("Ann", "Bob"))

    def test_structured_output_after_thinking(self):
        schema = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {
            "type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}}}
        answer = self.create("Which?", extra={"thinking_token_budget": 20}, response_format=schema, max_completion_tokens=100)
        self.assertIn(json.loads(answer.choices[0].message.content)["n"], (1, 2))
        self.assertTrue(answer.choices[0].message.reasoning_content)

    def test_any_json_object(self):
        answer = self.create("Give me JSON.", response_format={"type": "json_object"}, temperature=1,
                             max_completion_tokens=1200)
        if answer.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(answer.choices[0].message.content), dict)

    def test_several_answers(self):
        answer = self.create("What is a river?", n=3, temperature=2, seed=7)
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2])
        again = self.create("What is a river?", n=3, temperature=2, seed=7, stream=True)
        texts = ["", "", ""]
        for chunk in again:
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        self.assertEqual(texts, [c.message.content for c in answer.choices])
        self.assertGreater(len(set(texts)), 1)

    def test_logprobs(self):
        answer = self.create("What is a river?", logprobs=True, top_logprobs=3)
        entries = answer.choices[0].logprobs.content
        self.assertEqual("".join(e.token for e in entries if not e.token.startswith("<|")),
                         answer.choices[0].message.content)
        for entry in entries:
            self.assertEqual(len(entry.top_logprobs), 3)
            self.assertLessEqual(entry.logprob, 0)
            self.assertAlmostEqual(entry.logprob, entry.top_logprobs[0].logprob, places=3)  # greedy
        streamed = []
        for chunk in self.create("What is a river?", logprobs=True, stream=True):
            if chunk.choices[0].logprobs and chunk.choices[0].logprobs.content:
                streamed += chunk.choices[0].logprobs.content
        self.assertEqual([e.token for e in streamed], [e.token for e in entries])

    def test_stop(self):
        whole = self.create("What is a river?").choices[0].message.content
        stop = whole[3:6]
        cut = self.create("What is a river?", stop=[stop, "never said"]).choices[0]
        self.assertEqual(cut.finish_reason, "stop")
        self.assertEqual(cut.message.content, whole[:whole.index(stop)])
        self.assertEqual(self.create("What is a river?", stop=stop).choices[0].message.content, cut.message.content)

    def test_logit_bias(self):
        first = self.client.post("/../tokenize", body={"prompt": "river"}, cast_to=object)["tokens"][0]
        answer = self.create("What?", logit_bias={str(first): 100}, max_completion_tokens=3)
        tokens = self.client.post("/../tokenize", body={"prompt": answer.choices[0].message.content}, cast_to=object)["tokens"]
        self.assertEqual(tokens, 3 * [first])

    def test_a_message_is_continued(self):
        messages = [{"role": "user", "content": "What is a river?"},
                    {"role": "assistant", "content": "A river is", "partial": True}]
        answer = self.client.chat.completions.create(**{**self.ask(""), "messages": messages})
        self.assertTrue(answer.choices[0].message.content)
        messages[-1].pop("partial")
        same = self.client.chat.completions.create(
            **{**self.ask("", {**INSTANT, "continue_final_message": True, "add_generation_prompt": False}), "messages": messages})
        self.assertEqual(same.choices[0].message.content, answer.choices[0].message.content)

    def test_completions(self):
        def create(prompt, **more):
            return self.client.completions.create(model=self.server.name, prompt=prompt, temperature=0, max_tokens=8, **more)
        answer = create("A river is")
        self.assertEqual(answer.object, "text_completion")
        text = answer.choices[0].text
        self.assertEqual("".join(c.choices[0].text for c in create("A river is", stream=True)), text)
        self.assertEqual(create("A river is", echo=True).choices[0].text, "A river is" + text)
        ids = self.client.post("/../tokenize", body={"prompt": "A river is"}, cast_to=object)["tokens"]
        self.assertEqual(create(ids).choices[0].text, text)
        several = create(["A river is", "A lamp is"], n=2)
        self.assertEqual([c.index for c in several.choices], [0, 1, 2, 3])
        self.assertEqual([c.text for c in several.choices[:2]], [text, text])
        self.assertEqual(several.usage.prompt_tokens, answer.usage.prompt_tokens + create("A lamp is").usage.prompt_tokens)
        probs = create("A river is", logprobs=2).choices[0].logprobs
        self.assertEqual(len(probs.tokens), len(probs.token_logprobs))
        self.assertEqual(probs.text_offset[0], 0)
        self.assertEqual(len(probs.top_logprobs[0]), 2)

    def test_models(self):
        self.assertEqual([m.id for m in self.client.models.list()], [self.server.name])
        self.assertEqual(self.client.models.retrieve(self.server.name).id, self.server.name)
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("gpt-unknown")

    def test_tokenize_counts_what_a_prompt_costs(self):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is a river?"}]
        body = {"model": self.server.name, "messages": messages, "tools": [WEATHER], **INSTANT}
        counted = self.client.post("/../tokenize", body={**body, "return_token_strs": True}, cast_to=object)
        estimated = self.client.post("/tokenizers/estimate-token-count", body=body, cast_to=object)["data"]["total_tokens"]
        answer = self.client.chat.completions.create(model=self.server.name, messages=messages, tools=[WEATHER],
                                                     max_tokens=1, extra_body=INSTANT)
        self.assertEqual(counted["count"], answer.usage.prompt_tokens)
        self.assertEqual(estimated, counted["count"])
        back = self.client.post("/../detokenize", body={"tokens": counted["tokens"]}, cast_to=object)["prompt"]
        self.assertEqual(back, "".join(counted["token_strs"]))
        self.assertIn("What is a river?", back)

    def test_errors(self):
        for field, value in [("temperature", 9), ("n", 1000), ("top_logprobs", 3), ("stop", [""]), ("logit_bias", {"x": 1}),
                             ("max_tokens", 25), ("tools", [{"type": "web_search"}]), ("tool_choice", "required"),
                             ("response_format", {"type": "xml"})]:
            with self.subTest(field=field):
                with self.assertRaises(openai.BadRequestError) as caught:
                    self.create("Hi", **{field: value})
                self.assertIn(field, str(caught.exception))
                self.assertEqual(caught.exception.type, "invalid_request_error")
        for field, value in [("guided_json", {}), ("unheard_of", 1), ("echo", True), ("chat_template", "{{ 7*7 }}"),
                             ("thinking", {"type": "maybe"}), ("priority", -1)]:
            with self.subTest(field=field):
                if value == {}:
                    self.assertTrue(self.create("Hi", extra={field: value}).id)  # empty asks for nothing
                    continue
                with self.assertRaises(openai.BadRequestError) as caught:
                    self.create("Hi", extra={field: value})
                self.assertEqual(caught.exception.param, field if field != "thinking" else "thinking.type")
        with self.assertRaises(openai.NotFoundError):
            self.client.chat.completions.create(model="gpt-unknown", messages=[{"role": "user", "content": "Hi"}])
        image = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}]
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(model=self.server.name, messages=[{"role": "user", "content": image}])
        self.assertIn("text only", str(caught.exception))
        with self.assertRaises(openai.BadRequestError) as caught:
            self.create("x " * 5000)
        self.assertIn("context", str(caught.exception))

    def test_a_schema_that_cannot_be_held_is_a_400(self):
        schema = {"$ref": "#"}
        with self.assertRaises(openai.BadRequestError):
            self.create("Hi", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})

    def test_cancelling_frees_the_engine(self):
        stream = self.create("Tell me a long story.", stream=True, max_completion_tokens=1500, temperature=1)
        next(stream)
        stream.close()
        self.assertTrue(serving.wait_until(lambda: self.server.metric("tandem_requests_running") == 0),
                        "the engine still works for a client that left")

    def test_many_at_once(self):
        answers, alone = {}, self.create("What is a river?").choices[0].message.content
        threads = [threading.Thread(target=lambda i=i: answers.update({i: self.create("What is a river?")}))
                   for i in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual({a.choices[0].message.content for a in answers.values()}, {alone})
        self.assertEqual(len({a.id for a in answers.values()}), 12)


class KeysTest(unittest.TestCase):
    def test_a_key_is_asked_for(self):
        import subprocess
        keys = serving.scratch() / "openai_keys"
        made = subprocess.run([serving.BINARY / "tandem", "keys", "add", keys, "someone"], check=True,
                              capture_output=True, text=True)
        with serving.Server(serving.demo_model(), "--kv-tokens", "8192", "--keys", str(keys)) as server:
            for key, accepted in [(made.stdout.strip(), True), ("tdm-wrong", False)]:
                client = openai.OpenAI(base_url=server.http + "/v1", api_key=key, max_retries=0)
                request = {"model": server.name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
                if accepted:
                    self.assertTrue(client.chat.completions.create(**request).id)
                    continue
                for call in (lambda: client.chat.completions.create(**request), client.models.list):
                    with self.assertRaises(openai.AuthenticationError) as caught:
                        call()
                    self.assertEqual(caught.exception.code, "invalid_api_key")


if __name__ == "__main__":
    unittest.main(verbosity=2)
