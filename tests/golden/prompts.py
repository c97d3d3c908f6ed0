"""Finds prompts whose greedy continuation BF16 arithmetic cannot change.

A test that asks for the same greedy tokens is fair only where the reference's own choice is clear.
Two choices can flip under rounding: the token (logits) and the experts (router scores).
"""

from dataclasses import dataclass

import torch

from reference import logits_of

STEPS = 32

@dataclass
class Rules:
    """Shares of the logit range, and sigmoid scores. BF16 rounding moves scores by about 0.001 in
    the random models and 0.0003 in the demo model."""
    gap: float            # between the two best logits at every greedy step
    rounding: float       # most that BF16 activations alone may move a logit
    prompt_margin: float  # between the last chosen and the first rejected expert: in the prompt
                          # (0: the prompt is taken as it is, and only what follows is judged)
    margin: float         # and where tokens are generated
    distinct: int         # tokens of a continuation


def gap(logits):
    """Distance of the two best logits over the range of all, [rows]."""
    best = logits.topk(2, -1)[0]
    return (best[..., 0] - best[..., 1]) / (logits.amax(-1) - logits.amin(-1))


def rounding(reference, rounded, ids):
    """What BF16 activations alone change after each token: max |delta logit| / range, [tokens]."""
    want, got = (logits_of(model, ids) for model in (reference, rounded))
    return (got - want).abs().amax(-1) / (want.amax(-1) - want.amin(-1))


@torch.no_grad()
def random_prefixes(model, watch, length, rules, generator):
    """Random ids without end; a token at which some router is undecided is drawn again."""
    vocab = model.config.vocab_size
    while True:
        ids = torch.randint(vocab, (1, length), generator=generator)
        while length > 0:
            model(ids, use_cache=False)
            undecided = (watch.take() < rules.prompt_margin).nonzero()
            if len(undecided) == 0:
                break
            ids[0, undecided[0].item()] = torch.randint(vocab, (1,), generator=generator)
        yield ids


@torch.no_grad()
def greedy_candidates(model, watch, prefix, last, rules):
    """Tries each token of `last` after `prefix`; (last token, greedy ids) of those that stay
    decided for all STEPS."""
    cache = None
    if prefix.shape[1]:
        cache = model(prefix, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(last))
        watch.forget()
    step, taken = last[:, None], []
    for _ in range(STEPS):
        out = model(step, past_key_values=cache, use_cache=True)
        cache, logits = out.past_key_values, out.logits[:, -1]
        alive = ((watch.take() >= rules.margin) & (gap(logits) > rules.gap)).nonzero()[:, 0]
        if len(alive) == 0:
            return []
        cache.batch_select_indices(alive)
        step = logits[alive].argmax(-1, keepdim=True)
        last, taken = last[alive], [t[alive] for t in taken] + [step]
    return list(zip(last.tolist(), torch.cat(taken, 1).tolist()))


def find(model, rounded, watch, prefixes, last_tokens, rules, tries=100):
    """Yields (prompt ids, greedy ids, rounding per token) that keep to the rules. `prefixes` yields
    prompts but for their last token, `last_tokens(prefix)` the tokens to try there. `rounded`: the
    model with round_activations()."""
    for _, prefix in zip(range(tries), prefixes):
        for last, greedy in greedy_candidates(model, watch, prefix, last_tokens(prefix), rules):
            prompt, distinct = prefix[0].tolist() + [last], len(set(greedy))
            if distinct < rules.distinct:
                continue
            error = rounding(model, rounded, prompt + greedy[:-1])
            watch.forget()
            checked = error if rules.prompt_margin else error[len(prompt) - 1:]
            if checked.max() < rules.rounding:
                yield prompt, greedy, error
        if prefix.shape[1] == 0:
            break
