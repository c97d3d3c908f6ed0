"""Token streams and batches for training: text windows and whole conversations in K2.6's format."""

import json
import pathlib
import random

import torch

DOMAINS = ("prose", "dictionary", "manual", "german")
# Of 12 rows so many hold text of each domain or conversations; the second phase narrows to these.
ROWS = {"chat": {"prose": 2, "dictionary": 2, "manual": 1, "german": 2, "chat": 5},
        "chat_narrow": {"prose": 1, "dictionary": 1, "manual": 1, "german": 1, "chat": 8}}
PROMPT_WEIGHT = 0.1


class Renderer:
    """Renders conversations to (ids, loss weights); special tokens by name."""

    def __init__(self, encoding):
        self.encode = lambda text: encoding.encode(text, disallowed_special=())
        self.special = encoding.encode_single_token

    def head(self, role):
        tag = {"user": "<|im_user|>", "assistant": "<|im_assistant|>"}.get(role, "<|im_system|>")
        return [self.special(tag), *self.encode(role), self.special("<|im_middle|>")]

    def conversation(self, messages, thinking):
        """The last answer carries its reasoning when thinking; earlier answers have an empty one."""
        ids, weights = [], []

        def add(new, weight):
            ids.extend(new)
            weights.extend([weight] * len(new))

        for at, message in enumerate(messages):
            add(self.head(message["role"]), 0.0)
            if message["role"] == "assistant":
                last = thinking and at == len(messages) - 1
                add([self.special("<think>")], 0.0)
                if last:
                    add(self.encode(message["reasoning_content"]), 1.0)
                add([self.special("</think>")], 1.0 if last else 0.0)
                add([*self.encode(message["content"]), self.special("<|im_end|>")], 1.0)
            else:
                add(self.encode(message["content"]), PROMPT_WEIGHT)
                add([self.special("<|im_end|>")], PROMPT_WEIGHT)
        return ids, weights

    def prompt(self, messages, thinking):
        ids = []
        for message in messages:
            ids += self.head(message["role"])
            if message["role"] == "assistant":
                ids += [self.special("<think>"), self.special("</think>")]
            ids += [*self.encode(message["content"]), self.special("<|im_end|>")]
        ids += [*self.head("assistant"), self.special("<think>")]
        return ids if thinking else [*ids, self.special("</think>")]


def read_lines(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def split(items, share=0.02, seed=7):
    """(training part, held-out part), the same at every call."""
    items = list(items)
    random.Random(seed).shuffle(items)
    cut = max(1, int(len(items) * share))
    return items[cut:], items[:cut]


class Data:
    def __init__(self, corpus, encoding, seed, chats="chat"):
        self.rng = random.Random(seed)
        self.renderer = Renderer(encoding)
        self.end = encoding.encode_single_token("[EOS]")
        self.streams, self.held_out = {}, {}
        for name in DOMAINS:
            train, self.held_out[name] = split(d["text"] for d in read_lines(pathlib.Path(corpus) / f"{name}.jsonl"))
            ids = []
            for text in train:
                ids += [*self.renderer.encode(text), self.end]
            self.streams[name] = torch.tensor(ids)
        self.rows = ROWS[chats]
        train, self.held_out["chat"] = split(read_lines(pathlib.Path(corpus) / f"{chats}.jsonl"))
        self.chats = [self.renderer.conversation(c["messages"], c["thinking"]) for c in train]
        self.queue = []

    def summary(self):
        sizes = {name: len(s) for name, s in self.streams.items()}
        return sizes | {"chat": sum(len(ids) for ids, _ in self.chats)}

    def text_row(self, name, length):
        stream = self.streams[name]
        at = self.rng.randrange(len(stream) - length)
        return stream[at:at + length], torch.ones(length)

    def chat_row(self, length):
        """Conversations one after another from the start of the row, the last one cut off."""
        ids, weights = [], []
        while len(ids) < length:
            if not self.queue:
                self.queue = list(range(len(self.chats)))
                self.rng.shuffle(self.queue)
            new_ids, new_weights = self.chats[self.queue.pop()]
            ids += [*new_ids, self.end]
            weights += [*new_weights, 0.0]
        return torch.tensor(ids[:length]), torch.tensor(weights[:length])

    def batch(self, tokens, length):
        """Rows of `length` tokens, about `tokens` in sum, in the proportions of ROWS."""
        names = [name for name, rows in self.rows.items() for _ in range(rows)]
        count = tokens // length
        if count < len(names):
            names = self.rng.sample(names, count)
        rows = [self.chat_row(length) if n == "chat" else self.text_row(n, length) for n in names]
        return torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])
