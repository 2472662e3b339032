"""Recurrent layers and attention as courses write them.

Right ones pass with the settings that say how they are written, a setting that is missing is named,
and what is wrong is found in any style.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.catalogue.case import Case
from parity.catalogue.table import by_name
from parity.checks.trial import Trial
from tests.subjects import recurrent_styles as own
from tests.subjects import sequences_by_loops
from tests.subjects.layers_by_loops import Array

OF_CELL = ("weight_ih", "weight_hh", "bias_ih")
OF_LAYER = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0")
FUNCTIONS = {
    nn.RNNCell: parity.functions(own.rnn_step_forward, own.rnn_step_backward, parameters=OF_CELL),
    nn.RNN: parity.functions(own.rnn_forward, own.rnn_backward, parameters=OF_LAYER),
    nn.LSTMCell: parity.functions(
        own.lstm_step_forward, own.lstm_step_backward, parameters=OF_CELL
    ),
    nn.LSTM: parity.functions(own.lstm_forward, own.lstm_backward, parameters=OF_LAYER),
}
OF_FUNCTIONS: dict[str, Any] = {"conventions": "cs231n"}
OF_LSTM: dict[str, Any] = {
    "array": "numpy", "weight": "in_out", "biases": "one", "gates": "ifog",
    "sequences": "time_first",
}  # fmt: skip
OF_PARTS: dict[str, Any] = {
    "array": "numpy", "gradients": "overwritten", "parameters": lambda layer: layer.pairs(),
}  # fmt: skip
OF_ATTENTION: dict[str, Any] = {
    "array": "numpy", "weight": "in_out", "fixed": {nn.MultiheadAttention: {"bias": False}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "settings", "least"),
    [
        (FUNCTIONS, OF_FUNCTIONS, 300),
        ({nn.LSTM: own.LSTM}, OF_LSTM, 100),
        ({nn.GRUCell: own.GRUCell}, OF_PARTS, 70),
        ({nn.MultiheadAttention: own.SelfAttention}, OF_ATTENTION, 70),
    ],
    ids=["functions with a cache", "time first, states as a pair", "a matrix for each gate",
         "a matrix for each of query, key and value"],
)  # fmt: skip
def test_a_right_layer_in_its_own_style_passes(
    layers: dict[Any, Any], settings: dict[str, Any], least: int
) -> None:
    report = parity.check(parity.Subject(layers, **settings), strict=True)
    assert report.passed, [str(one) for one in report.findings] + [e.why for e in report.errors]
    assert report.count("passed") >= least


@pytest.mark.parametrize(
    ("layers", "settings", "missing"),
    [
        ({nn.LSTM: own.LSTM}, OF_LSTM, "gates"),
        ({nn.LSTM: own.LSTM}, OF_LSTM, "sequences"),
        ({nn.LSTM: own.LSTM}, OF_LSTM, "biases"),
        ({nn.LSTM: own.LSTM}, OF_LSTM, "weight"),
    ],
)
def test_a_setting_that_is_missing_is_named(
    layers: dict[Any, Any], settings: dict[str, Any], missing: str
) -> None:
    others = {name: value for name, value in settings.items() if name != missing}
    with pytest.raises(parity.AdapterError, match="SETUP: ") as raised:
        parity.check(parity.Subject(layers, **others))
    assert f'{missing}="{settings[missing]}"' in str(raised.value)


class CellLeftOut(own.LSTM):
    """Has the gradient of the forget gate by a cell of zeros."""

    def backward(self, dy: Array) -> Any:
        caches = self.caches
        cut = [(*cache[:2], 0 * cache[2], *cache[3:]) for cache in caches]
        self.caches = [caches[0], *cut[1:]]
        return super().backward(dy)


class HalfOfOne(own.GRUCell):
    """Has half of a gradient."""

    def backward(self, dy: Array) -> tuple[Array, Array]:
        found = super().backward(dy)
        self.dWnx[...] = self.dWnx * 0.5
        return found


def scale_left_out(layer: own.SelfAttention) -> own.SelfAttention:
    root = (layer.Wq.shape[0] / layer.heads) ** 0.5
    right = layer.forward

    def forward(x: Array) -> tuple[Array, Array]:
        layer.Wq *= root
        try:
            return right(x)
        finally:
            layer.Wq /= root

    layer.forward = forward  # type: ignore[method-assign]
    return layer


def test_what_is_wrong_is_found_in_any_style() -> None:
    for layers, settings, says in (
        ({nn.LSTM: CellLeftOut}, OF_LSTM, "lacks the gradient of the forget gate"),
        ({nn.GRUCell: HalfOfOne}, OF_PARTS, "weight_ih"),
        ({nn.MultiheadAttention: lambda embed_dim, num_heads: scale_left_out(
            own.SelfAttention(embed_dim, num_heads))}, OF_ATTENTION, "scale"),
    ):  # fmt: skip
        subject = parity.Subject(layers, **settings)
        report = parity.check(subject, only=("-float64-forward", "-float64-*_grad"))
        assert report.findings
        told = " ".join(map(str, report.findings)).lower()
        assert says in told, told


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("layers", [1, 2])
def test_torchs_side_is_torchs_own_layer(name: str, layers: int) -> None:
    """It is a row of cells, so that rounding on the way can be moved."""
    torch.manual_seed(0)
    theirs = getattr(nn, name)(5, 4, layers, batch_first=True).double()
    ours = by_name(name).reference(5, 4, layers).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell", "RNN", "GRU", "LSTM"])
def test_many_evaluations_at_once_are_each_of_them(name: str) -> None:
    """Under torch.vmap a cell is written out."""
    entry = by_name(name)
    for variant in entry.variants:
        trial = Trial(None, Case(entry, variant), torch.float64)
        inputs, evaluated = trial.inputs(), parity.evaluate.layer(trial.case.module())
        many = {key: torch.stack([x, x + 0.1]) for key, x in inputs.items()}
        at_once = evaluated(many, over=torch.vmap)
        for n in range(2):
            alone = evaluated({key: x[n] for key, x in many.items()})
            for key, value in alone.items():
                torch.testing.assert_close(at_once[key][n], value, rtol=1e-9, atol=1e-12)


class ResetBefore(own.GRUCell):
    """As Cho et al. (2014): the reset gate before the product."""

    def forward(self, x: Array, h: Array) -> Array:
        super().forward(x, h)
        a = x @ self.Wnx.T + self.bnx + (self.r * h) @ self.Wnh.T + self.bnh
        self.n = np.tanh(a)
        y: Array = (1 - self.z) * self.n + self.z * h
        return y

    def backward(self, dy: Array) -> tuple[Array, Array]:
        dn = dy * (1 - self.z) * (1 - self.n**2)
        dz = dy * (self.h - self.n) * self.z * (1 - self.z)
        drh = dn @ self.Wnh
        dr = drh * self.h * self.r * (1 - self.r)
        for gate, d, h in (("r", dr, self.h), ("z", dz, self.h), ("n", dn, self.r * self.h)):
            setattr(self, f"dW{gate}x", d.T @ self.x)
            setattr(self, f"dW{gate}h", d.T @ h)
            for which in "xh":
                setattr(self, f"db{gate}{which}", d.sum(0))
        dx = dr @ self.Wrx + dz @ self.Wzx + dn @ self.Wnx
        return dx, dr @ self.Wrh + dz @ self.Wzh + drh * self.r + dy * self.z


class ResetBeforeWithoutGradients(ResetBefore):
    def backward(self, dy: Array) -> tuple[Array, Array]:
        dx, dh = super().backward(dy)
        return np.ones_like(dx), dh


@pytest.mark.parametrize("dtypes", [("float32",), ("float64",)])
def test_a_choice_excuses_its_own_gradients_alone(dtypes: tuple[str, ...]) -> None:
    settings = OF_PARTS | {"dtypes": dtypes}
    right = parity.check(parity.Subject({nn.GRUCell: ResetBefore}, **settings))
    assert right.passed
    assert [one.severity for one in right.findings] == ["convention"], right.findings
    wrong = parity.check(parity.Subject({nn.GRUCell: ResetBeforeWithoutGradients}, **settings))
    assert not wrong.passed
    assert {one.severity for one in wrong.findings} == {"convention", "wrong"}


def test_an_option_may_be_fixed() -> None:
    for cls, fixed in ((nn.RNNCell, {"nonlinearity": "tanh"}), (nn.RNNCell, {"bias": True})):
        subject = parity.Subject({cls: FUNCTIONS[nn.RNNCell]}, fixed={cls: fixed}, **OF_FUNCTIONS)
        assert parity.check(subject, quick=True).passed


class Rope:
    """Of pairs of neighbours, as the paper."""

    def turned(self, x: Array, sign: int) -> Array:
        half = x.shape[-1] // 2
        w = np.arange(x.shape[-2])[:, None] * 10000.0 ** (-np.arange(half) / half)
        cos, sin = np.cos(w).astype(x.dtype), sign * np.sin(w).astype(x.dtype)
        a, b = x[..., ::2], x[..., 1::2]
        y: Array = np.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)
        return y

    def forward(self, x: Array) -> Array:
        return self.turned(x, 1)

    def backward(self, dy: Array) -> Array:
        return self.turned(dy, -1)


class Attention(own.SelfAttention):
    """With its three inputs apart, as most have it."""

    def forward(self, query: Array, key: Array, value: Array) -> Any:  # type: ignore[override]
        self.given = query, key, value
        self.q, self.k, self.v = (
            self.split(x @ w) for x, w in zip(self.given, (self.Wq, self.Wk, self.Wv), strict=True)
        )
        scores = self.q @ self.k.swapaxes(-1, -2) / self.q.shape[-1] ** 0.5
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        self.p = scores / scores.sum(-1, keepdims=True)
        self.attended = self.joined(self.p @ self.v)
        return self.attended @ self.Wo

    def backward(self, dy: Array) -> Any:
        datt = self.split(dy @ self.Wo.T)
        dp = datt @ self.v.swapaxes(-1, -2)
        ds = self.p * (dp - (dp * self.p).sum(-1, keepdims=True)) / self.q.shape[-1] ** 0.5
        parts = ds @ self.k, ds.swapaxes(-1, -2) @ self.q, self.p.swapaxes(-1, -2) @ datt
        found = []
        weights = (self.Wq, self.Wk, self.Wv)
        for place, part in enumerate(map(self.joined, parts)):
            x = self.given[place]
            self.gradients[place] += np.einsum("bti,bto->io", x, part)
            found.append(part @ weights[place].T)
        self.gradients[3] += np.einsum("bti,bto->io", self.attended, dy)
        return tuple(found)


OF_RNN: dict[str, Any] = {"array": "numpy", "biases": "one"}
STYLES: list[tuple[Any, Any, dict[str, Any], str]] = [
    (nn.GRUCell, own.StateFirstCell, OF_PARTS | {"states": "before"}, 'states="before"'),
    (nn.GRUCell, own.ColumnCell, OF_PARTS | {"batch": "columns"}, 'batch="columns"'),
    (nn.RNN, own.FeaturesFirst, OF_RNN | {"sequences": "fbt"}, 'sequences="fbt"'),
    (nn.RNN, own.Steps, OF_RNN | {"sequences": "steps"}, 'sequences="steps"'),
    (nn.RNN, own.LastAlone, OF_RNN | {"fixed": {nn.RNN: {"last": True}}},
     'fixed={nn.RNN: {"last": True}}'),
]  # fmt: skip
"""Layers that differ in one setting, and how it is asked for."""


def without(settings: dict[str, Any], text: str) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not text.startswith(f"{name}=")}


@pytest.mark.parametrize(("name", "cls", "settings", "text"), STYLES)
def test_how_it_is_called_is_a_setting_that_is_asked_for(
    name: Any, cls: Any, settings: dict[str, Any], text: str
) -> None:
    with pytest.raises(parity.AdapterError, match="SETUP: ") as raised:
        parity.check(parity.Subject({name: cls}, **without(settings, text)))
    assert str(raised.value).endswith(f": {text}")
    report = parity.check(parity.Subject({name: cls}, **settings), strict=True)
    assert report.passed, report.findings
    assert report.count("passed") >= 70


@pytest.mark.parametrize(("name", "cls", "settings", "text"), STYLES)
def test_what_is_wrong_is_named_however_it_is_called(
    name: Any, cls: Any, settings: dict[str, Any], text: str
) -> None:
    class Wrong(cls):  # type: ignore[misc]
        def slope(self, h: Array) -> Array:
            return np.ones_like(h)

        def kept(self, dy: Array) -> Array:
            return 0 * dy

    subject = parity.Subject({name: Wrong}, **settings)
    report = parity.check(subject, only=("-float64-forward", "-float64-*_grad"))
    says = {nn.GRUCell: "lacks what h' has of h", nn.RNN: "lacks the derivative of the nonlin"}
    assert says[name] in report.findings[0].sentence


class Remembering(own.Stateful):
    """Without a method that sets it back."""

    reset_state: Any = None


class WrongAndStateful(own.Stateful):
    def slope(self, h: Array) -> Array:
        return np.ones_like(h)


@pytest.mark.parametrize(
    ("cls", "reset"),
    [
        (own.Stateful, "lambda layer: layer.reset_state()"),
        (Remembering, "lambda layer: layer.__dict__.update(h=None)"),
        (WrongAndStateful, "lambda layer: layer.reset_state()"),
    ],
)
def test_a_state_that_is_kept_is_one_line(cls: Any, reset: str) -> None:
    with pytest.raises(parity.AdapterError, match="SETUP: ") as raised:
        parity.check(parity.Subject({nn.RNN: cls}, **OF_RNN))
    text = "its RNN begins with the state that its last call has left"
    assert str(raised.value).endswith(f"{text}: reset={reset}")
    subject = parity.Subject({nn.RNN: cls}, reset=eval(reset), **OF_RNN)
    report = parity.check(subject, quick=cls is WrongAndStateful)
    if cls is WrongAndStateful:
        assert "lacks the derivative of the nonlinearity" in report.findings[0].sentence
    else:
        assert report.passed, report.findings


def test_a_cell_that_keeps_its_state_is_told_so() -> None:
    with pytest.raises(parity.AdapterError, match="its GRUCell keeps its state from one call to"):
        parity.check(parity.Subject({nn.GRUCell: own.StatefulCell}, **OF_PARTS))


class WritingSteps(own.Steps):
    def forward(self, x: Any, h: Array | None = None) -> Any:
        y = super().forward(x, h)
        x[-1] += 1
        return y


def test_each_step_of_a_list_is_watched() -> None:
    settings = OF_RNN | {"sequences": "steps"}
    report = parity.check(parity.Subject({nn.RNN: WritingSteps}, **settings), only="no_mutation")
    assert [one.sentence for one in report.findings] == ["RNN writes into its input"]


class Stateless(own.RNN):
    def forward(self, x: Any) -> Any:  # type: ignore[override]
        return super().forward(x)


def test_of_inputs_that_are_refused_no_check_passes() -> None:
    report = parity.check(parity.Subject({nn.RNN: Stateless}, **OF_RNN), only="float64-")
    assert report.passed
    assert not [one.id for one in report.outcomes if one.case == "RNN-state"]
    assert any("refuses state" in gap for gap in report.gaps)


class Refusing:
    def forward(self, *inputs: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("name", [nn.ReLU, nn.MSELoss])
def test_who_refuses_everything_does_not_pass_for_refusing_nan(name: Any) -> None:
    report = parity.check(parity.Subject({name: Refusing}), only="-nan")
    assert report.count("passed") == 0
    assert report.count("FAILED") >= 2


@pytest.mark.parametrize(
    ("cls", "names", "meant"),
    [
        (nn.RNNCell, ("weigth_ih", "weight_hh", "b"), OF_CELL),
        (nn.RNNCell, OF_LAYER, OF_CELL),
        (nn.LSTMCell, ("Wx", "Wh", "b"), ("weight_ih", "weight_hh", "bias_ih")),
        (nn.BatchNorm1d, ("gamma", "beta"), ("weight", "bias")),
        (nn.ReLU, ("slope",), ()),
    ],
)
def test_a_parameter_that_torch_has_not_is_named(cls: Any, names: Any, meant: Any) -> None:
    functions = parity.functions(own.rnn_step_forward, own.rnn_step_backward, parameters=names)
    with pytest.raises(parity.AdapterError, match="SETUP: functions of ") as raised:
        parity.check(parity.Subject({cls: functions}, **OF_FUNCTIONS))
    assert all(name in str(raised.value) for name in set(names) - set(meant))
    assert str(raised.value).endswith(f"did you mean parameters={meant!r}?")


MASKS = {
    "keep": own.DotProductAttention,
    "hide": own.HiddenAttention,
    "additive": own.AddedAttention,
}


def of_masks(cls: Any, masks: str) -> parity.Subject:
    """Of attention that is not causal, and takes masks."""
    fixed = {parity.ScaledDotProductAttention: {"is_causal": False}}
    layers = {parity.ScaledDotProductAttention: cls}
    return parity.Subject(layers, array="numpy", masks=masks, fixed=fixed)


@pytest.mark.parametrize("said", MASKS)
@pytest.mark.parametrize("meant", MASKS)
def test_what_a_mask_says_is_a_setting_that_is_asked_for(said: str, meant: str) -> None:
    subject = of_masks(MASKS[meant], said)
    if said == meant:
        report = parity.check(subject, strict=True)
        assert report.passed, report.findings
        assert any("-mask-" in one.id for one in report.outcomes if one.verdict == "passed")
        return
    with pytest.raises(parity.AdapterError, match=f'SETUP: .*: masks="{meant}"'):
        parity.check(subject)


class SumLeftOut(own.AddedAttention):
    """The softmax has p dp for its derivative."""

    def backward(self, dy: Array) -> tuple[Array, ...]:
        query, key, value = self.given
        ds = self.p * (dy @ value.swapaxes(-1, -2)) / query.shape[-1] ** 0.5
        return ds @ key, ds.swapaxes(-1, -2) @ query, self.p.swapaxes(-1, -2) @ dy


class MaskLeftOut(own.HiddenAttention):
    def masked(self, scores: Array, mask: Array) -> Array:
        return scores


@pytest.mark.parametrize("cls", [own.HeadsApart, own.HeadsStacked, own.HeadsByAttributes])
def test_each_head_may_have_its_own_matrices(cls: Any) -> None:
    report = parity.check(
        parity.Subject({nn.MultiheadAttention: cls}, **OF_ATTENTION), quick=True, strict=True
    )
    assert report.passed, report.findings
    assert {one.case for one in report.outcomes} == {
        "MultiheadAttention", "MultiheadAttention-heads=3"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cls", "left_out", "says"),
    [
        (own.HeadsApart, "weight", 'weight="in_out"'),
        (own.HeadByHead, "", "`parameters` has to give all heads of query first"),
    ],
)
def test_how_the_matrices_of_heads_lie_is_asked_for(cls: Any, left_out: str, says: str) -> None:
    settings = {name: value for name, value in OF_ATTENTION.items() if name != left_out}
    with pytest.raises(parity.AdapterError, match="SETUP: ") as raised:
        parity.check(parity.Subject({nn.MultiheadAttention: cls}, **settings))
    assert says in str(raised.value)


class HeadsWithoutTheSum(own.HeadsApart):
    attention = SumLeftOut


class HeadsWithOneMatrixMore(own.HeadsApart):
    def params(self) -> Any:
        return [*super().params(), (np.ones((5, 5)), np.ones((5, 5)))]


def test_what_is_wrong_with_heads_of_their_own_is_found() -> None:
    for cls, says in (
        (HeadsWithoutTheSum, "lacks the sum over the row in the derivative of the softmax"),
        (HeadsWithOneMatrixMore, "it has parameters of [5, 5] too, which torch has not"),
    ):
        subject = parity.Subject({nn.MultiheadAttention: cls}, **OF_ATTENTION)
        report = parity.check(subject, only=("-float64-forward", "-float64-*_grad"))
        assert says in report.findings[0].sentence


def test_what_is_wrong_with_a_mask_is_no_setting() -> None:
    for cls, masks, says in (
        (SumLeftOut, "additive", "lacks the sum over the row in the derivative of the softmax"),
        (MaskLeftOut, "hide", "ignores the mask"),
    ):
        found = parity.check(of_masks(cls, masks), only=("-float64-forward", "-float64-input_grad"))
        (finding,) = found.findings
        assert says in finding.sentence


def test_query_key_and_value_are_one_where_it_attends_to_itself() -> None:
    report = parity.check(parity.Subject({nn.MultiheadAttention: Attention}, **OF_ATTENTION))
    assert report.passed, report.findings
    assert any("memory" in one.id for one in report.outcomes if one.verdict == "passed")


@pytest.mark.parametrize(
    ("layers", "settings", "says"),
    [
        ({parity.RoPE: Rope}, {}, 'fixed={parity.RoPE: {"interleaved": True}}'),
        ({nn.MultiheadAttention: own.SelfAttention},
         {"fixed": {nn.MultiheadAttention: {"bias": False}}}, 'weight="in_out"'),
    ],
)  # fmt: skip
def test_what_only_values_show_is_found_too(
    layers: dict[Any, Any], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(parity.AdapterError, match="SETUP: ") as raised:
        parity.check(parity.Subject(layers, array="numpy", **settings))
    assert says in str(raised.value)


def test_rope_of_neighbours_passes_with_its_option_fixed() -> None:
    fixed = {parity.RoPE: {"interleaved": True}}
    assert parity.check(parity.Subject({parity.RoPE: Rope}, array="numpy", fixed=fixed)).passed


class TabledRope(Rope):
    """It wants its width and a length, and its forward the places."""

    def __init__(self, theta: float, head_dim: int, max_seq_len: int) -> None:
        powers = theta ** (-np.arange(0, head_dim, 2) / head_dim)
        self.angles = np.outer(np.arange(max_seq_len), powers)

    def turned(self, x: Array, sign: int) -> Array:
        angles = self.angles[self.places].astype(x.dtype)
        cos, sin = np.cos(angles), sign * np.sin(angles)
        a, b = np.split(x, 2, -1)
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    def forward(self, x: Array, token_positions: Array) -> Array:  # type: ignore[override]
        self.places = token_positions
        return super().forward(x)


class RopeOfCosines(TabledRope):
    def backward(self, dy: Array) -> Array:
        return (self.turned(dy, 1) + self.turned(dy, -1)) / 2


class RopeByTables(Rope):
    def forward(self, x: Array, cos: Array, sin: Array) -> Array:  # type: ignore[override]
        raise AssertionError("it is not called before the adapter says how")


def test_rope_of_a_table_gets_its_width_and_asks_for_the_places() -> None:
    subject = parity.Subject({parity.RoPE: TabledRope}, array="numpy")
    with pytest.raises(parity.AdapterError, match="takes token_positions beside x: ") as raised:
        parity.check(subject)
    call = "lambda layer, x: layer.forward(x, np.arange(x.shape[-2]))"
    assert str(raised.value).endswith(f"forward={call}")
    asked = {"array": "numpy", "forward": eval(call, {"np": np})}
    report = parity.check(parity.Subject({parity.RoPE: TabledRope}, **asked))
    assert report.passed, report.findings
    assert {one.case for one in report.outcomes} == {"RoPE", "RoPE-base=50", "RoPE-heads"}
    wrong = parity.check(parity.Subject({parity.RoPE: RopeOfCosines}, **asked), quick=True)
    assert [one.sentence for one in wrong.findings] == ["RoPE input gradient has the cosines alone"]


def test_rope_that_is_handed_its_tables_asks_for_them() -> None:
    with pytest.raises(parity.AdapterError, match="takes cos, sin beside x: ") as raised:
        parity.check(parity.Subject({parity.RoPE: RopeByTables}, array="numpy"))
    assert str(raised.value).endswith("forward=lambda layer, x: layer.forward(x, cos, sin)")


class ByAttributes(own.GRUCell):
    """Its parameters are attributes, and their gradients too, `Wrx` and `dWrx`."""

    pairs: Any = None


class ByDicts(own.LSTM):
    """Its parameters are in one dict, and their gradients in another."""

    def params(self) -> Any:
        return dict(enumerate((self.Wx, self.Wh, self.b)))

    @property
    def grads(self) -> Any:
        return dict(enumerate(self.gradients))


class ByLists(own.LSTM):
    def params(self) -> Any:
        return [self.Wx, self.Wh, self.b]

    @property
    def grads(self) -> Any:
        return self.gradients


@pytest.mark.parametrize(
    ("layers", "settings"),
    [
        ({nn.GRUCell: ByAttributes}, {"array": "numpy", "gradients": "overwritten"}),
        ({nn.LSTM: ByDicts}, OF_LSTM),
        ({nn.LSTM: ByLists}, OF_LSTM),
    ],
)
def test_parameters_are_found_where_they_usually_are(
    layers: dict[Any, Any], settings: dict[str, Any]
) -> None:
    report = parity.check(parity.Subject(layers, **settings), quick=True)
    assert report.passed, report.findings


class InDouble(own.LSTM):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.Wx, self.Wh, self.b = (p.astype(np.float64) for p in (self.Wx, self.Wh, self.b))


def test_what_is_of_one_dtype_is_told_so_and_what_else_is_missing() -> None:
    others = {name: value for name, value in OF_LSTM.items() if name != "gates"}
    with pytest.raises(parity.AdapterError) as raised:
        parity.check(parity.Subject({nn.LSTM: InDouble}, **others))
    assert 'dtypes=("float64",)' in str(raised.value)
    assert 'gates="ifog"' in str(raised.value)


def test_states_that_nobody_gives_are_zeros_and_gates_are_letters() -> None:
    assert np.allclose(own.rnn_forward(np.ones((2, 3, 4)), np.zeros((2, 5)), np.zeros((4, 5)),
                                       np.zeros((5, 5)), np.zeros(5))[0], 0)  # fmt: skip
    with pytest.raises(parity.AdapterError, match="letters of torch's 'ifgo' or 'rzn'"):
        parity.Subject({nn.LSTM: own.LSTM}, gates="iifo")
    with pytest.raises(parity.AdapterError, match=r"gates has nn\.GRU, which layers has not"):
        parity.Subject({nn.LSTM: own.LSTM}, gates={nn.GRU: "zrn"})


class Wide(sequences_by_loops.LSTMCell):
    """Numpy goes over to float64 by itself, where a number of that kind has a part in it."""

    def forward(self, x: Array, *state: Array) -> Any:
        return tuple(one.astype(np.float64) for one in super().forward(x, *state))

    def backward(self, *gradients: Array) -> Any:
        return tuple(one.astype(np.float64) for one in super().backward(*gradients))


def test_a_cell_of_float32_may_go_over_to_float64_in_all_that_it_returns() -> None:
    only = parity.Subject({nn.LSTMCell: Wide}, array="numpy", dtypes=("float32",))
    report = parity.check(only, only=("-forward", "-input_grad", "-param_grad"))
    assert report.passed, [str(one) for one in report.findings]
    assert {one.name for o in report.outcomes for one in o.comparisons} >= {
        "c.output",
        "c.input_grad",
    }
