#!/usr/bin/env python3
"""Batches on a running `tandem serve`: the official `openai` client, a Python client of gRPC's Batch, and a server that is killed.

Without the packages of tests/requirements.txt it says so and exits with 77: skipped.
"""
import json
import shutil
import threading
import time
import unittest
import urllib.error
import urllib.request

import serving

serving.enter_venv()
try:
    import grpc
    import grpc_tools  # noqa: F401 (for the stubs)
    import openai
except ImportError as error:
    serving.skip(f"{error} (tools/test installs tests/requirements.txt in build/venv)")

FLAGS = ["--kv-tokens", "40960", "--max-sequences", "8"]
ENDED = ("completed", "failed", "expired", "cancelled")

serving.import_grpc_stubs()
MODEL = serving.demo_model()
from tandem.v1 import batch_pb2, batch_pb2_grpc  # noqa: E402


def line(custom_id, text="A river", tokens=8, **more):
    body = {"model": MODEL.name, "prompt": f"{text} {custom_id}", "max_tokens": tokens, "temperature": 0,
            "ignore_eos": True, **more}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": body}) + "\n"


def lines(n, tokens=8):
    return "".join(line(f"r{i}", tokens=tokens) for i in range(n))


class Served(unittest.TestCase):
    """A server with a folder for batches, and a client."""

    def setUp(self):
        self.folder = serving.scratch() / f"batches_{self.id().rsplit('.', 1)[1]}"
        self.start()

    def tearDown(self):
        self.client.close()
        self.server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        self.server = serving.Server(MODEL, *FLAGS, "--batch-dir", str(self.folder), grpc=True)
        self.client = openai.OpenAI(base_url=self.server.http + "/v1", api_key="none", max_retries=0)

    def upload(self, text):
        return self.client.files.create(file=("night.jsonl", text.encode()), purpose="batch")

    def create(self, text, **more):
        return self.client.batches.create(input_file_id=self.upload(text).id, endpoint="/v1/completions",
                                          completion_window="24h", **more)

    def await_end(self, batch_id, seconds=120):
        self.assertTrue(serving.wait_until(lambda: self.client.batches.retrieve(batch_id).status in ENDED, seconds))
        return self.client.batches.retrieve(batch_id)

    def results(self, file_id):
        found = {}
        for text in self.client.files.content(file_id).text.splitlines():
            result = json.loads(text)
            self.assertNotIn(result["custom_id"], found, "twice")
            found[result["custom_id"]] = result
        return found


class OpenAiClientTest(Served):
    def test_from_upload_to_results(self):
        batch = self.create(lines(10) + line("hot", **{"top_p": 9}), metadata={"night": "first"})
        self.assertEqual(batch.status, "validating")
        self.assertEqual(batch.metadata, {"night": "first"})
        batch = self.await_end(batch.id)
        self.assertEqual(batch.status, "completed")
        counts = batch.request_counts
        self.assertEqual((counts.total, counts.completed, counts.failed), (11, 10, 1))
        results = self.results(batch.output_file_id)
        self.assertEqual(set(results), {f"r{i}" for i in range(10)})
        for custom_id, result in results.items():
            self.assertEqual(result["response"]["status_code"], 200)
            self.assertEqual(result["response"]["body"]["usage"]["completion_tokens"], 8)
            self.assertIsNone(result["error"])
        # What the batch answered is what a request of its own is answered.
        alone = self.client.completions.create(model=MODEL.name, prompt="A river r3", max_tokens=8, temperature=0,
                                               extra_body={"ignore_eos": True})
        self.assertEqual(results["r3"]["response"]["body"]["choices"][0]["text"], alone.choices[0].text)
        errors = self.results(batch.error_file_id)
        self.assertIn("top_p", errors["hot"]["error"]["message"])
        self.assertIn("line 11", errors["hot"]["error"]["message"])
        self.assertIn(batch.id, [b.id for b in self.client.batches.list(limit=5)])
        self.assertEqual(self.server.metric("tandem_batch_requests_total", result="answered"), 10)
        self.assertEqual(self.server.metric("tandem_batch_requests_total", result="failed"), 1)

    def test_files(self):
        made = [self.upload(lines(i + 1)) for i in range(5)]
        self.assertEqual([f.id for f in self.client.files.list(limit=2)], [f.id for f in reversed(made)], "pages follow")
        self.assertEqual(self.client.files.retrieve(made[2].id).filename, "night.jsonl")
        self.assertEqual(self.client.files.content(made[2].id).text, lines(3))
        self.assertTrue(self.client.files.delete(made[2].id).deleted)
        with self.assertRaises(openai.NotFoundError):
            self.client.files.retrieve(made[2].id)
        with self.assertRaises(openai.BadRequestError):
            self.client.files.create(file=("a", b"x"), purpose="fine-tune")

    def test_a_large_file_goes_there_and_back(self):
        text = "x" * 99 + "\n"
        large = self.upload(text * 400_000)
        self.assertEqual(large.bytes, 40_000_000)
        self.assertEqual(self.client.files.content(large.id).content, (text * 400_000).encode())

    def test_an_input_that_is_none(self):
        batch = self.await_end(self.create(line("a") + "nothing\n" + line("a")).id)
        self.assertEqual(batch.status, "failed")
        self.assertEqual([(e.line, e.code) for e in batch.errors.data],
                         [(2, "invalid_line"), (3, "duplicate_custom_id")])

    def test_cancel(self):
        batch = self.create(lines(200, tokens=64))
        self.assertTrue(serving.wait_until(lambda: self.client.batches.retrieve(batch.id).request_counts.completed > 0, 60))
        self.assertEqual(self.client.batches.cancel(batch.id).status, "cancelling")
        batch = self.await_end(batch.id)
        self.assertEqual(batch.status, "cancelled")
        answered, left = self.results(batch.output_file_id), self.results(batch.error_file_id)
        self.assertEqual(len(answered) + len(left), 200)
        self.assertFalse(set(answered) & set(left))
        with self.assertRaises(openai.ConflictError):
            self.client.batches.cancel(batch.id)

    def post(self, path):
        request = urllib.request.Request(self.server.http + path, method="POST")
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def test_pause_and_resume(self):
        batch = self.create(lines(600, tokens=48))
        self.assertTrue(serving.wait_until(lambda: self.client.batches.retrieve(batch.id).request_counts.completed > 0, 60))
        self.assertTrue(self.post(f"/v1/batches/{batch.id}/pause")["tandem"]["paused"])
        self.assertTrue(serving.wait_until(
            lambda: not self.client.batches.retrieve(batch.id).model_extra["tandem"]["running"], 60))
        done = self.client.batches.retrieve(batch.id).request_counts.completed
        self.assertLess(done, 600)
        time.sleep(1)
        self.assertEqual(self.client.batches.retrieve(batch.id).request_counts.completed, done)
        self.post(f"/v1/batches/{batch.id}/resume")
        self.assertEqual(len(self.results(self.await_end(batch.id).output_file_id)), 600)


