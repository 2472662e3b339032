"""Run by test_purity.py in a process of its own: poisons what scratch must do without, and
trains with it; prints every ATen operation that was executed."""

from __future__ import annotations

import inspect
import sys
from typing import Any, NoReturn

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import scratch

READY_MADE = (
    "softmax log_softmax logsumexp logaddexp relu relu_ prelu rrelu selu elu celu gelu dropout "
    "alpha_dropout feature_dropout batch_norm layer_norm binary_cross_entropy_with_logits "
    "nll_loss kl_div threshold hardshrink native_dropout linear "
    "conv2d convolution _convolution mkldnn_convolution conv_transpose2d "
    "max_pool2d mkldnn_max_pool2d batch_norm native_batch_norm instance_norm group_norm "
    "native_layer_norm native_group_norm rms_norm _fused_rms_norm var std var_mean std_mean "
    "embedding embedding_bag unfold rnn_tanh rnn_relu gru lstm rnn_tanh_cell rnn_relu_cell "
    "gru_cell lstm_cell scaled_dot_product_attention"
).split()


def poison(owner: Any, name: str) -> None:
    def refuse(*args: Any, **options: Any) -> NoReturn:
        raise AssertionError(f"{owner.__name__}.{name} was called")

    if hasattr(owner, name):
        setattr(owner, name, refuse)


def poison_all() -> None:
    """torch.nn, autograd and torch.optim, and ready-made layers under any other name."""
    for module in (torch.nn.functional, torch._C._nn, torch.autograd, torch.nn.init):
        for name, thing in list(vars(module).items()):
            if callable(thing) and not inspect.isclass(thing) and not name.startswith("__"):
                poison(module, name)
    for name in READY_MADE:
        poison(torch, name)
        poison(torch.Tensor, name)
    for name in ("backward", "requires_grad_", "register_hook", "retain_grad"):
        poison(torch.Tensor, name)
    for cls in (torch.nn.Module, torch.nn.Parameter, torch.optim.Optimizer):
        poison(cls, "__init__")
        poison(cls, "__new__")
    poison(torch.autograd.Function, "apply")


