"""What people get wrong in the layers of `sequences_by_loops`: each mistake by itself, in a table.

As in `wrong_layers`. The results go by this order: the outputs, the gradients of the inputs, the
gradients of the parameters. Inputs after the first have names: h and c of recurrent layers, key and
value of attention, memory of MultiheadAttention; "c.output" is LSTMCell's second output. Some
mistakes show at some options alone: with a state given, with two layers, causal, with a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.subjects.layers_by_loops import Array
from tests.subjects.sequences_by_loops import (
    GRU,
    LSTM,
    RNN,
    GatedLinear,
    Gates,
    GeGLU,
    GRUCell,
    GRUStep,
    LSTMCell,
    LSTMStep,
    MultiheadAttention,
    Recurrent,
    RNNCell,
    RNNStep,
    RoPE,
    ScaledDotProductAttention,
    Sequence,
    States,
    SwiGLU,
    sigmoid,
    standard_normal,
)
from tests.subjects.wrong_layers import Class, Wrong, instead

WRONG: list[Wrong] = []

CELLS = (RNNCell, GRUCell, LSTMCell)
SEQUENCES = (RNN, GRU, LSTM)
GATED = (SwiGLU, GeGLU)
OTHER = {"gate": "up", "up": "gate", "down": "down"}


def wrong(mistake: str, result: str, *layers: type[Any]) -> Callable[[Class], Class]:
    """Puts a class into this table; a mistake that several layers have, once for each of them.

    A parameter of a cell is that of a sequence's first layer, and has its name there.
    """

    def register(cls: Class) -> Class:
        for layer in layers:
            name = cls.__name__ if issubclass(cls, layer) else f"{cls.__name__}Of{layer.__name__}"
            own = cls if issubclass(cls, layer) else type(name, (cls, layer), {})
            shown = result
            if issubclass(layer, Sequence):
                shown = result.replace(".param_grad", "_l0.param_grad")
            WRONG.append(Wrong(own, layer.__name__, mistake, shown))
        return cls

    return register


# Cells and sequences


@wrong("bias_hh is left out", "output", *CELLS, *SEQUENCES)
class RecurrentBiasLeftOut(Recurrent):
    def of_state(self, layer: str, h: Array) -> Array:
        return h @ self.values[f"weight_hh{layer}"].T


@wrong("bias_hh gets no gradient", "bias_hh.param_grad", *CELLS, *SEQUENCES)
class RecurrentBiasWithoutGradient(Recurrent):
    def bias_gradient(self, bias: str, dy: Array) -> Array:
        gradient = super().bias_gradient(bias, dy)
        return np.zeros_like(gradient) if bias.startswith("bias_hh") else gradient


@wrong("the biases' gradients are averaged over the batch", "bias_ih.param_grad", RNNCell, GRU)
class BiasGradientsAveraged(Recurrent):
    def bias_gradient(self, bias: str, dy: Array) -> Array:
        return super().bias_gradient(bias, dy) / max(len(dy), 1)


@wrong("the biases' gradients are those of the last sample", "bias_ih.param_grad", LSTMCell)
class BiasGradientsOfLastSample(Recurrent):
    def bias_gradient(self, bias: str, dy: Array) -> Array:
        return super().bias_gradient(bias, dy[-1:])


@wrong("the weights' gradients are averaged over the batch", "weight_ih.param_grad", GRUCell, LSTM)
class WeightGradientsAveraged(Recurrent):
    def weight_gradient(self, weight: str, x: Array, dy: Array) -> Array:
        return super().weight_gradient(weight, x, dy) / max(len(dy), 1)


@wrong(
    "weight_hh's gradient is by the state after the step", "weight_hh.param_grad",
    *CELLS, *SEQUENCES,
)  # fmt: skip
class RecurrentGradientByNextState(Recurrent):
    def to_state(self, layer: str, kept: Any, d: Array) -> Array:
        with instead(kept, h=kept.y):
            return super().to_state(layer, kept, d)


class SlopeForgotten(Recurrent):
    """Lacks the derivative of one gate."""

    gate = ""

    def slope(self, gate: str, kept: Any) -> Array:
        right = super().slope(gate, kept)
        return np.ones_like(right) if gate == self.gate else right


class SlopeOfSum(Recurrent):
    """Takes the derivative of one gate as if its sum were its value."""

    gate = ""

    def slope(self, gate: str, kept: Any) -> Array:
        with instead(kept, gates=kept.pre if gate == self.gate else kept.gates):
            return super().slope(gate, kept)


# Sequences


@wrong("the state that is given is ignored: it starts from zeros", "output", *SEQUENCES)
class GivenStateIgnored(Sequence):
    def start(self, x: Array, state: States) -> States:
        return super().start(x, ())


@wrong("the given h gets no gradient", "h.input_grad", *SEQUENCES)
class GivenStateWithoutGradient(Sequence):
    def back_along(self, layer: str, kept: list[Any], dy: Array) -> tuple[Array, States]:
        dx, (dh, *others) = super().back_along(layer, kept, dy)
        return dx, (np.zeros_like(dh), *others)


@wrong("the given h gets the first step's gradient alone", "h.input_grad", *SEQUENCES)
class GivenStateByFirstStepAlone(Sequence):
    def back_along(self, layer: str, kept: list[Any], dy: Array) -> tuple[Array, States]:
        dx, (_, *others) = super().back_along(layer, kept, dy)
        with instead(self, add=lambda name, gradient: None):
            _, (dh, *_) = super().back_along(layer, kept[:1], dy[:, :1])
        return dx, (dh, *others)


@wrong("the last step's dy is used alone", "input_grad", *SEQUENCES)
class LastGradientAlone(Sequence):
    def backward(self, dy: Array) -> Any:
        last = np.zeros_like(dy)
        last[:, -1] = dy[:, -1]
        return super().backward(last)


@wrong("no gradient goes from a step to the one before", "input_grad", *SEQUENCES)
class CutThroughTime(Sequence):
    def carried(self, dstate: States) -> States:
        return tuple(np.zeros_like(one) for one in dstate)


@wrong("the steps run from the last to the first", "output", *SEQUENCES)
class TimeReversed(Sequence):
    def along(self, layer: str, x: Array, state: States) -> tuple[Array, list[Any]]:
        y, kept = super().along(layer, x[:, ::-1], state)
        return y[:, ::-1].copy(), kept

    def back_along(self, layer: str, kept: list[Any], dy: Array) -> tuple[Array, States]:
        dx, dstate = super().back_along(layer, kept, dy[:, ::-1])
        return dx[:, ::-1].copy(), dstate


@wrong("the way back runs from the first step to the last", "input_grad", *SEQUENCES)
class BackFromFirstToLast(Sequence):
    def back_along(self, layer: str, kept: list[Any], dy: Array) -> tuple[Array, States]:
        dx, dstate = super().back_along(layer, kept[::-1], dy[:, ::-1])
        return dx[:, ::-1].copy(), dstate


@wrong("each step's output is the state before it", "output", *SEQUENCES)
class OutputBeforeTheStep(Sequence):
    def along(self, layer: str, x: Array, state: States) -> tuple[Array, list[Any]]:
        y, kept = super().along(layer, x, state)
        return np.concatenate([state[0][:, None], y[:, :-1]], axis=1), kept


@wrong("each step overwrites the weights' gradients", "weight_ih.param_grad", *SEQUENCES)
class WeightGradientsOverwritten(Sequence):
    def add(self, name: str, gradient: Array) -> None:
        if name.startswith("weight"):
            self.gradients[name][...] = gradient
        else:
            super().add(name, gradient)


@wrong("the biases' gradients are those of the last step", "bias_ih.param_grad", *SEQUENCES)
class BiasGradientsOfLastStep(Sequence):
    def back_along(self, layer: str, kept: list[Any], dy: Array) -> tuple[Array, States]:
        self.added: set[str] = set()
        return super().back_along(layer, kept, dy)

    def add(self, name: str, gradient: Array) -> None:
        if name not in self.added:
            super().add(name, gradient)
        if name.startswith("bias"):
            self.added.add(name)


@wrong("the gradients are averaged over the steps", "weight_ih.param_grad", RNN, GRU)
class GradientsAveragedOverSteps(Sequence):
    def add(self, name: str, gradient: Array) -> None:
        super().add(name, gradient / len(self.kept[0]))


@wrong("the second layer starts from the first one's last state", "output", *SEQUENCES)
class StateKeptBetweenLayers(Sequence):
    def step(self, layer: str, x: Array, state: States) -> tuple[States, Any]:
        self.latest, kept = super().step(layer, x, state)
        return self.latest, kept

    def along(self, layer: str, x: Array, state: States) -> tuple[Array, list[Any]]:
        first = layer == self.layers[0]
        return super().along(layer, x, state if first else self.latest)


@wrong("the second layer is fed with x, cut to fit, not with the first's output", "output",
       *SEQUENCES)  # fmt: skip
class SecondLayerFedWithInput(Sequence):
    def along(self, layer: str, x: Array, state: States) -> tuple[Array, list[Any]]:
        if layer == self.layers[0]:
            self.fed = np.zeros((*x.shape[:2], self.hidden_size), x.dtype)
            width = min(x.shape[2], self.hidden_size)
            self.fed[..., :width] = x[..., :width]
            return super().along(layer, x, state)
        return super().along(layer, self.fed, state)


@wrong("the second layer's recurrent weights are the first's", "output", *SEQUENCES)
class RecurrentWeightsOfFirstLayer(Sequence):
    def of_state(self, layer: str, h: Array) -> Array:
        return super().of_state(self.layers[0], h)

    def to_state(self, layer: str, kept: Any, d: Array) -> Array:
        return super().to_state(self.layers[0], kept, d)


@wrong("the first layer gets dy itself, not what the second passes on", "input_grad", *SEQUENCES)
class GradientPastSecondLayer(Sequence):
    def backward(self, dy: Array) -> Any:
        self.dy = dy
        return super().backward(dy)

    def back_along(self, layer: str, kept: list[Any], dy: Array) -> tuple[Array, States]:
        return super().back_along(layer, kept, self.dy)


# RNN


@wrong("the derivative of the nonlinearity is left out", "input_grad", RNNCell, RNN)
class NonlinearitysSlopeForgotten(SlopeForgotten):
    gate = "y"


@wrong("tanh' is 1 - a² of its argument, not of its value", "input_grad", RNNCell, RNN)
class TanhSlopeOfSum(SlopeOfSum):
    gate = "y"


@wrong("tanh' is 1 - y, without the square", "input_grad", RNNCell, RNN)
class TanhSlopeWithoutSquare(RNNStep):
    def slope(self, gate: str, kept: Any) -> Array:
        return 1 - kept.y if self.nonlinearity == "tanh" else super().slope(gate, kept)


@wrong("it is a tanh, whatever the nonlinearity is", "output", RNNCell, RNN)
class AlwaysTanh(RNNStep):
    def choose(self, nonlinearity: str) -> None:
        super().choose("tanh")


@wrong("relu' asks for the sign of the gradient", "input_grad", RNNCell, RNN)
class ReluSlopeByGradient(RNNStep):
    def back(self, layer: str, kept: Any, dstate: States) -> tuple[Array, States]:
        with instead(kept, pre={"y": dstate[0]}):
            return super().back(layer, kept, dstate)


@wrong("relu' is by the sum of the last step, at every step", "input_grad", RNN)
class ReluSlopeOfLastStep(RNN):
    def step(self, layer: str, x: Array, state: States) -> tuple[States, Any]:
        new, self.last = super().step(layer, x, state)
        return new, self.last

    def slope(self, gate: str, kept: Any) -> Array:
        return super().slope(gate, self.last if self.nonlinearity == "relu" else kept)


@wrong("weight_hh is not transposed", "output", RNNCell, RNN)
class RecurrentWeightNotTransposed(RNNStep):
    def turned(self, layer: str) -> dict[str, Array]:
        name = f"weight_hh{layer}"
        return {**self.values, name: self.values[name].T}

    def of_state(self, layer: str, h: Array) -> Array:
        with instead(self, values=self.turned(layer)):
            return super().of_state(layer, h)

    def to_state(self, layer: str, kept: Any, d: Array) -> Array:
        with instead(self, values=self.turned(layer)):
            return super().to_state(layer, kept, d)

    def weight_gradient(self, weight: str, x: Array, dy: Array) -> Array:
        right = super().weight_gradient(weight, x, dy)
        return right.T if weight.startswith("weight_hh") else right


@wrong("weight_hh is transposed on the way back", "h.input_grad", RNNCell)
@wrong("weight_hh is transposed on the way back", "input_grad", RNN)
class RecurrentWeightTransposedOnTheWayBack(RNNStep):
    def to_state(self, layer: str, kept: Any, d: Array) -> Array:
        super().to_state(layer, kept, d)
        return d @ self.values[f"weight_hh{layer}"].T


@wrong("weight_hh's gradient is transposed", "weight_hh.param_grad", RNNCell, RNN)
class RecurrentGradientTransposed(RNNStep):
    def weight_gradient(self, weight: str, x: Array, dy: Array) -> Array:
        right = super().weight_gradient(weight, x, dy)
        return right.T if weight.startswith("weight_hh") else right


@wrong("h gets the gradient of the sum, without weight_hh", "h.input_grad", RNNCell)
@wrong("h gets the gradient of the sum, without weight_hh", "input_grad", RNN)
class StateGradientWithoutWeight(RNNStep):
    def to_state(self, layer: str, kept: Any, d: Array) -> Array:
        super().to_state(layer, kept, d)
        return d


# GRU


@wrong("the reset gate is before the product: W_hn (r h)", "output", GRUCell, GRU)
class ResetBeforeProduct(GRUStep):
    def candidate(self, layer: str, xn: Array, hn: Array, r: Array, h: Array) -> Array:
        return xn + self.split(self.of_state(layer, r * h))["n"]

    def back(self, layer: str, kept: Any, dstate: States) -> tuple[Array, States]:
        dz, dn, dh = self.unmixed(kept, dstate[0])
        r, none = kept.gates["r"], np.zeros_like(dn)
        d = {"z": dz * self.slope("z", kept), "n": dn * self.slope("n", kept)}
        with instead(kept, h=r * kept.h):
            product = self.to_state(layer, kept, self.joined({"r": none, "z": none, "n": d["n"]}))
        d["r"] = product * kept.h * self.slope("r", kept)
        dx = self.to_input(layer, kept, self.joined(d))
        of_gates = self.to_state(layer, kept, self.joined({**d, "n": none}))
        return dx, (dh + product * r + of_gates,)


@wrong("z and 1 - z are swapped: z n + (1 - z) h", "output", GRUCell, GRU)
class UpdateGateTurned(GRUStep):
    def mixed(self, z: Array, n: Array, h: Array) -> Array:
        return z * n + (1 - z) * h

    def unmixed(self, kept: Any, dy: Array) -> tuple[Array, Array, Array]:
        dz, dn, dh = super().unmixed(kept, dy)
        return -dz, dh, dn


@wrong("the bias of n is outside of the reset gate", "output", GRUCell, GRU)
class CandidatesBiasOutsideReset(GRUStep):
    def candidate(self, layer: str, xn: Array, hn: Array, r: Array, h: Array) -> Array:
        bias = self.values.get(f"bias_hh{layer}")
        own = 0 if bias is None else bias[2 * self.hidden_size :]
        return xn + r * (hn - own) + own


@wrong("the reset gate is left out of n", "output", GRUCell, GRU)
class ResetLeftOut(GRUStep):
    def candidate(self, layer: str, xn: Array, hn: Array, r: Array, h: Array) -> Array:
        return xn + hn


@wrong("n is a sigmoid, not a tanh", "output", GRUCell, GRU)
class CandidateBySigmoid(GRUStep):
    by_tanh = ""


@wrong("dz lacks -n", "input_grad", GRUCell, GRU)
class UpdateGradientWithoutCandidate(GRUStep):
    def unmixed(self, kept: Any, dy: Array) -> tuple[Array, Array, Array]:
        _, dn, dh = super().unmixed(kept, dy)
        return dy * kept.h, dn, dh


@wrong("dz lacks h", "input_grad", GRUCell, GRU)
class UpdateGradientWithoutState(GRUStep):
    def unmixed(self, kept: Any, dy: Array) -> tuple[Array, Array, Array]:
        _, dn, dh = super().unmixed(kept, dy)
        return -dy * kept.gates["n"], dn, dh


@wrong("dz has the other sign", "input_grad", GRUCell, GRU)
class UpdateGradientsSign(GRUStep):
    def unmixed(self, kept: Any, dy: Array) -> tuple[Array, Array, Array]:
        dz, dn, dh = super().unmixed(kept, dy)
        return -dz, dn, dh


@wrong("dn is by z, not by 1 - z", "input_grad", GRUCell, GRU)
class CandidatesGradientByUpdate(GRUStep):
    def unmixed(self, kept: Any, dy: Array) -> tuple[Array, Array, Array]:
        dz, _, dh = super().unmixed(kept, dy)
        return dz, dh.copy(), dh


@wrong("h gets nothing by z h", "h.input_grad", GRUCell)
@wrong("h gets nothing by z h", "input_grad", GRU)
class DirectPathLeftOut(GRUStep):
    def unmixed(self, kept: Any, dy: Array) -> tuple[Array, Array, Array]:
        dz, dn, dh = super().unmixed(kept, dy)
        return dz, dn, np.zeros_like(dh)


@wrong("sigma' is left out of the reset gate", "input_grad", GRUCell, GRU)
class ResetSlopeForgotten(SlopeForgotten):
    gate = "r"


@wrong("sigma' is left out of the update gate", "input_grad", GRUCell, GRU)
class UpdateSlopeForgotten(SlopeForgotten):
    gate = "z"


@wrong("tanh' is left out of n", "input_grad", GRUCell, GRU)
class CandidatesSlopeForgotten(SlopeForgotten):
    gate = "n"


@wrong("tanh' of n is 1 - a² of its argument", "input_grad", GRUCell, GRU)
class CandidatesSlopeOfSum(SlopeOfSum):
    gate = "n"


@wrong("the reset gate gets no gradient", "input_grad", GRUCell, GRU)
class ResetWithoutGradient(GRUStep):
    def to_reset(self, kept: Any, d: Array) -> Array:
        return np.zeros_like(d)


@wrong("dr is by h, not by W_hn h + b_hn", "input_grad", GRUCell, GRU)
class ResetGradientByState(GRUStep):
    def to_reset(self, kept: Any, d: Array) -> Array:
        return d * kept.h


@wrong("what n passes on to h lacks the reset gate", "h.input_grad", GRUCell)
@wrong("what n passes on to h lacks the reset gate", "input_grad", GRU)
class ProductsGradientWithoutReset(GRUStep):
    def to_product(self, kept: Any, d: Array) -> Array:
        return d


@wrong("bias_hh has the gradient of bias_ih", "bias_hh.param_grad", GRUCell, GRU)
class OneGradientForBothBiases(GRUStep):
    def bias_gradient(self, bias: str, dy: Array) -> Array:
        if bias.startswith("bias_ih"):
            self.shared = super().bias_gradient(bias, dy)
        return self.shared


@wrong("weight_hh's gradient lacks the reset gate", "weight_hh.param_grad", GRUCell, GRU)
class RecurrentGradientWithoutReset(GRUStep):
    def weight_gradient(self, weight: str, x: Array, dy: Array) -> Array:
        if weight.startswith("weight_ih"):
            self.shared = dy
        return super().weight_gradient(weight, x, self.shared)


# LSTM


@wrong("h' is o c', without the tanh", "output", LSTMCell, LSTM)
class CellNotSquashed(LSTMStep):
    def shown(self, o: Array, new: Array, c: Array) -> Array:
        return o * new

    def cell_slope(self, kept: Any) -> Any:
        return 1

    def to_output_gate(self, kept: Any, dy: Array) -> Array:
        return dy * kept.new


@wrong("h' is of the cell before the step", "output", LSTMCell, LSTM)
class OldCellShown(LSTMStep):
    def shown(self, o: Array, new: Array, c: Array) -> Array:
        return o * np.tanh(c)


@wrong("g is a sigmoid, not a tanh", "output", LSTMCell, LSTM)
class CandidateBySigmoidToo(LSTMStep):
    by_tanh = ""


@wrong("1 is added to the forget gate's sum", "output", LSTMCell, LSTM)
class ForgetBiasOfOne(LSTMStep):
    def activated(self, gate: str, a: Array) -> Array:
        return super().activated(gate, a + 1 if gate == "f" else a)


@wrong("the input gate is 1 - f", "output", LSTMCell, LSTM)
class InputGateCoupled(LSTMStep):
    def moved(self, gates: Gates, c: Array) -> Array:
        return gates["f"] * c + (1 - gates["f"]) * gates["g"]


@wrong("c' is i c + f g: the gates are swapped", "output", LSTMCell, LSTM)
class InputAndForgetSwapped(LSTMStep):
    def moved(self, gates: Gates, c: Array) -> Array:
        return gates["i"] * c + gates["f"] * gates["g"]


@wrong("sigma' is left out of the input gate", "input_grad", LSTMCell, LSTM)
class InputGatesSlopeForgotten(SlopeForgotten):
    gate = "i"


@wrong("sigma' is left out of the forget gate", "input_grad", LSTMCell, LSTM)
class ForgetGatesSlopeForgotten(SlopeForgotten):
    gate = "f"


@wrong("tanh' is left out of g", "input_grad", LSTMCell, LSTM)
class CellGatesSlopeForgotten(SlopeForgotten):
    gate = "g"


@wrong("sigma' is left out of the output gate", "input_grad", LSTMCell, LSTM)
class OutputGatesSlopeForgotten(SlopeForgotten):
    gate = "o"


@wrong("tanh' of g is 1 - a² of its argument", "input_grad", LSTMCell, LSTM)
class CellGatesSlopeOfSum(SlopeOfSum):
    gate = "g"


@wrong("g's derivative is sigma's: g (1 - g)", "input_grad", LSTMCell, LSTM)
class CellGatesSlopeOfSigmoid(LSTMStep):
    def slope(self, gate: str, kept: Any) -> Array:
        g = kept.gates["g"]
        return g * (1 - g) if gate == "g" else super().slope(gate, kept)


@wrong("tanh(c') is not differentiated", "input_grad", LSTMCell, LSTM)
class CellsSlopeForgotten(LSTMStep):
    def cell_slope(self, kept: Any) -> Any:
        return 1


@wrong("tanh' of c' is 1 - c'²", "input_grad", LSTMCell, LSTM)
class CellsSlopeOfCell(LSTMStep):
    def cell_slope(self, kept: Any) -> Any:
        return 1 - kept.new**2


@wrong("tanh' is taken of h', not of tanh(c')", "input_grad", LSTMCell, LSTM)
class CellsSlopeOfOutput(LSTMStep):
    def cell_slope(self, kept: Any) -> Any:
        return 1 - kept.y**2


@wrong("what c' gets by h' lacks the output gate", "input_grad", LSTMCell, LSTM)
class CellsGradientWithoutOutputGate(LSTMStep):
    def to_cell(self, kept: Any, dy: Array, dnew: Array) -> Array:
        return dnew + dy * self.cell_slope(kept)


@wrong("the dc that comes from outside is left out", "input_grad", LSTMCell, LSTM)
class CellsGradientFromOutsideLeftOut(LSTMStep):
    def to_cell(self, kept: Any, dy: Array, dnew: Array) -> Array:
        return super().to_cell(kept, dy, np.zeros_like(dnew))


@wrong("the gates get by h' alone, not by the dc from outside", "input_grad", LSTMCell, LSTM)
class GatesGradientByOutputAlone(LSTMStep):
    def back(self, layer: str, kept: Any, dstate: States) -> tuple[Array, States]:
        self.outside = dstate[1]
        return super().back(layer, kept, dstate)

    def to_gates(self, kept: Any, total: Array) -> Gates:
        return super().to_gates(kept, total - self.outside)


@wrong("c gets no gradient by the forget gate", "c.input_grad", LSTMCell)
@wrong("c gets no gradient by the forget gate", "input_grad", LSTM)
class ForgetPathLeftOut(LSTMStep):
    def to_old_cell(self, kept: Any, total: Array, dnew: Array) -> Array:
        return np.zeros_like(total)


@wrong("c gets of the dc from outside alone, not by h'", "c.input_grad", LSTMCell)
@wrong("c gets of the dc from outside alone, not by h'", "input_grad", LSTM)
class OldCellByOutsideAlone(LSTMStep):
    def to_old_cell(self, kept: Any, total: Array, dnew: Array) -> Array:
        return dnew * kept.gates["f"]


@wrong("dc is passed on without the forget gate", "c.input_grad", LSTMCell)
@wrong("dc is passed on without the forget gate", "input_grad", LSTM)
class OldCellWithoutForgetGate(LSTMStep):
    def to_old_cell(self, kept: Any, total: Array, dnew: Array) -> Array:
        return total.copy()


@wrong("df is by the cell after the step", "input_grad", LSTMCell, LSTM)
class ForgetGradientByNewCell(LSTMStep):
    def to_gates(self, kept: Any, total: Array) -> Gates:
        return {**super().to_gates(kept, total), "f": total * kept.new}


@wrong("di and dg have each other's factor", "input_grad", LSTMCell, LSTM)
class InputAndCandidateSwapped(LSTMStep):
    def to_gates(self, kept: Any, total: Array) -> Gates:
        right = super().to_gates(kept, total)
        return {**right, "i": right["g"], "g": right["i"]}


@wrong("do is by c', not by tanh(c')", "input_grad", LSTMCell, LSTM)
class OutputGradientByCell(LSTMStep):
    def to_output_gate(self, kept: Any, dy: Array) -> Array:
        return dy * kept.new


@wrong("the c that is returned is tanh(c')", "c.output", LSTMCell)
class SquashedCellReturned(LSTMCell):
    def forward(self, x: Array, *state: Array) -> Any:
        h, c = super().forward(x, *state)
        return h, np.tanh(c)


@wrong("the c that is returned is the one before the step", "c.output", LSTMCell)
class OldCellReturned(LSTMCell):
    def forward(self, x: Array, *state: Array) -> Any:
        h, _ = super().forward(x, *state)
        return h, state[1].copy()


@wrong("c' and h' are returned in the other order", "output", LSTMCell)
class CellReturnedFirst(LSTMCell):
    def forward(self, x: Array, *state: Array) -> Any:
        h, c = super().forward(x, *state)
        return c, h


@wrong("dc and dh are returned in the other order", "h.input_grad", LSTMCell)
class CellsGradientReturnedFirst(LSTMCell):
    def backward(self, *dstate: Array) -> Any:
        dx, dh, dc = super().backward(*dstate)
        return dx, dc, dh


@wrong("the given h and c are taken for each other", "output", LSTM)
class GivenStatesSwapped(LSTM):
    def start(self, x: Array, state: States) -> States:
        return super().start(x, state)[::-1]


@wrong("the given c is ignored", "output", LSTM)
class GivenCellIgnored(LSTM):
    def start(self, x: Array, state: States) -> States:
        h, c = super().start(x, state)
        return h, np.zeros_like(c)


@wrong("the given c gets no gradient", "c.input_grad", LSTM)
class GivenCellWithoutGradient(LSTM):
    def back_along(self, layer: str, kept: list[Any], dy: Array) -> tuple[Array, States]:
        dx, (dh, dc) = super().back_along(layer, kept, dy)
        return dx, (dh, np.zeros_like(dc))


@wrong("the gradient of h goes back a single step", "input_grad", LSTM)
class HiddenCutThroughTime(LSTM):
    def carried(self, dstate: States) -> States:
        return np.zeros_like(dstate[0]), dstate[1]


@wrong("the output is c, not h", "output", LSTM)
class CellsForOutput(LSTM):
    def along(self, layer: str, x: Array, state: States) -> tuple[Array, list[Any]]:
        _, kept = super().along(layer, x, state)
        return np.stack([step.new for step in kept], axis=1), kept


# Attention


@wrong("the scores are not scaled", "output", ScaledDotProductAttention)
class NotScaled(ScaledDotProductAttention):
    def scale(self) -> float:
        return 1


@wrong("the scores are divided by D, not by its root", "output", ScaledDotProductAttention)
class ScaledByWidth(ScaledDotProductAttention):
    def scale(self) -> float:
        return 1 / self.q.shape[-1]


@wrong("the scores are scaled by the width of the values", "output", ScaledDotProductAttention)
class ScaledByWidthOfValues(ScaledDotProductAttention):
    def scale(self) -> float:
        return 1 / math.sqrt(self.v.shape[-1])


@wrong("the scores are scaled by the count of the keys", "output", ScaledDotProductAttention)
class ScaledByKeys(ScaledDotProductAttention):
    def scale(self) -> float:
        return 1 / math.sqrt(self.k.shape[-2])


@wrong("the scores are multiplied by the root of D", "output", ScaledDotProductAttention)
class ScaledUp(ScaledDotProductAttention):
    def scale(self) -> float:
        return math.sqrt(self.q.shape[-1])


@wrong("the softmax is over the queries", "output", ScaledDotProductAttention)
class SoftmaxOverQueries(ScaledDotProductAttention):
    def softmax(self, scores: Array, seen: Array) -> Array:
        return super().softmax(scores.T, seen.T).T

    def through(self, p: Array, dp: Array) -> Array:
        return super().through(p.T, dp.T).T


@wrong("one softmax is over all queries and keys", "output", ScaledDotProductAttention)
class SoftmaxOverAll(ScaledDotProductAttention):
    def softmax(self, scores: Array, seen: Array) -> Array:
        return super().softmax(scores.reshape(1, -1), seen.reshape(1, -1)).reshape(scores.shape)

    def through(self, p: Array, dp: Array) -> Array:
        return super().through(p.reshape(1, -1), dp.reshape(1, -1)).reshape(p.shape)


@wrong("a query sees one key more than it may", "output", ScaledDotProductAttention)
class SeesOneMore(ScaledDotProductAttention):
    def before(self, i: int, queries: int, keys: int) -> Array:
        return super().before(i + 1, queries, keys)


@wrong("a query does not see its own key; the first sees the first", "output",
       ScaledDotProductAttention)  # fmt: skip
class SeesOneLess(ScaledDotProductAttention):
    def before(self, i: int, queries: int, keys: int) -> Array:
        return super().before(max(i - 1, 0), queries, keys)


@wrong("causal is aligned at the lower right", "output", ScaledDotProductAttention)
class CausalFromTheEnd(ScaledDotProductAttention):
    def before(self, i: int, queries: int, keys: int) -> Array:
        return super().before(i + keys - queries, queries, keys)


@wrong("a query sees what comes after it", "output", ScaledDotProductAttention)
class SeesWhatComesAfter(ScaledDotProductAttention):
    def before(self, i: int, queries: int, keys: int) -> Array:
        return np.arange(keys) >= min(i, keys - 1)


@wrong("is_causal is ignored", "output", ScaledDotProductAttention)
class CausalIgnored(ScaledDotProductAttention):
    def before(self, i: int, queries: int, keys: int) -> Array:
        return np.ones(keys, bool)


@wrong("is_causal is ignored on the way back", "input_grad", ScaledDotProductAttention)
class CausalIgnoredOnTheWayBack(ScaledDotProductAttention):
    def backward(self, dy: Array) -> tuple[Array, Array, Array]:
        p = self.p.copy()
        if self.is_causal:
            for place in np.ndindex(p.shape[:-2]):
                scores = self.scores(self.q[place], self.k[place])
                p[place] = self.softmax(scores, np.ones(scores.shape, bool))
        with instead(self, p=p):
            return super().backward(dy)


@wrong("what a query must not see is taken off after the softmax", "output",
       ScaledDotProductAttention)  # fmt: skip
class HiddenAfterSoftmax(ScaledDotProductAttention):
    def softmax(self, scores: Array, seen: Array) -> Array:
        return super().softmax(scores, np.ones_like(seen)) * seen


@wrong("what a query must not see has the score 0, not -inf", "output", ScaledDotProductAttention)
class HiddenScoresZero(ScaledDotProductAttention):
    def softmax(self, scores: Array, seen: Array) -> Array:
        return super().softmax(scores * seen, np.ones_like(seen))


@wrong("the mask is added to the scores as zeros and ones", "output", ScaledDotProductAttention)
class MaskAdded(ScaledDotProductAttention):
    def softmax(self, scores: Array, seen: Array) -> Array:
        return super().softmax(scores + seen.astype(scores.dtype), np.ones_like(seen))


@wrong("the mask is ignored", "output", ScaledDotProductAttention)
class MaskIgnored(ScaledDotProductAttention):
    def sees(self, shape: tuple[int, ...], mask: Array | None) -> Array:
        return super().sees(shape, None)


@wrong("softmax's derivative is its diagonal alone: p (1 - p)", "input_grad",
       ScaledDotProductAttention)  # fmt: skip
class SoftmaxDiagonalAlone(ScaledDotProductAttention):
    def through(self, p: Array, dp: Array) -> Array:
        return dp * p * (1 - p)


@wrong("softmax's derivative lacks the sum over the row", "input_grad", ScaledDotProductAttention)
class SoftmaxWithoutRowSum(ScaledDotProductAttention):
    def through(self, p: Array, dp: Array) -> Array:
        return dp * p


@wrong("softmax's derivative sums over the queries", "input_grad", ScaledDotProductAttention)
class SoftmaxSumOverQueries(ScaledDotProductAttention):
    def through(self, p: Array, dp: Array) -> Array:
        return p * (dp - (p * dp).sum(0))


@wrong("softmax's derivative takes off the mean of dp", "input_grad", ScaledDotProductAttention)
class SoftmaxMeanOfGradient(ScaledDotProductAttention):
    def through(self, p: Array, dp: Array) -> Array:
        return p * (dp - dp.mean(1, keepdims=True))


@wrong("the softmax is not differentiated", "input_grad", ScaledDotProductAttention)
class SoftmaxNotDifferentiated(ScaledDotProductAttention):
    def through(self, p: Array, dp: Array) -> Array:
        return dp * (p > 0)


@wrong("the scale is missing in dq", "input_grad", ScaledDotProductAttention)
class QuerysGradientNotScaled(ScaledDotProductAttention):
    def to_query(self, d: Array, q: Array, k: Array) -> Array:
        return d @ k


@wrong("the scores' gradient is transposed in dq, where it is square", "input_grad",
       ScaledDotProductAttention)  # fmt: skip
class QuerysGradientTransposed(ScaledDotProductAttention):
    def to_query(self, d: Array, q: Array, k: Array) -> Array:
        return super().to_query(d.T if len(q) == len(k) else d, q, k)


@wrong("the scale is missing in dk", "key.input_grad", ScaledDotProductAttention)
class KeysGradientNotScaled(ScaledDotProductAttention):
    def to_key(self, d: Array, q: Array, k: Array) -> Array:
        return d.T @ q


@wrong("dk is dq, where there are as many of both", "key.input_grad", ScaledDotProductAttention)
class KeysGradientIsQuerys(ScaledDotProductAttention):
    def to_key(self, d: Array, q: Array, k: Array) -> Array:
        return self.to_query(d, q, k) if len(q) == len(k) else super().to_key(d, q, k)


@wrong("dk is by k, where there are as many as of q", "key.input_grad", ScaledDotProductAttention)
class KeysGradientByKeys(ScaledDotProductAttention):
    def to_key(self, d: Array, q: Array, k: Array) -> Array:
        return super().to_key(d, k if len(q) == len(k) else q, k)


@wrong("the keys get no gradient", "key.input_grad", ScaledDotProductAttention)
class KeysWithoutGradient(ScaledDotProductAttention):
    def to_key(self, d: Array, q: Array, k: Array) -> Array:
        return np.zeros_like(k)


@wrong("dv is by the scores, not by the probabilities", "value.input_grad",
       ScaledDotProductAttention)  # fmt: skip
class ValuesGradientByScores(ScaledDotProductAttention):
    def to_value(self, place: tuple[int, ...], dy: Array) -> Array:
        return (self.scores(self.q[place], self.k[place]) * self.seen[place]).T @ dy


@wrong("dv is by p not transposed, where it is square", "value.input_grad",
       ScaledDotProductAttention)  # fmt: skip
class ValuesGradientNotTransposed(ScaledDotProductAttention):
    def to_value(self, place: tuple[int, ...], dy: Array) -> Array:
        p = self.p[place]
        return (p if len(p) == len(p.T) else p.T) @ dy


@wrong("dv is the sum of dy over the queries, without p", "value.input_grad",
       ScaledDotProductAttention)  # fmt: skip
class ValuesGradientWithoutProbabilities(ScaledDotProductAttention):
    def to_value(self, place: tuple[int, ...], dy: Array) -> Array:
        return np.ones_like(self.p[place]).T @ dy


# MultiheadAttention


@wrong("the heads are not split: it is one head", "output", MultiheadAttention)
class OneHead(MultiheadAttention):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.num_heads = 1


@wrong("the heads take the features in turn, not in blocks", "output", MultiheadAttention)
class HeadsInTurn(MultiheadAttention):
    def columns(self, head: int) -> slice:
        return slice(head, None, self.num_heads)


@wrong("the heads are made by a reshape, without swapping the axes", "output", MultiheadAttention)
class HeadsByReshape(MultiheadAttention):
    def split(self, x: Array) -> Array:
        B, T, E = x.shape
        return x.reshape(B, self.num_heads, T, E // self.num_heads)

    def joined(self, heads: Array) -> Array:
        B, H, T, D = heads.shape
        return heads.reshape(B, T, H * D)


@wrong("the heads are joined by a reshape, without swapping the axes", "output",
       MultiheadAttention)  # fmt: skip
class HeadsJoinedByReshape(MultiheadAttention):
    def forward(self, x: Array, memory: Array | None = None) -> Array:
        reshaped = (*x.shape[:2], self.embed_dim)
        with instead(self, joined=lambda heads: heads.reshape(reshaped)):
            return super().forward(x, memory)


class ScaledByGivenWidth(ScaledDotProductAttention):
    width = 1

    def scale(self) -> float:
        return 1 / math.sqrt(self.width)


@wrong("the scores are scaled by embed_dim, not by a head's width", "output", MultiheadAttention)
class ScaledByEmbedding(MultiheadAttention):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.attend = ScaledByGivenWidth(self.attend.is_causal)
        self.attend.width = self.embed_dim


@wrong("the scores are not scaled", "output", MultiheadAttention)
class HeadsNotScaled(MultiheadAttention):
    attention = NotScaled


@wrong("the softmax is over the queries", "output", MultiheadAttention)
class HeadsSoftmaxOverQueries(MultiheadAttention):
    attention = SoftmaxOverQueries


@wrong("causal is ignored", "output", MultiheadAttention)
class HeadsCausalIgnored(MultiheadAttention):
    attention = CausalIgnored


@wrong("a query sees one key more than it may", "output", MultiheadAttention)
class HeadsSeeOneMore(MultiheadAttention):
    attention = SeesOneMore


@wrong("softmax's derivative lacks the sum over the row", "input_grad", MultiheadAttention)
class HeadsSoftmaxWithoutRowSum(MultiheadAttention):
    attention = SoftmaxWithoutRowSum


@wrong("softmax's derivative is its diagonal alone: p (1 - p)", "input_grad", MultiheadAttention)
class HeadsSoftmaxDiagonalAlone(MultiheadAttention):
    attention = SoftmaxDiagonalAlone


@wrong("the scale is missing in the queries' gradient", "input_grad", MultiheadAttention)
class HeadsQuerysGradientNotScaled(MultiheadAttention):
    attention = QuerysGradientNotScaled


@wrong("in_proj has the keys first, then the queries", "output", MultiheadAttention)
class KeysFirst(MultiheadAttention):
    def rows(self, n: int) -> slice:
        return super().rows((1, 0, 2)[n])


@wrong("in_proj has the values before the keys", "output", MultiheadAttention)
class ValuesBeforeKeys(MultiheadAttention):
    def rows(self, n: int) -> slice:
        return super().rows((0, 2, 1)[n])


@wrong("the values' part of in_proj_bias is left out", "output", MultiheadAttention)
class ValuesBiasLeftOut(MultiheadAttention):
    def in_bias(self, n: int) -> Array:
        bias = super().in_bias(n)
        return np.zeros_like(bias) if n == 2 else bias


@wrong("the queries' part of in_proj_bias is left out", "output", MultiheadAttention)
class QueriesBiasLeftOut(MultiheadAttention):
    def in_bias(self, n: int) -> Array:
        bias = super().in_bias(n)
        return np.zeros_like(bias) if n == 0 else bias


@wrong("out_proj.bias is left out", "output", MultiheadAttention)
class OutputsBiasLeftOut(MultiheadAttention):
    def affine(self, weight: str, bias: str, x: Array) -> Array:
        return super().affine(weight, "", x)


@wrong("out_proj is left out: the output is the heads", "output", MultiheadAttention)
class OutputProjectionLeftOut(MultiheadAttention):
    def affine(self, weight: str, bias: str, x: Array) -> Array:
        return x.copy()


@wrong("out_proj.weight is not transposed", "output", MultiheadAttention)
class OutputProjectionNotTransposed(MultiheadAttention):
    def affine(self, weight: str, bias: str, x: Array) -> Array:
        with instead(self, values={**self.values, weight: self.values[weight].T}):
            return super().affine(weight, bias, x)


@wrong("out_proj.weight is transposed on the way back", "input_grad", MultiheadAttention)
class OutputProjectionTransposedOnTheWayBack(MultiheadAttention):
    def affine_backward(self, weight: str, bias: str, x: Array, dy: Array) -> Array:
        with instead(self, values={**self.values, weight: self.values[weight].T}):
            return super().affine_backward(weight, bias, x, dy)


@wrong("x gets the queries' part alone", "input_grad", MultiheadAttention)
class InputByQueriesAlone(MultiheadAttention):
    def to_x(self, of_query: Array, of_key: Array, of_value: Array) -> Array:
        return of_query


@wrong("x gets nothing by the queries", "input_grad", MultiheadAttention)
class InputWithoutQueries(MultiheadAttention):
    def to_x(self, of_query: Array, of_key: Array, of_value: Array) -> Array:
        return of_key + of_value


@wrong("x gets nothing by the keys", "input_grad", MultiheadAttention)
class InputWithoutKeys(MultiheadAttention):
    def to_x(self, of_query: Array, of_key: Array, of_value: Array) -> Array:
        return of_query + of_value


@wrong("the memory gets the keys' part alone", "memory.input_grad", MultiheadAttention)
class MemoryByKeysAlone(MultiheadAttention):
    def to_memory(self, of_key: Array, of_value: Array) -> Array:
        return of_key


@wrong("the memory gets the values' part alone", "memory.input_grad", MultiheadAttention)
class MemoryByValuesAlone(MultiheadAttention):
    def to_memory(self, of_key: Array, of_value: Array) -> Array:
        return of_value


@wrong("the memory gets no gradient", "memory.input_grad", MultiheadAttention)
class MemoryWithoutGradient(MultiheadAttention):
    def to_memory(self, of_key: Array, of_value: Array) -> Array:
        return np.zeros_like(of_key)


@wrong("the memory is ignored: x attends to itself", "output", MultiheadAttention)
class MemoryIgnored(MultiheadAttention):
    def forward(self, x: Array, memory: Array | None = None) -> Array:
        self.left = memory
        return super().forward(x)

    def backward(self, dy: Array) -> Any:
        dx = super().backward(dy)
        return dx if self.left is None else (dx, np.zeros_like(self.left))


@wrong("out_proj.weight's gradient is by the output, not the heads", "out_proj.weight.param_grad",
       MultiheadAttention)  # fmt: skip
class OutputWeightsGradientByOutput(MultiheadAttention):
    def weight_gradient(self, weight: str, x: Array, dy: Array) -> Array:
        output = self.affine("out_proj.weight", "out_proj.bias", x)
        return super().weight_gradient(weight, output, dy)


@wrong("out_proj.weight's gradient is by x, not the heads", "out_proj.weight.param_grad",
       MultiheadAttention)  # fmt: skip
class OutputWeightsGradientByInput(MultiheadAttention):
    def weight_gradient(self, weight: str, x: Array, dy: Array) -> Array:
        return super().weight_gradient(weight, self.x.reshape(-1, self.embed_dim), dy)


@wrong("in_proj_weight's gradient has the queries' rows alone", "in_proj_weight.param_grad",
       MultiheadAttention)  # fmt: skip
class ProjectionsGradientOfQueriesAlone(MultiheadAttention):
    def add(self, name: str, gradient: Array) -> None:
        if name == "in_proj_weight":
            gradient = gradient.copy()
            gradient[self.embed_dim :] = 0
        super().add(name, gradient)


@wrong("in_proj_bias's gradient is averaged over the batch", "in_proj_bias.param_grad",
       MultiheadAttention)  # fmt: skip
class ProjectionsBiasGradientAveraged(MultiheadAttention):
    def add(self, name: str, gradient: Array) -> None:
        super().add(name, gradient / len(self.x) if name == "in_proj_bias" else gradient)


@wrong("out_proj.bias's gradient is that of the last sample", "out_proj.bias.param_grad",
       MultiheadAttention)  # fmt: skip
class OutputsBiasGradientOfLastSample(MultiheadAttention):
    def bias_gradient(self, bias: str, dy: Array) -> Array:
        return super().bias_gradient(bias, dy[-self.x.shape[1] :])


# SwiGLU and GeGLU


@wrong("gate and up are swapped", "output", *GATED)
class GateAndUpSwapped(GatedLinear):
    def through(self, name: str, x: Array) -> Array:
        return super().through(OTHER[name], x)

    def back_through(self, name: str, x: Array, dy: Array) -> Array:
        return super().back_through(OTHER[name], x, dy)


@wrong("the activation is of the product of gate and up", "output", *GATED)
class ActivationOfProduct(GatedLinear):
    def product(self, gate: Array, up: Array) -> Array:
        return self.act(gate * up)

    def to_gate(self, d: Array) -> Array:
        return d * self.slope(self.gate * self.up) * self.up

    def to_up(self, d: Array) -> Array:
        return d * self.slope(self.gate * self.up) * self.gate


@wrong("gate and up are added, not multiplied", "output", *GATED)
class GateAdded(GatedLinear):
    def product(self, gate: Array, up: Array) -> Array:
        return self.act(gate) + up

    def to_gate(self, d: Array) -> Array:
        return d * self.slope(self.gate)

    def to_up(self, d: Array) -> Array:
        return d


@wrong("the activation is left out", "output", *GATED)
class ActivationLeftOut(GatedLinear):
    def act(self, a: Array) -> Array:
        return a

    def slope(self, a: Array) -> Array:
        return np.ones_like(a)


@wrong("the activation is ReLU", "output", *GATED)
class ActivationIsReLU(GatedLinear):
    def act(self, a: Array) -> Array:
        return np.maximum(a, 0)

    def slope(self, a: Array) -> Array:
        return (a > 0).astype(a.dtype)


@wrong("up's gradient lacks the activation of the gate", "input_grad", *GATED)
class UpsGradientWithoutGate(GatedLinear):
    def to_up(self, d: Array) -> Array:
        return d


@wrong("up's gradient is by the gate, not by its activation", "input_grad", *GATED)
class UpsGradientByGate(GatedLinear):
    def to_up(self, d: Array) -> Array:
        return d * self.gate


@wrong("the gate's gradient lacks up", "input_grad", *GATED)
class GatesGradientWithoutUp(GatedLinear):
    def to_gate(self, d: Array) -> Array:
        return d * self.slope(self.gate)


@wrong("the activation is not differentiated", "input_grad", *GATED)
class ActivationNotDifferentiated(GatedLinear):
    def to_gate(self, d: Array) -> Array:
        return d * self.up


@wrong("the activation's derivative is taken of its value", "input_grad", *GATED)
class SlopeOfActivated(GatedLinear):
    def to_gate(self, d: Array) -> Array:
        return d * self.up * self.slope(self.act(self.gate))


@wrong("x gets by the gate alone", "input_grad", *GATED)
class InputByGateAlone(GatedLinear):
    def to_x(self, by_gate: Array, by_up: Array) -> Array:
        return by_gate


@wrong("x gets by up alone", "input_grad", *GATED)
class InputByUpAlone(GatedLinear):
    def to_x(self, by_gate: Array, by_up: Array) -> Array:
        return by_up


@wrong("gate's and up's weights have each other's gradient", "gate.weight.param_grad", *GATED)
class WeightGradientsSwapped(GatedLinear):
    def add(self, name: str, gradient: Array) -> None:
        layer, _, kind = name.partition(".")
        super().add(f"{OTHER[layer]}.{kind}", gradient)


@wrong("down's weight gradient lacks up", "down.weight.param_grad", *GATED)
class DownsGradientWithoutUp(GatedLinear):
    def weight_gradient(self, weight: str, x: Array, dy: Array) -> Array:
        if weight == "down.weight":
            x = self.act(self.gate).reshape(x.shape)
        return super().weight_gradient(weight, x, dy)


@wrong("the weights' gradients are averaged over the rows", "gate.weight.param_grad", SwiGLU)
class GatedWeightGradientsAveraged(GatedLinear):
    def weight_gradient(self, weight: str, x: Array, dy: Array) -> Array:
        return super().weight_gradient(weight, x, dy) / max(len(x), 1)


@wrong("down's bias is left out", "output", SwiGLU)
class DownsBiasLeftOut(SwiGLU):
    def affine(self, weight: str, bias: str, x: Array) -> Array:
        return super().affine(weight, "" if bias == "down.bias" else bias, x)


@wrong("the activation is a sigmoid, not SiLU", "output", SwiGLU)
class SigmoidForSiLU(SwiGLU):
    def act(self, a: Array) -> Array:
        return sigmoid(a)

    def slope(self, a: Array) -> Array:
        return sigmoid(a) * (1 - sigmoid(a))


@wrong("SiLU' is sigma(a) alone", "input_grad", SwiGLU)
class SiLUSlopesFirstTerm(SwiGLU):
    def slope(self, a: Array) -> Array:
        return sigmoid(a)


@wrong("SiLU' is a sigma'(a) alone", "input_grad", SwiGLU)
class SiLUSlopesSecondTerm(SwiGLU):
    def slope(self, a: Array) -> Array:
        return super().slope(a) - sigmoid(a)


@wrong("SiLU' is that of sigma: s (1 - s)", "input_grad", SwiGLU)
class SiLUSlopeOfSigmoid(SwiGLU):
    def slope(self, a: Array) -> Array:
        return sigmoid(a) * (1 - sigmoid(a))


@wrong("GELU is by its tanh approximation", "output", GeGLU)
class GELUByTanh(GeGLU):
    def bent(self, a: Array) -> Array:
        return np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))

    def act(self, a: Array) -> Array:
        return a * (1 + self.bent(a)) / 2

    def slope(self, a: Array) -> Array:
        inner = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * a**2)
        return (1 + self.bent(a) + a * (1 - self.bent(a) ** 2) * inner) / 2


@wrong("GELU is a sigma(1.702 a)", "output", GeGLU)
class GELUBySigmoid(GeGLU):
    def act(self, a: Array) -> Array:
        return a * sigmoid(1.702 * a)

    def slope(self, a: Array) -> Array:
        s = sigmoid(1.702 * a)
        return s + 1.702 * a * s * (1 - s)


@wrong("GELU lacks the root of 2 in erf", "output", GeGLU)
class GELUWithoutRoot(GeGLU):
    def act(self, a: Array) -> Array:
        return super().act(a * math.sqrt(2)) / math.sqrt(2)

    def slope(self, a: Array) -> Array:
        return super().slope(a * math.sqrt(2))


@wrong("the activation is SiLU, not GELU", "output", GeGLU)
class SiLUForGELU(GeGLU):
    def act(self, a: Array) -> Array:
        return a * sigmoid(a)

    def slope(self, a: Array) -> Array:
        return sigmoid(a) + a * sigmoid(a) * (1 - sigmoid(a))


@wrong("GELU' is Phi(a) alone", "input_grad", GeGLU)
class GELUSlopesFirstTerm(GeGLU):
    def slope(self, a: Array) -> Array:
        below, _ = standard_normal(a)
        return below


@wrong("GELU' is Phi(a) + phi(a), without a", "input_grad", GeGLU)
class GELUSlopeWithoutFactor(GeGLU):
    def slope(self, a: Array) -> Array:
        below, density = standard_normal(a)
        return below + density


@wrong("GELU' is the density alone, times a", "input_grad", GeGLU)
class GELUSlopesSecondTerm(GeGLU):
    def slope(self, a: Array) -> Array:
        _, density = standard_normal(a)
        return a * density


# RoPE


@wrong("dx is turned forward once more, not back", "input_grad", RoPE)
class GradientTurnedForward(RoPE):
    def backward(self, dy: Array) -> Array:
        return self.turned(dy, 1)


@wrong("dx is dy", "input_grad", RoPE)
class GradientNotTurned(RoPE):
    def backward(self, dy: Array) -> Array:
        return dy.copy()


@wrong("dx has the cosines alone", "input_grad", RoPE)
class GradientByCosinesAlone(RoPE):
    def backward(self, dy: Array) -> Array:
        return (self.turned(dy, 1) + self.turned(dy, -1)) / 2


@wrong("the pairs are of neighbours, whatever interleaved is", "output", RoPE)
class NeighboursForHalves(RoPE):
    def pair(self, i: int, D: int) -> tuple[int, int]:
        return 2 * i, 2 * i + 1


@wrong("interleaved is ignored: the pairs are of halves", "output", RoPE)
class HalvesForNeighbours(RoPE):
    def pair(self, i: int, D: int) -> tuple[int, int]:
        return i, i + D // 2


@wrong("the positions begin with 1", "output", RoPE)
class PositionsFromOne(RoPE):
    def angle(self, t: int, i: int, D: int) -> float:
        return super().angle(t + 1, i, D)


@wrong("the position is the sample's, not the time's", "output", RoPE)
class PositionsOfSamples(RoPE):
    def turned(self, x: Array, direction: int) -> Array:
        return super().turned(x.swapaxes(0, -2), direction).swapaxes(0, -2)


@wrong("the base is 10000, whatever is given", "output", RoPE)
class BaseIgnored(RoPE):
    def __init__(self, base: float = 10000.0, interleaved: bool = False) -> None:
        super().__init__(interleaved=interleaved)


@wrong("the exponent is -i / D, not -2 i / D", "output", RoPE)
class ExponentHalved(RoPE):
    def angle(self, t: int, i: int, D: int) -> float:
        return t * self.base ** (-i / D)


@wrong("the exponent is -4 i / D, not -2 i / D", "output", RoPE)
class ExponentDoubled(RoPE):
    def angle(self, t: int, i: int, D: int) -> float:
        return t * self.base ** (-4 * i / D)


@wrong("the exponent's i begins with 1", "output", RoPE)
class ExponentFromOne(RoPE):
    def angle(self, t: int, i: int, D: int) -> float:
        return super().angle(t, i + 1, D)


@wrong("the exponent has the other sign", "output", RoPE)
class ExponentsSign(RoPE):
    def angle(self, t: int, i: int, D: int) -> float:
        return t * self.base ** (2 * i / D)


@wrong("all pairs turn as fast as the first", "output", RoPE)
class OneAngleForAllPairs(RoPE):
    def angle(self, t: int, i: int, D: int) -> float:
        return float(t)


@wrong("the first half alone is rotated; the second stays as it is", "output", RoPE)
class FirstHalfAlone(RoPE):
    def turned_pair(self, first: Array, second: Array, angle: float) -> tuple[Any, Any]:
        turned, _ = super().turned_pair(first, second, angle)
        return turned, second.copy()


@wrong("the angle has the other sign", "output", RoPE)
class AnglesSign(RoPE):
    def angle(self, t: int, i: int, D: int) -> float:
        return -super().angle(t, i, D)


@wrong("the minus of the rotation is forgotten", "output", RoPE)
class MinusForgotten(RoPE):
    def turned_pair(self, first: Array, second: Array, angle: float) -> tuple[Any, Any]:
        cos, sin = math.cos(angle), math.sin(angle)
        return first * cos + second * sin, first * sin + second * cos


@wrong("sine and cosine are swapped", "output", RoPE)
class SineForCosine(RoPE):
    def turned_pair(self, first: Array, second: Array, angle: float) -> tuple[Any, Any]:
        return super().turned_pair(first, second, math.pi / 2 - angle)


@wrong("the angles are repeated for neighbours, where the pairs are of halves", "output", RoPE)
class AnglesOfNeighbours(RoPE):
    def turned(self, x: Array, direction: int) -> Array:
        if self.interleaved:
            return super().turned(x, direction)
        (T, D), y = x.shape[-2:], x.copy()
        for t in range(T):
            for j in range(D):
                angle, other = direction * self.angle(t, j // 2, D), x[..., t, (j + D // 2) % D]
                sign = -1 if j < D // 2 else 1
                y[..., t, j] = x[..., t, j] * math.cos(angle) + sign * other * math.sin(angle)
        return y
