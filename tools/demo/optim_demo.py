"""Optimizer of the demo training: Muon for hidden matrices, Adam for everything else."""

import torch


def orthogonalize(matrices, steps=4):
    """Newton-Schulz iteration on a batch [n, rows, cols] with rows <= cols: singular values near 1."""
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        a = x @ x.mT
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445)
    return x


class Muon:
    """Momentum, then orthogonalised updates; matrices of one shape are handled as one batch."""

    def __init__(self, views, momentum=0.95, decay=0.05):
        """`views`: list of (parameter, function from its tensor to [n, rows, cols])."""
        self.momentum, self.decay = momentum, decay
        self.views = views
        self.buffers = [torch.zeros_like(p) for p, _ in views]

    @torch.no_grad()
    def step(self, rate, part=0, parts=1):
        """Updates every `parts`-th parameter; several processes can share the work."""
        groups = {}
        for (param, view), buffer in list(zip(self.views, self.buffers))[part::parts]:
            buffer.lerp_(param.grad, 1 - self.momentum)
            update = view(torch.lerp(param.grad, buffer, self.momentum))
            target = view(param.data)
            flip = update.shape[1] > update.shape[2]
            update = update.mT if flip else update
            groups.setdefault(update.shape[1:], []).append((target, update, flip))
        for members in groups.values():
            done = orthogonalize(torch.cat([u for _, u, _ in members]))
            for (target, update, flip), delta in zip(members, done.split([len(u) for _, u, _ in members])):
                delta = delta.mT if flip else delta
                scale = max(1.0, delta.shape[1] / delta.shape[2]) ** 0.5
                target.mul_(1 - rate * self.decay).add_(delta, alpha=-rate * scale)


def split_parameters(model, inner):
    """(Muon views, Adam groups): experts' gate and up parts are separate matrices of `inner` rows."""
    views, adam = [], []
    for name, p in model.named_parameters():
        if name.endswith("gate_up_proj"):
            views.append((p, lambda t: t.view(-1, inner, t.shape[-1])))
        elif name.endswith("experts.down_proj"):
            views.append((p, lambda t: t))
        elif p.ndim == 2 and not any(key in name for key in ("embed_tokens", "lm_head", "mlp.gate.weight")):
            views.append((p, lambda t: t[None]))
        else:
            rate = 0.01 if "embed_tokens" in name else 0.004 if "lm_head" in name else 0.003
            adam.append({"params": [p], "lr": rate, "base": rate})
    return views, adam
