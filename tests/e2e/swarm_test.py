#!/usr/bin/env python3
"""A swarm: an orchestrator's sub-agents that share a long prefix, against as many unrelated prompts.

The prefix is computed once and its pages are held once; budgets, failing children and cancelled subtrees
hurt nobody else. Prints what it measured.

  tests/e2e/swarm_test.py [--agents 300] [--prefix-tokens 8000] [--unrelated 300]
"""
import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time

from http_client import BINARY, Broken, fetch, metric, serving

WORDS = ("river stone lamp wind table green seven house paper night bread cloud garden music window train letter "
         "forest engine silver winter market bridge island copper shadow").split()
TOOL = {"type": "function", "function": {
    "name": "assign_task", "description": "Starts an agent on a task.",
    "parameters": {"type": "object", "properties": {"agent": {"type": "string"}, "prompt": {"type": "string"}},
                   "required": ["agent", "prompt"]}}}


def make_model(folder):
    """A small model with a long context; with the published vocabulary, where it is at hand."""
    command = [BINARY, "synth", folder, "--shape", "tiny", "--layers", "2", "--heads", "2", "--kv-lora-rank", "32",
               "--max-positions", "32768", "--seed", "5"]
    if kimi := os.environ.get("TANDEM_KIMI_DATA"):
        command += ["--tokenizer", kimi, "--vocab", "163840"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def words(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def chat(system, task):
    return {"model": "m", "temperature": 0, "max_tokens": 16, "thinking": {"type": "disabled"}, "tools": [TOOL],
            "tool_choice": "none",
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": task}]}


def check(condition, message):
    if not condition:
        raise Broken(message)


class Swarm:
    def __init__(self, port, args):
        self.port, self.args = port, args

    async def ask(self, body, task="", agent="", parent="", **headers):
        if task:
            headers["Tandem-Task"] = task
        if agent:
            headers["Tandem-Agent"] = agent
        if parent:
            headers["Tandem-Parent"] = parent
        return await fetch(self.port, "/v1/chat/completions", body, headers)

    async def all_at_once(self, bodies, task=""):
        """Seconds, usages, tokens computed and the most pages in use while all run at once."""
        computed = await metric(self.port, "tandem_engine_prompt_tokens_total", **{"from": "computed"})
        most_pages, done = 0, False

        async def watch():
            nonlocal most_pages
            while not done:
                most_pages = max(most_pages, await metric(self.port, "tandem_kv_pages", state="used"))
                await asyncio.sleep(0.2)

        watcher = asyncio.create_task(watch())
        start = time.monotonic()
        answers = await asyncio.gather(*(
            self.ask(body, task, f"child-{i}" if task else "", "root" if task else "") for i, body in enumerate(bodies)))
        seconds = time.monotonic() - start
        done = True
        await watcher
        for status, _, answer in answers:
            check(status == 200, f"status {status}: {answer}")
        usages = [answer["usage"] for _, _, answer in answers]
        return seconds, usages, await metric(self.port, "tandem_engine_prompt_tokens_total", **{"from": "computed"}) - computed, most_pages

    async def shared(self):
        rng = random.Random(1)
        system = words(rng, self.args.prefix_tokens)
        bodies = [chat(system, f"Task {i}: {words(rng, 12)}") for i in range(self.args.agents)]
        seconds, usages, computed, pages = await self.all_at_once(bodies, "swarm")
        prompt = sum(usage["prompt_tokens"] for usage in usages)
        cached = sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages)
        each = prompt / len(usages)
        uncached = [u["prompt_tokens"] - u["prompt_tokens_details"]["cached_tokens"] for u in usages]
        print(f"{len(usages)} sub-agents, one prefix, {each:.0f} tokens each: {seconds:.1f} s, {computed:.0f} prompt "
              f"tokens computed ({cached / prompt:.1%} from the cache), at most {pages:.0f} pages in use")
        long_ones = sum(tokens > 128 for tokens in uncached)
        check(long_ones <= 1, f"{long_ones} sub-agents computed the prefix, expected one")
        check(computed <= each + 128 * len(usages), "more was computed than one prefix and every task")
        running = 64
        check(pages <= each / 64 + 3 * running, f"{pages} pages for one prefix of {each / 64:.0f}")
        return each

    async def unrelated(self, each):
        rng = random.Random(2)
        bodies = [chat(words(rng, self.args.prefix_tokens), "Go.") for _ in range(self.args.unrelated)]
        seconds, usages, computed, pages = await self.all_at_once(bodies)
        print(f"{len(usages)} unrelated prompts of about as many tokens: {seconds:.1f} s, {computed:.0f} prompt tokens "
              f"computed, at most {pages:.0f} pages in use")
        check(computed > 0.9 * each * len(usages), "unrelated prompts shared something")

    async def budgets(self):
        body = chat("be brief", "go")
        statuses = [(await self.ask(body, "small", f"a{i}", **{"Tandem-Budget": "agents=3, steps=5"}))[0] for i in range(3)]
        check(statuses == [200] * 3, f"{statuses}")
        status, headers, answer = await self.ask(body, "small", "a3")
        check(status == 429 and "0 new agents, 2 steps" in answer["error"]["message"], f"{status} {answer}")
        for _ in range(2):
            check((await self.ask(body, "small", "a0"))[0] == 200, "a known agent goes on")
        check((await self.ask(body, "small", "a0"))[0] == 429, "the sixth step")

    async def failing_child(self):
        """One child is malformed, one leaves, one is cancelled with its own children: siblings finish."""
        good = [asyncio.create_task(self.ask(dict(chat("be brief", f"{i}"), max_tokens=200), "family", f"good-{i}", "root"))
                for i in range(4)]
        bad = dict(chat("x", "y"), temperature="hot")
        check((await self.ask(bad, "family", "bad", "root"))[0] == 400, "a bad child is refused")
        long = dict(chat("be long", "z"), max_tokens=20000, ignore_eos=True)
        victims = [asyncio.create_task(self.ask(long, "family", "victim", "root")),
                   asyncio.create_task(self.ask(long, "family", "grandchild", "victim"))]
        await asyncio.sleep(0.5)
        status, _, answer = await fetch(self.port, "/api/task_cancel/family", {"agent": "victim"})
        check(status == 200 and answer["cancelled_requests"] == 2, f"{status} {answer}")
        for victim in victims:
            check((await victim)[0] >= 400, "a cancelled request ends with an error")
        for sibling in good:
            check((await sibling)[0] == 200, "a sibling was hurt")
        status, _, answer = await self.ask(long, "family", "grandchild")
        check(status == 409, f"a cancelled agent takes nothing more: {status} {answer}")

    async def run(self):
        each = await self.shared()
        if self.args.unrelated:
            await self.unrelated(each)
        await self.budgets()
        await self.failing_child()
        check(await metric(self.port, "tandem_kv_pages", state="used") == 0, "pages are still held")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=300)
    parser.add_argument("--prefix-tokens", type=int, default=2000)
    parser.add_argument("--unrelated", type=int, default=20)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_model(folder)
        try:
            with serving(folder, "--max-queue", "400", "--kv-tokens", "131072") as (_, port):
                asyncio.run(Swarm(port, args).run())
        except Broken as broken:
            sys.exit(f"FAILED: {broken}")


if __name__ == "__main__":
    main()