class KilledTest(Served):
    def moved(self, batch_id, before):
        batch = self.client.batches.retrieve(batch_id)
        return batch.status in ENDED or batch.request_counts.completed > before

    def test_killed_servers_answer_each_request_once(self):
        batch = self.create(lines(300, tokens=48))
        kills = 0
        for _ in range(6):
            before = self.client.batches.retrieve(batch.id).request_counts.completed
            self.assertTrue(serving.wait_until(lambda: self.moved(batch.id, before), 60))
            if self.client.batches.retrieve(batch.id).status in ENDED:
                break
            self.server.process.kill()
            with self.server.process:
                self.server.process.wait(timeout=60)
            self.client.close()
            kills += 1
            self.start()
        self.assertGreater(kills, 1)
        batch = self.await_end(batch.id)
        self.assertEqual(batch.status, "completed")
        results = self.results(batch.output_file_id)
        self.assertEqual(set(results), {f"r{i}" for i in range(300)})
        # The same answers as of a server that nobody disturbs.
        calm = self.results(self.await_end(self.create(lines(300, tokens=48)).id).output_file_id)
        for custom_id, result in calm.items():
            self.assertEqual(result["response"]["body"]["choices"], results[custom_id]["response"]["body"]["choices"])


class GrpcClientTest(Served):
    def setUp(self):
        super().setUp()
        self.channel = grpc.insecure_channel(self.server.grpc)
        self.stub = batch_pb2_grpc.BatchStub(self.channel)

    def tearDown(self):
        self.channel.close()
        super().tearDown()

    def messages(self, text):
        yield batch_pb2.CreateBatchRequest(batch=batch_pb2.NewBatch(endpoint="/v1/completions"))
        for at in range(0, len(text), 1000):
            yield batch_pb2.CreateBatchRequest(lines=text[at:at + 1000].encode())
        yield batch_pb2.CreateBatchRequest(complete=True)

    def test_from_lines_to_results(self):
        batch = self.stub.CreateBatch(self.messages(lines(30, tokens=16)))
        followed = []
        reader = threading.Thread(target=lambda: followed.extend(
            text for part in self.stub.ReadResults(batch_pb2.ReadResultsRequest(id=batch.id, follow=True))
            for text in part.lines))
        reader.start()
        seen = list(self.stub.WatchBatch(batch_pb2.WatchBatchRequest(id=batch.id, interval_ms=100)))
        reader.join()
        self.assertEqual(seen[-1].status, batch_pb2.BATCH_STATUS_COMPLETED)
        self.assertEqual((seen[-1].requests, seen[-1].done, seen[-1].failed), (30, 30, 0))
        self.assertEqual({json.loads(text)["custom_id"] for text in followed}, {f"r{i}" for i in range(30)})
        rest = [text for part in self.stub.ReadResults(batch_pb2.ReadResultsRequest(id=batch.id, first=25))
                for text in part.lines]
        self.assertEqual(rest, followed[25:])
        # It is the batch that OpenAI's client sees.
        self.assertEqual(self.client.batches.retrieve(batch.id).output_file_id, seen[-1].output_file_id)
        self.stub.DeleteBatch(batch_pb2.DeleteBatchRequest(id=batch.id))
        with self.assertRaises(grpc.RpcError) as caught:
            self.stub.GetBatch(batch_pb2.GetBatchRequest(id=batch.id))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_all_batch_work_pauses(self):
        self.stub.PauseAllBatches(batch_pb2.PauseAllBatchesRequest())
        batch = self.stub.CreateBatch(self.messages(lines(3)))
        time.sleep(1)
        info = self.stub.GetBatch(batch_pb2.GetBatchRequest(id=batch.id))
        self.assertFalse(info.running)
        self.assertIn("paused", info.problem)
        self.stub.ResumeAllBatches(batch_pb2.ResumeAllBatchesRequest())
        self.assertEqual(self.await_end(batch.id).status, "completed")


class WithoutAFolderTest(unittest.TestCase):
    def test_it_says_so(self):
        with serving.Server(MODEL, *FLAGS) as server:
            with self.assertRaises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(server.http + "/v1/batches")
            self.assertEqual(caught.exception.code, 501)
            self.assertIn("--batch-dir", caught.exception.read().decode())


if __name__ == "__main__":
    unittest.main(verbosity=2)
