"""Adafactor on convolutions as matrices, against the paper's algorithm written out by hand."""

import torch
from torch import Tensor, nn

from diffpref.train.optim import make_updates, optimizer_tensors

LR, DECAY = 1e-2, 0.03
SETTINGS = {"lr": LR, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": DECAY}


def by_hand(start: Tensor, grads: list[Tensor]) -> Tensor:
    """Shazeer & Stern, 1804.04235, algorithms 4 and 5, without momentum or relative steps.

    beta2 of step t is 1 - t^-0.8; squares get 1e-30; updates are scaled down to a root mean square
    of 1; decay is the learning rate's share of the weight.
    """
    rows, columns = start.shape[0], start[0].numel()
    w = [[float(x) for x in row] for row in start.reshape(rows, columns).double()]
    r, c = [0.0] * rows, [0.0] * columns
    for t, grad in enumerate(grads, 1):
        g = [[float(x) for x in row] for row in grad.reshape(rows, columns).double()]
        beta = 1 - t**-0.8
        square = [[x * x + 1e-30 for x in row] for row in g]
        r = [beta * a + (1 - beta) * sum(row) / columns for a, row in zip(r, square, strict=True)]
        means = [sum(row[j] for row in square) / rows for j in range(columns)]
        c = [beta * a + (1 - beta) * m for a, m in zip(c, means, strict=True)]
        total = sum(r) / rows
        u = [[g[i][j] / (r[i] * c[j] / total) ** 0.5 for j in range(columns)] for i in range(rows)]
        rms = (sum(x * x for row in u for x in row) / (rows * columns)) ** 0.5
        scale = LR / max(1.0, rms)
        w = [
            [x * (1 - LR * DECAY) - scale * y for x, y in zip(*pair, strict=True)]
            for pair in zip(w, u, strict=True)
        ]
    return torch.tensor(w, dtype=torch.float64).view(start.shape)


def test_a_convolution_is_factored_as_the_matrix_it_is() -> None:
    rng = torch.Generator().manual_seed(0)
    start = {"conv": (6, 4, 3, 3), "linear": (5, 7)}
    named = {key: nn.Parameter(torch.randn(shape, generator=rng)) for key, shape in start.items()}
    before = {key: value.detach().clone() for key, value in named.items()}
    grads = {
        key: [torch.randn(value.shape, generator=rng) * (1 + step) for step in range(4)]
        for key, value in named.items()
    }
    updates = make_updates("adafactor_flat", named, SETTINGS)
    for step in range(4):
        for key, value in named.items():
            value.grad = grads[key][step].clone()
        updates.step()
    for key, value in named.items():
        assert torch.allclose(
            value.double(), by_hand(before[key], grads[key]), rtol=1e-5, atol=1e-6
        )
    kept = optimizer_tensors(updates, named)
    assert kept["conv/exp_avg_sq_row"].shape == (6,)
    assert kept["conv/exp_avg_sq_col"].shape == (36,)


def test_it_is_transformers_own_on_matrices_and_another_on_convolutions() -> None:
    for shape, same in (((5, 7), True), ((6, 4, 3, 3), False)):
        rng = torch.Generator().manual_seed(0)
        start, grad = torch.randn(shape, generator=rng), torch.randn(shape, generator=rng)
        found: list[Tensor] = []
        for name in ("adafactor", "adafactor_flat"):
            named = {"w": nn.Parameter(start.clone())}
            named["w"].grad = grad.clone()
            make_updates(name, named, SETTINGS).step()
            found.append(named["w"].detach())
        assert torch.equal(*found) == same


def test_updates_stay_in_place_with_channels_last() -> None:
    rng = torch.Generator().manual_seed(0)
    start, grad = torch.randn(6, 4, 3, 3, generator=rng), torch.randn(6, 4, 3, 3, generator=rng)
    found: list[Tensor] = []
    for layout in (torch.contiguous_format, torch.channels_last):
        named = {"w": nn.Parameter(start.clone().to(memory_format=layout))}
        named["w"].grad = grad.clone().to(memory_format=layout)
        make_updates("adafactor_flat", named, SETTINGS).step()
        assert named["w"].is_contiguous(memory_format=layout)
        found.append(named["w"].detach())
    assert torch.equal(*found)
    assert not torch.equal(found[0], start)
