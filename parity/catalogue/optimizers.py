"""The rows of optimizers. Of options any three are tried together: bugs want no more."""

from __future__ import annotations

from functools import partial

import torch

from parity.catalogue.entry import Entry, Variants, covering, grid, named

_SGD = (
    options
    for options in grid(
        lr=[0.1],
        momentum=[0, 0.9],
        dampening=[0, 0.5],
        nesterov=[False, True],
        weight_decay=[0, 0.1],
        maximize=[False, True],
    )
    if not options["nesterov"] or (options["momentum"] and not options["dampening"])
)


def _adam(*decays: float) -> Variants:
    choices = grid(
        lr=[0.01],
        betas=[(0.9, 0.999), (0.5, 0.9)],
        eps=[1e-8, 1e-2],
        amsgrad=[False, True],
        maximize=[False, True],
        weight_decay=list(decays),
    )
    return named(covering(choices))


_BY_MOMENTS: Variants = {
    "": {"lr": 0.01}, "betas=(0.5,0.9)": {"lr": 0.01, "betas": (0.5, 0.9)},
    "eps=0.01": {"lr": 0.01, "eps": 0.01},
    "weight_decay=0.1": {"lr": 0.01, "weight_decay": 0.1},
}  # fmt: skip
_optimizer = partial(Entry, kind="optimizer", positional=("lr",))

ROWS: tuple[Entry, ...] = (
    _optimizer(torch.optim.SGD, variants=named(covering(_SGD))),
    _optimizer(torch.optim.Adam, variants=_adam(0, 0.1)),
    _optimizer(torch.optim.AdamW, variants=_adam(0.01, 0)),
    _optimizer(
        torch.optim.RMSprop,
        variants=named(grid(lr=[0.01], alpha=[0.99, 0.5], momentum=[0, 0.9]))
        | {
            "eps=0.01": {"lr": 0.01, "eps": 0.01},
            "weight_decay=0.1": {"lr": 0.01, "weight_decay": 0.1},
            "centered": {"lr": 0.01, "centered": True},
            "centered,momentum=0.9": {"lr": 0.01, "centered": True, "momentum": 0.9},
        },
    ),
    _optimizer(
        torch.optim.Adagrad,
        variants=named(grid(lr=[0.01], weight_decay=[0, 0.1]))
        | {
            "eps=0.01": {"lr": 0.01, "eps": 0.01},
            "lr_decay=0.1": {"lr": 0.01, "lr_decay": 0.1},
            "initial_accumulator_value=0.5": {"lr": 0.01, "initial_accumulator_value": 0.5},
        },
    ),
    _optimizer(
        torch.optim.Adadelta,
        variants={
            "": {"lr": 1.0},
            "lr=0.3": {"lr": 0.3},
            "rho=0.5": {"lr": 1.0, "rho": 0.5},
            "eps=0.01": {"lr": 1.0, "eps": 0.01},
            "weight_decay=0.1": {"lr": 1.0, "weight_decay": 0.1},
        },
    ),
    _optimizer(torch.optim.Adamax, variants=_BY_MOMENTS),
    _optimizer(
        torch.optim.NAdam,
        variants=_BY_MOMENTS
        | {
            "momentum_decay=0.1": {"lr": 0.01, "momentum_decay": 0.1},
        },
    ),
    _optimizer(
        torch.optim.RAdam,
        variants=_BY_MOMENTS
        | {
            "betas=(0.9,0.99)": {"lr": 0.01, "betas": (0.9, 0.99)},
        },
    ),
)