class Recorder(TorchDispatchMode):
    """Notes the name of every ATen operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.operations.add(function.overloadpacket.__name__)
        assert not any(isinstance(a, torch.Tensor) and a.requires_grad for a in args)
        return function(*args, **(kwargs or {}))


def layered(labels: torch.Tensor) -> list[Any]:
    """Networks on images and on indices, with a loss, targets and inputs."""
    generator = torch.Generator().manual_seed(0)
    images = torch.empty(40, 2, 7, 6).normal_(generator=generator)
    words = torch.empty(40, 5).uniform_(0, 9, generator=generator).long()
    convolutional = scratch.Sequential(
        scratch.Conv2d(2, 4, (3, 2), padding=1, generator=generator), scratch.BatchNorm2d(4),
        scratch.ReLU(), scratch.Conv2d(4, 4, 3, stride=2, groups=2, bias=False),
        scratch.Dropout(0.2), scratch.MaxPool2d(2, padding=1, ceil_mode=True), scratch.Flatten(),
        scratch.BatchNorm1d(16, momentum=None), scratch.LayerNorm(16), scratch.Linear(16, 2),
    )  # fmt: skip
    embedded = scratch.Sequential(
        scratch.Embedding(9, 4, padding_idx=0, generator=generator), scratch.RMSNorm(4),
        scratch.Flatten(), scratch.Linear(20, 2),
    )  # fmt: skip
    resized = scratch.Sequential(
        scratch.ConvTranspose2d(2, 4, 3, stride=2, output_padding=1, generator=generator),
        scratch.GroupNorm(2, 4), scratch.PReLU(4), scratch.AvgPool2d(3, 2, 1, ceil_mode=True),
        scratch.Upsample(2), scratch.AvgPool2d(2), scratch.Flatten(), scratch.Linear(288, 2),
    )  # fmt: skip
    signals = scratch.Sequential(
        scratch.Embedding(9, 4, generator=generator), scratch.Conv1d(5, 3, 2, generator=generator),
        scratch.GELU(), scratch.Residual(scratch.SiLU(), scratch.GELU("tanh")), scratch.Softplus(),
        scratch.Flatten(), scratch.Linear(9, 2), scratch.LogSoftmax(),
    )  # fmt: skip
    recurrent = scratch.Sequential(
        scratch.Embedding(9, 4, generator=generator), scratch.LSTM(4, 3, num_layers=2),
        scratch.GRU(3, 4), scratch.RNN(4, 3, nonlinearity="relu"), scratch.Flatten(),
        scratch.Linear(15, 2),
    )  # fmt: skip
    attending = scratch.Sequential(
        scratch.Embedding(9, 4, generator=generator), scratch.RoPE(),
        scratch.RoPE(interleaved=True),
        scratch.Residual(scratch.MultiheadAttention(4, 2, causal=True, rotary=True)),
        scratch.SwiGLU(4, 6), scratch.GeGLU(4, 6, bias=True), scratch.Flatten(),
        scratch.Linear(20, 2),
    )  # fmt: skip
    loss = scratch.CrossEntropyLoss()
    weighted = scratch.CrossEntropyLoss(torch.ones(2), ignore_index=1, label_smoothing=0.1)
    return [
        (convolutional, loss, labels, images), (embedded, loss, labels, words),
        (resized, weighted, labels, images), (signals, scratch.NLLLoss(), labels, words),
        (recurrent, loss, labels, words), (attending, loss, labels, words),
    ]  # fmt: skip


def step_cells() -> None:
    """What no Sequential holds: cells, which pass on their states."""
    x, h, c = torch.ones(3, 2), torch.ones(3, 4), torch.ones(3, 4)
    for cell in (scratch.RNNCell(2, 4), scratch.RNNCell(2, 4, nonlinearity="relu"),
                 scratch.GRUCell(2, 4)):  # fmt: skip
        cell.backward(cell(x, h))
    lstm = scratch.LSTMCell(2, 4)
    lstm.backward(*lstm(x, h, c))
    attention = scratch.ScaledDotProductAttention(is_causal=True)
    attention.backward(attention(h[None], c[None], x[None], torch.ones(3, 3, dtype=torch.bool)))


def train_everything() -> None:
    """Every network, activation, loss and optimizer option, single and stacked."""
    x, labels = scratch.data.disk(40, seed=0)
    one_hot, label = scratch.data.one_hot(labels), labels.float().unsqueeze(-1)
    models, fit = scratch.models, scratch.train.fit
    generators = [torch.Generator().manual_seed(seed) for seed in range(2)]
    plans: list[tuple[Any, Any, Any]] = [
        (models.model_1(), scratch.MSELoss("sum"), one_hot),
        (models.model_1("listing"), scratch.MSELoss(), one_hot),
        (models.model_2(), scratch.BCELoss(), one_hot),
        (models.model_2(), scratch.BCELoss(eps=0.01), one_hot),
        (models.model_a("tanh", 2, dropout=0.2), scratch.CrossEntropyLoss(), labels),
        (models.model_a("tanh", 2), scratch.CrossEntropyLoss(), one_hot),
        (models.model_a("relu"), scratch.BCEWithLogitsLoss(), label),
        (scratch.runs.stack([models.model_2(generator=g) for g in generators]),
         scratch.BCELoss(), one_hot.expand(2, -1, -1)),
        *((models.model_a(name), scratch.L1Loss(), label) for name in models.ACTIVATIONS),
        (scratch.Sequential(scratch.Linear(2, 2, bias=False), scratch.LogSoftmax()),
         scratch.MSELoss("none"), one_hot),
        (scratch.Sequential(scratch.Linear(2, 2)), scratch.HuberLoss(), one_hot),
        *((scratch.Sequential(scratch.Linear(2, 2), scratch.LogSoftmax()),
           scratch.KLDivLoss("batchmean", log_target), one_hot) for log_target in (False, True)),
    ]  # fmt: skip
    trainings = [(*plan, x) for plan in plans] + layered(labels)
    optimizers: list[Any] = [
        lambda p: scratch.SGD(p, 0.1, momentum=0.9, dampening=0.1, weight_decay=0.1),
        lambda p: scratch.SGD(p, 0.1, momentum=0.9, nesterov=True, maximize=True),
        lambda p: scratch.Adam(p, amsgrad=True, weight_decay=0.1),
        lambda p: scratch.AdamW(p),
        lambda p: scratch.RMSprop(p, momentum=0.9, centered=True, weight_decay=0.1),
        lambda p: scratch.RMSprop(p),
        lambda p: scratch.Adagrad(p, lr_decay=0.1, weight_decay=0.1),
    ]
    for model, criterion, target, x in trainings:
        for make in optimizers:
            runs = model.runs
            seed: Any = 0 if runs is None else list(range(runs))
            fit(model, criterion, make(model.param()), x, target,
                epochs=2, batch_size=15, seed=seed)  # fmt: skip
            scratch.train.accuracy(model, x, labels)
            if runs is None:
                model.eval().backward(model(x))  # by the running statistics
            model.load_state_dict(model.state_dict())


if __name__ == "__main__":
    poison_all()
    with Recorder() as recorder:
        train_everything()
        step_cells()
    sys.stdout.write("\n".join(sorted(recorder.operations)))
