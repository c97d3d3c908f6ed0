"""Finds prompts whose greedy continuation BF16 arithmetic cannot change.

A test that asks for the same greedy tokens is fair only where the reference's own choice is clear.
Two choices can flip under rounding: the token (logits) and the experts (router scores). So, at
every step, the two best logits lie more than GAP of the logit range apart, and in every layer and
at every token of the sequence the last chosen expert leads the first rejected one by MARGIN.
"""

import torch

from reference import logits_of

BOUND = 0.02      # allowed |delta logit| as a fraction of the logit range
GAP = 2 * BOUND   # so that two logits, each off by BOUND, keep their order
MARGIN = 0.004    # sigmoid score; BF16 rounding moves scores by about 0.001
STEPS = 32
DISTINCT = 10     # a continuation has at least so many different tokens


def gap(logits):
    """Distance of the two best logits over the range of all, [rows]."""
    best = logits.topk(2, -1)[0]
    return (best[..., 0] - best[..., 1]) / (logits.amax(-1) - logits.amin(-1))


@torch.no_grad()
def decided_prompt(model, watch, length, generator):
    """Random ids; a token at which some router is undecided is drawn again."""
    ids = torch.randint(model.config.vocab_size, (1, length), generator=generator)
    while length > 0:
        model(ids, use_cache=False)
        undecided = (watch.take() < MARGIN).nonzero()
        if len(undecided) == 0:
            break
        at = undecided[0].item()
        ids[0, at] = torch.randint(model.config.vocab_size, (1,), generator=generator)
    return ids


@torch.no_grad()
def greedy_candidates(model, watch, prefix):
    """Tries every token of the vocabulary after `prefix`; yields (last token, greedy ids) of those
    that stay decided for all STEPS."""
    vocab = model.config.vocab_size
    cache = None
    if prefix.shape[1]:
        cache = model(prefix, use_cache=True).past_key_values
        cache.batch_repeat_interleave(vocab)
        watch.take()
    last = torch.arange(vocab)
    step, taken = last[:, None], []
    for _ in range(STEPS):
        out = model(step, past_key_values=cache, use_cache=True)
        cache, logits = out.past_key_values, out.logits[:, -1]
        alive = ((watch.take() >= MARGIN) & (gap(logits) > GAP)).nonzero()[:, 0]
        if len(alive) == 0:
            return []
        cache.batch_select_indices(alive)
        step = logits[alive].argmax(-1, keepdim=True)
        last, taken = last[alive], [t[alive] for t in taken] + [step]
    return list(zip(last.tolist(), torch.cat(taken, 1).tolist()))


def rounding(reference, rounded, ids):
    """What BF16 activations alone change: max |delta logit| / range over all tokens of `ids`."""
    want, got = (logits_of(model, ids) for model in (reference, rounded))
    return ((got - want).abs().amax(-1) / (want.amax(-1) - want.amin(-1))).max().item()


def find(model, rounded, watch, length, seed, tries=100):
    """(prompt ids, greedy ids). `rounded`: the model with round_activations(), which must agree to
    half the bound: what is left of it is ours to spend."""
    generator = torch.Generator().manual_seed(seed)
    for attempt in range(tries if length > 1 else 1):
        prefix = decided_prompt(model, watch, length - 1, generator)
        for last, greedy in greedy_candidates(model, watch, prefix):
            prompt, distinct = prefix[0].tolist() + [last], len(set(greedy))
            error = rounding(model, rounded, prompt + greedy[:-1])
            watch.take()
            if distinct >= DISTINCT and error < BOUND / 2:
                print(f"  {length} tokens: prefix {attempt + 1}, {distinct} distinct of {STEPS}, "
                      f"BF16 activations alone move a logit by {100 * error:.2f} % of the range")
                return prompt, greedy
    raise SystemExit(f"no decided prompt of {length} tokens: change the checkpoint's seed")
