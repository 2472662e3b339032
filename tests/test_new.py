"""`parity new`: frameworks as people lay them out, each of which its skeleton runs as written."""

from __future__ import annotations

from pathlib import Path

import pytest

import parity
from parity import cli
from parity.subject.skeleton import skeleton
from parity.subject.source import torch_name
from tests import warm

PACKAGE = {
    "lib/__init__.py": "raise SystemExit('not on import of the skeleton')\n",
    "lib/mine/__init__.py": "",
    "lib/mine/nn/__init__.py": "",
    "lib/mine/nn/base.py": "class Layer:\n    pass\n",
    "lib/mine/nn/layers.py": """
import numpy as np
from .base import Layer
class DenseLayer(Layer):
    def __init__(self, input_size, output_size):
        self.W, self.b = np.zeros((input_size, output_size)), np.zeros(output_size)
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(0)
        return dout @ self.W.T
class Tanh(Layer):
    def forward(self, x):
        self.y = np.tanh(x)
        return self.y
    def backward(self, dout):
        return dout * (1 - self.y**2)
""",
    "lib/mine/losses.py": """
import numpy as np
class MAE:
    def loss(self, y_true, y_pred):
        return np.abs(y_true - y_pred).mean()
    def gradient(self, y_true, y_pred):
        return np.sign(y_pred - y_true) / y_true.size
""",
    "lib/mine/optim.py": """
class SGDOptimizer:
    def __init__(self, model, lr):
        self.model, self.lr = model, lr
    def update(self):
        for layer in self.model.layers:
            if hasattr(layer, "W"):
                layer.W -= self.lr * layer.dW
                layer.b -= self.lr * layer.db
""",
    "lib/mine/model.py": """
class NeuralNetwork:
    def __init__(self):
        self.layers = []
    def add(self, layer):
        self.layers.append(layer)
    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x
    def backward(self, dy):
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
""",
    "lib/mine/half_done.py": "def forward(\n",
    "lib/tests/test_it.py": "raise SystemExit\n",
}

NAMED_AS_TORCHS = {
    "nn.py": """
import numpy as np
class Linear:
    def __init__(self, n_in, n_out, activation):
        self.params = {"W": np.zeros((n_in, n_out)), "b": np.zeros((1, n_out))}
        self.grads = {"W": np.zeros((n_in, n_out)), "b": np.zeros((1, n_out))}
    def forward(self, x, training):
        self.x = x
        return x @ self.params["W"] + self.params["b"]
    def backward(self, dy):
        self.grads["W"], self.grads["b"] = self.x.T @ dy, dy.sum(0, keepdims=True)
        return dy @ self.params["W"].T
class SoftmaxCrossEntropy:
    def forward(self, y_pred, y_true):
        e = np.exp(y_pred - y_pred.max(1, keepdims=True))
        self.e, self.t = e, y_true
        shifted = y_pred - y_pred.max(1, keepdims=True)
        return (np.log(e.sum(1)) - shifted[np.arange(len(y_true)), y_true]).mean()
    def backward(self):
        d = self.e / self.e.sum(1, keepdims=True)
        d[np.arange(len(d)), self.t] -= 1
        return d / len(d)
"""
}

FUNCTIONS = {
    "cs.py": """
import numpy as np
def affine_forward(x, w, b):
    return x @ w + b, (x, w)
def affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(0)
def relu_forward(x):
    return np.maximum(x, 0), x
def relu_backward(dout, cache):
    return dout * (cache > 0)
"""
}

OF_THE_STANDARD_LIBRARY = {
    "random.py": """
import torch
class FC:
    def __init__(self, out_features, in_features):
        self.w, self.b = torch.zeros(out_features, in_features), torch.zeros(out_features)
    def forward(self, x):
        self.x = x
        return x @ self.w.T + self.b
    def backward(self, dy, lr):
        dx = dy @ self.w
        self.dw, self.db = dy.T @ self.x, dy.sum(0)
        self.w -= lr * self.dw
        self.b -= lr * self.db
        return dx
class Sigmoid_Activation:
    def forward(self, x):
        self.y = torch.sigmoid(x)
        return self.y
    def backward(self, dy):
        return dy * self.y * (1 - self.y)
"""
}

LOOSE = {
    "loose/util.py": "import torch\ntanh = torch.tanh\n",
    "loose/activations.py": """
from .util import tanh
class TanhLayer:
    def forward(self, x):
        self.y = tanh(x)
        return self.y
    def backward(self, dy):
        return dy * (1 - self.y**2)
""",
}


#: Arrays where a layer is built, two lists beside each other, a mode that is an argument, and
#: optimizers that are told at each step what they move.
TWO_LISTS = {
    "lists.py": """
import numpy as np
class Affine:
    def __init__(self, W, b):
        self.params, self.grads = [W, b], [np.zeros_like(W), np.zeros_like(b)]
    def forward(self, x):
        self.x = x
        return x @ self.params[0] + self.params[1]
    def backward(self, dout):
        self.grads[0][...], self.grads[1][...] = self.x.T @ dout, dout.sum(0)
        return dout @ self.params[0].T
class Embedding:
    def __init__(self, W):
        self.params, self.grads = [W], [np.zeros_like(W)]
    def forward(self, index):
        self.index = index
        return self.params[0][index]
    def backward(self, dout):
        self.grads[0][...] = 0
        np.add.at(self.grads[0], self.index, dout)
class Dropout:
    def __init__(self, ratio=0.5):
        self.params, self.grads, self.ratio = [], [], ratio
    def forward(self, x, train_flg=True):
        self.kept = np.ones_like(x)
        if train_flg:
            kept = np.random.rand(*x.shape) >= self.ratio
            self.kept = kept / (1 - self.ratio) if self.ratio < 1 else kept * 1.0
        return x * self.kept
    def backward(self, dout):
        return dout * self.kept
class MSELoss:
    def forward(self, y, t):
        self.d = y - t
        return np.sum(self.d**2) / len(y)
    def backward(self):
        return 2 * self.d / len(self.d)
class SGD:
    def __init__(self, lr=0.01):
        self.lr = lr
    def update(self, params, grads):
        for i in range(len(params)):
            params[i] -= self.lr * grads[i]
"""
}

LEFT_BEHIND = {
    "left.py": """
import numpy as np
class Layer_Dense:
    def __init__(self, n_inputs, n_neurons):
        self.weights, self.biases = np.zeros((n_inputs, n_neurons)), np.zeros((1, n_neurons))
    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs @ self.weights + self.biases
    def backward(self, dvalues):
        self.dweights, self.dbiases = self.inputs.T @ dvalues, dvalues.sum(0, keepdims=True)
        self.dinputs = dvalues @ self.weights.T
class Activation_ReLU:
    def forward(self, inputs):
        self.inputs, self.output = inputs, np.maximum(0, inputs)
    def backward(self, dvalues):
        self.dinputs = np.where(self.inputs > 0, dvalues, 0)
class Loss:
    def calculate(self, output, y):
        return np.mean(self.forward(output, y))
class Loss_MeanSquaredError(Loss):
    def forward(self, y_pred, y_true):
        return np.mean((y_true - y_pred) ** 2, axis=-1)
    def backward(self, dvalues, y_true):
        self.dinputs = 2 * (dvalues - y_true) / dvalues.size
class Optimizer_SGD:
    def __init__(self, learning_rate=1.0, decay=0.0, momentum=0.0):
        self.learning_rate, self.decay, self.momentum = learning_rate, decay, momentum
        self.rate, self.steps = learning_rate, 0
    def pre_update_params(self):
        self.rate = self.learning_rate / (1 + self.decay * self.steps)
    def update_params(self, layer):
        for name in ("weights", "biases"):
            before = getattr(layer, "moved_" + name, 0)
            moved = self.momentum * before - self.rate * getattr(layer, "d" + name)
            setattr(layer, "moved_" + name, moved)
            setattr(layer, name, getattr(layer, name) + moved)
    def post_update_params(self):
        self.steps += 1
"""
}

#: A backward that is given the input again; gradients that are asked for, and are not there yet.
GIVEN_AGAIN = {
    "given.py": """
import numpy as np
class Module:
    def parameters(self):
        return []
    def grad_parameters(self):
        return []
class Sequential(Module):
    def __init__(self, *layers):
        self.layers = layers
    def forward(self, input):
        self.taken = []
        for layer in self.layers:
            self.taken.append(input)
            input = layer.forward(input)
        return input
    def backward(self, input, grad_output):
        for layer, taken in zip(self.layers[::-1], self.taken[::-1]):
            grad_output = layer.backward(taken, grad_output)
        return grad_output
    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]
    def grad_parameters(self):
        return [g for layer in self.layers for g in layer.grad_parameters()]
class Linear(Module):
    def __init__(self, dim_in, dim_out):
        self.W, self.b = np.zeros((dim_in, dim_out)), np.zeros(dim_out)
    def forward(self, input):
        return input @ self.W + self.b
    def backward(self, input, grad_output):
        self.grad_W, self.grad_b = input.T @ grad_output, grad_output.sum(0)
        return grad_output @ self.W.T
    def parameters(self):
        return [self.W, self.b]
    def grad_parameters(self):
        return [self.grad_W, self.grad_b]
class Tanh(Module):
    def forward(self, input):
        return np.tanh(input)
    def backward(self, input, grad_output):
        return grad_output * (1 - np.tanh(input) ** 2)
class CrossEntropy:
    def forward(self, input, target):
        e = np.exp(input - input.max(1, keepdims=True))
        shifted = input - input.max(1, keepdims=True)
        self.p = e / e.sum(1, keepdims=True)
        return np.sum(target * (np.log(e.sum(1, keepdims=True)) - shifted)) / input.shape[0]
    def backward(self, input, target):
        return (self.p * target.sum(1, keepdims=True) - target) / input.shape[0]
class Momentum:
    def __init__(self, params, lr=1e-3, momentum=0.0):
        self.lr, self.momentum = lr, momentum
        self.moved = [np.zeros_like(p) for p in params]
    def step(self, parameters, gradients):
        for moved, p, g in zip(self.moved, parameters, gradients):
            moved *= self.momentum
            moved += g
            p -= self.lr * moved
"""
}

#: Activations that know their derivative alone, one of them called Linear, and a Dense that
#: learns of its inputs later.
DERIVATIVES = {
    "pkg/__init__.py": "",
    "pkg/sequential.py": """
class Sequential:
    def __init__(self):
        self.layers = []
    def add(self, layer):
        self.layers.append(layer)
    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x
""",
    "pkg/activations.py": """
import numpy as np
class Activation:
    def forward(self, z):
        raise NotImplementedError
class Sigmoid(Activation):
    def forward(self, z):
        return 1 / (1 + np.exp(-z))
    def gradient(self, z):
        return self.forward(z) * (1 - self.forward(z))
class Linear(Activation):
    def forward(self, z):
        return z
    def gradient(self, z):
        return np.ones_like(z)
""",
    "pkg/dense.py": """
import numpy as np
class Dense:
    def __init__(self, units, activation=None):
        self.units = units
    def build(self, n):
        self.W, self.b = np.zeros((n, self.units)), np.zeros((1, self.units))
    @property
    def params(self):
        return [(self.W, self.dW, "W"), (self.b, self.db, "b")]
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
    def backward(self, d):
        self.dW, self.db = self.x.T @ d, d.sum(0, keepdims=True)
        return d @ self.W.T
""",
    "pkg/sgd.py": """
class SGD:
    def __init__(self, learning_rate=0.1):
        self.lr = learning_rate
    def update(self, layers):
        for layer in layers:
            for p, g, _ in layer.params:
                p -= self.lr * g
""",
}

#: What an activation has of its base, and a step that goes over layers.
INHERITED = {
    "inherited.py": """
import numpy as np
class Layer:
    def forward(self, x):
        raise NotImplementedError
class Dense(Layer):
    def __init__(self, n_in, n_out):
        self.W, self.b = np.zeros((n_in, n_out)), np.zeros((1, n_out))
    def forward(self, x):
        self.x = x
        return x @ self.W + self.b
    def backward(self, dy, rate):
        dx = dy @ self.W.T
        self.dW, self.db = self.x.T @ dy, dy.sum(0, keepdims=True)
        self.W -= rate * self.dW
        self.b -= rate * self.db
        return dx
class Elementwise(Layer):
    def __init__(self, f, derivative):
        self.f, self.df = f, derivative
    def forward(self, x):
        self.x = x
        return self.f(x)
    def backward(self, dy, rate):
        return dy * self.df(self.x)
class Tanh(Elementwise):
    def __init__(self):
        super().__init__(np.tanh, lambda x: 1 - np.tanh(x) ** 2)
class SGD:
    def __init__(self, params, lr=0.1):
        self.params, self.lr = params, lr
    def step(self):
        for layer in self.params:
            layer.W -= self.lr * layer.dW
            layer.b -= self.lr * layer.db
"""
}

OBJECTS = {
    "objects.py": """
import numpy as np
class Parameter:
    def __init__(self, data):
        self.data, self.grad = data, np.zeros_like(data)
class Linear:
    def __init__(self, n_in, n_out):
        self.w, self.b = Parameter(np.zeros((n_out, n_in))), Parameter(np.zeros(n_out))
    def parameters(self):
        return [self.w, self.b]
    def forward(self, x):
        self.x = x
        return x @ self.w.data.T + self.b.data
    def backward(self, dy):
        self.w.grad, self.b.grad = dy.T @ self.x, dy.sum(0)
        return dy @ self.w.data
"""
}


@pytest.mark.parametrize(
    ("files", "given", "classes"),
    [
        (PACKAGE, "lib/mine", "Linear Tanh L1Loss SGD network"),
        (NAMED_AS_TORCHS, "nn.py", "Linear CrossEntropyLoss network"),
        (FUNCTIONS, "cs.py", "Linear ReLU"),
        (OF_THE_STANDARD_LIBRARY, "random.py", "Linear Sigmoid"),
        (LOOSE, "loose", "Tanh"),
        (TWO_LISTS, "lists.py", "Linear Embedding Dropout MSELoss SGD network"),
        (LEFT_BEHIND, "left.py", "Linear ReLU MSELoss SGD network"),
        (GIVEN_AGAIN, "given.py", "Linear Tanh CrossEntropyLoss SGD network"),
        (DERIVATIVES, "pkg", "Linear Sigmoid SGD"),
        (INHERITED, "inherited.py", "Linear Tanh SGD"),
        (OBJECTS, "objects.py", "Linear"),
    ],
    ids=[
        "package",
        "nn.py",
        "functions",
        "random.py",
        "loose",
        "two lists",
        "left behind",
        "given again",
        "derivatives",
        "inherited",
        "objects",
    ],
)
def test_a_framework_runs_as_its_skeleton_is_written(
    files: dict[str, str], given: str, classes: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "lib" / "__init__.py").unlink(missing_ok=True)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", given, "-o", "adapter.py"]) == cli.PASSED
    assert "does not run yet" not in capsys.readouterr().out
    code = cli.main(["check", "adapter.py", "--quick", "--only", "*float*"])
    out = capsys.readouterr().out
    assert code == cli.PASSED, Path("adapter.py").read_text() + out
    rows = {line.split()[0].split("-")[0] for line in out.splitlines() if " passed " in line}
    assert set(classes.split()) <= rows


def test_it_can_be_left_at_the_writing(tmp_path: Path) -> None:
    (tmp_path / "fw.py").write_text("open('imported', 'w')\n" + FUNCTIONS["cs.py"])
    done = warm.python(["-m", "parity", "new", "fw.py", "--no-import"], cwd=tmp_path)
    assert done.returncode == cli.PASSED, done.stderr
    assert not (tmp_path / "imported").exists()
    assert "subject = parity.Subject(" in (tmp_path / "parity_adapter.py").read_text()


def test_what_still_does_not_run_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fw.py").write_text(LOOSE["loose/activations.py"].replace(".util", "no_such_thing"))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "fw.py"]) == cli.PASSED
    out = capsys.readouterr().out
    assert "it does not run yet: " in out
    assert "No module named 'no_such_thing'" in out


def test_what_does_not_parse_is_left_out_and_named(tmp_path: Path) -> None:
    for name, text in LOOSE.items():
        (tmp_path / Path(name).name).write_text(text.replace("from .util", "from util"))
    (tmp_path / "wrong.py").write_text("class Tanh(:\n")
    text = skeleton(str(tmp_path), tmp_path)
    assert "wrong.py does not parse" in text
    assert "nn.Tanh: activations.TanhLayer," in text


@pytest.mark.parametrize(
    ("own", "torchs"),
    [
        ("Dense", "Linear"), ("FullyConnectedLayer", "Linear"), ("Layer_Dense", "Linear"),
        ("Activation_ReLU", "ReLU"), ("ReLULayer", "ReLU"), ("Loss_MSE", "MSELoss"),
        ("MeanSquaredError", "MSELoss"), ("MAE", "L1Loss"),
        ("LossCrossEntropy", "CrossEntropyLoss"),
        ("SoftmaxCrossEntropyLoss", "CrossEntropyLoss"), ("BinaryCrossEntropy", "BCELoss"),
        ("AdamOptimizer", "Adam"), ("Optimizer_SGD", "SGD"), ("GradientDescent", "SGD"),
        ("Layer", None), ("Optimizer", None), ("Trainer", None), ("DataLoader", None),
    ],
)  # fmt: skip
def test_names_that_frameworks_use(own: str, torchs: str | None) -> None:
    assert torch_name(own) == torchs


RECURRENT = """
import numpy as np


class LSTM:
    def __init__(self, n_in, n_hidden):
        pass

    def forward(self, x, h_prev, c_prev):
        return h_prev, c_prev

    def backward(self, dh, dc):
        return dh, dh, dc


class TimeLSTM(LSTM):
    def forward(self, xs):
        for x in xs:
            pass
        return xs


class MultiHeadSelfAttention:
    def __init__(self, d_model, n_heads):
        pass

    def forward(self, x):
        return x

    def backward(self, dy):
        return dy


class RotaryEmbedding:
    def forward(self, x):
        return x

    def backward(self, dy):
        return dy
"""


def test_recurrent_layers_and_attention_are_known_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "layers.py").write_text(RECURRENT)
    text = skeleton(str(tmp_path / "layers.py"), tmp_path)
    for row in (
        "nn.LSTMCell: layers.LSTM,", "nn.LSTM: layers.TimeLSTM,",
        "nn.MultiheadAttention: layers.MultiHeadSelfAttention,",
        "parity.RoPE: layers.RotaryEmbedding,",
    ):  # fmt: skip
        assert row in text
    assert "forward=" not in text, "a state is no flag"


def test_functions_of_recurrence_are_ready_to_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = (Path(__file__).parent / "subjects" / "recurrent_styles.py").read_text()
    functions = own.partition("\nclass GRUCell")[0].replace(
        "from tests.subjects.layers_by_loops import Array, filled", "Array = np.ndarray"
    )
    (tmp_path / "rnn_layers.py").write_text(functions)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "rnn_layers.py"]) == cli.PASSED
    assert 'found by trying it: biases="one", gates="ifog"' in capsys.readouterr().out
    report = parity.check("parity_adapter.py", quick=True)
    assert report.passed, report.findings
    assert {one.cls for one in report.outcomes} == {"RNNCell", "RNN", "LSTMCell", "LSTM"}


def test_what_cannot_be_built_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "norm.py").write_text(
        "import numpy as np\n"
        "class BatchNorm1D:\n"
        "    def forward(self, x, mean, var):\n        return (x - mean) / var\n"
        "    def backward(self, dy):\n        return dy\n"
        "class Linear:\n"
        "    def forward(self, x):\n        return x\n"
        "    def backward(self, dy):\n        return dy\n"
        "class ReLU:\n"
        "    def forward(self, x):\n        return x\n"
        "    def backward(self, dy):\n        return dy\n"
    )
    text = skeleton(str(tmp_path / "norm.py"), tmp_path)
    assert "# norm.BatchNorm1D: which torch class?" in text
    assert "nn.ReLU: norm.ReLU," in text
    assert "nn.Linear" not in text, "the identity, which takes no widths"


def test_a_backward_that_is_given_no_input_is_not_taken_for_a_derivative(tmp_path: Path) -> None:
    """One that has kept its input, or is handed a gradient, is judged as it is."""
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "class Tanh:\n"
        "    def forward(self, x):\n        self.x = x\n        return np.tanh(x)\n"
        "    def backward(self, x):\n        return x * (1 - np.tanh(self.x) ** 2)\n"
        "class Sigmoid:\n"
        "    def forward(self, x):\n        return 1 / (1 + np.exp(-x))\n"
        "    def backward(self, dy):\n        return dy * (1 - dy)\n"
    )
    assert "layer.given" not in skeleton(str(tmp_path / "own.py"), tmp_path)


def test_what_is_not_taken_up_is_listed(tmp_path: Path) -> None:
    """Beside classes: functions that need no parameters are taken up, and others are named."""
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "class Linear:\n"
        "    def __init__(self, n_in, n_out):\n        self.W = np.ones((n_in, n_out))\n"
        "    def forward(self, x):\n        self.x = x\n        return x @ self.W\n"
        "    def backward(self, dy):\n        return dy @ self.W.T\n"
        "class Lion:\n"
        "    def __init__(self, params, lr):\n        self.params, self.lr = params, lr\n"
        "    def step(self):\n        pass\n"
        "class Trainer:\n"
        "    def __init__(self, model):\n        self.model = model\n"
        "    def step(self):\n        pass\n"
        "class TSE:\n"
        "    def loss(self, p, t):\n        return ((p - t) ** 2).sum()\n"
        "    def grad(self, p, t):\n        return 2 * (p - t)\n"
        "class Gate:\n"
        "    def feedforward(self, x):\n        return x\n"
        "    def backprop(self, dy):\n        return dy\n"
        "def relu_forward(x):\n    return np.maximum(x, 0), x\n"
        "def relu_backward(dy, cache):\n    return dy * (cache > 0)\n"
        "def linear_forward(x, w, b):\n    return x @ w + b, (x, w)\n"
        "def linear_backward(dy, cache):\n    return dy @ cache[1].T, cache[0].T @ dy, dy.sum(0)\n"
        "def conv_forward(x, w, b, conv_param):\n    return x, (x, w, conv_param['stride'])\n"
        "def conv_backward(dy, cache):\n    return dy, cache, dy\n"
    )
    text = skeleton(str(tmp_path / "own.py"), tmp_path)
    assert "own.relu_forward, own.relu_backward," in text
    for row in ("own.Lion: which torch class?", "own.Gate: which torch class?",
                "own.TSE: which torch class?",
                "own.conv_forward: not taken up"):  # fmt: skip
        assert f"# {row}" in text
    assert "Trainer" not in text
    assert "linear_forward" not in text, "there is a class"


MIXED = """
import numpy as np

class Layer:
    def parameters(self):
        return 0

class Dense(Layer):
    def __init__(self, n_in, n_out):
        self.W, self.b = np.zeros((n_in, n_out)), np.zeros(n_out)
        self.dW, self.db = np.zeros((n_in, n_out)), np.zeros(n_out)
    def parameters(self):
        return self.W.size + self.b.size
    def forward_pass(self, X, training=True):
        self.X = X
        return X @ self.W + self.b
    def backward_pass(self, grad):
        self.dW, self.db = self.X.T @ grad, grad.sum(0)
        return grad @ self.W.T

class TanH:
    def __call__(self, x):
        return np.tanh(x)
    def gradient(self, x):
        return 1 - np.tanh(x) ** 2
"""


def test_layers_that_are_called_in_two_ways_and_count_their_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deep.py").write_text(MIXED)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "deep.py"]) == cli.PASSED
    text = (tmp_path / "parity_adapter.py").read_text()
    assert "        return layer(x)\n" in text
    report = parity.check("parity_adapter.py", quick=True)
    assert report.passed, report.findings
    assert {one.cls for one in report.outcomes} == {"Linear", "Tanh"}


def test_gradients_are_paired_by_their_keys_and_a_penalty_is_no_accumulation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keyed.py").write_text(
        "import numpy as np\n"
        "class Linear:\n"
        "    def __init__(self, n_in, n_out):\n"
        "        self.params, self.grads = {}, {}\n"
        "        self.params['w'] = np.zeros((n_in, n_out))\n"
        "        self.params['b'] = np.zeros(n_out)\n"
        "    def forward(self, inputs):\n"
        "        self.inputs = inputs\n"
        "        return inputs @ self.params['w'] + self.params['b']\n"
        "    def backward(self, grad):\n"
        "        self.grads['b'] = np.sum(grad, axis=0)\n"
        "        self.grads['w'] = self.inputs.T @ grad\n"
        "        self.grads['w'] += 0 * self.params['w']\n"
        "        return grad @ self.params['w'].T\n"
    )
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "keyed.py"]) == cli.PASSED
    assert 'gradients="overwritten"' in (tmp_path / "parity_adapter.py").read_text()
    report = parity.check("parity_adapter.py", quick=True)
    assert report.passed, report.findings


OTHER_NAMES = """
import numpy as np

class Dense:
    def __init__(self, units, use_bias=True):
        self.units, self.use_bias = units, use_bias
    def build(self, input_shape):
        self.W = np.zeros((input_shape[-1], self.units))
        self.b = np.zeros(self.units) if self.use_bias else None
        self.dW, self.db = np.zeros_like(self.W), None
    def forward(self, x):
        self.x = x
        return x @ self.W + (self.b if self.use_bias else 0)
    def backward(self, grad):
        self.dW = self.x.T @ grad
        self.db = grad.sum(0) if self.use_bias else None
        return grad @ self.W.T

class Dropout:
    def __init__(self, keep_prob):
        self.keep, self.training = keep_prob, True
    def forward(self, x):
        if not self.training:
            self.mask = np.ones(x.shape)
        elif self.keep:
            self.mask = (np.random.rand(*x.shape) < self.keep) / self.keep
        else:
            self.mask = np.zeros(x.shape)
        return x * self.mask
    def backward(self, grad):
        return grad * self.mask

class LeakyReLU:
    def __init__(self, alpha=0.01):
        self.alpha = alpha
    def forward(self, x):
        self.slope = np.where(x > 0, 1, self.alpha)
        return np.where(np.isnan(x), x, x * self.slope)
    def backward(self, grad):
        return grad * self.slope

class Adam:
    def __init__(self, params, lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.params, self.lr, self.betas, self.epsilon = params, lr, (beta1, beta2), epsilon
        self.m = [0 * p for p, _ in params]
        self.v = [0 * p for p, _ in params]
        self.t = 0
    def step(self):
        self.t += 1
        b1, b2 = self.betas
        for i, (p, g) in enumerate(self.params):
            self.m[i] = b1 * self.m[i] + (1 - b1) * g
            self.v[i] = b2 * self.v[i] + (1 - b2) * g * g
            m, v = self.m[i] / (1 - b1**self.t), self.v[i] / (1 - b2**self.t)
            p -= self.lr * m / (np.sqrt(v) + self.epsilon)
"""


def test_options_are_known_by_the_names_that_others_give_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named.py").write_text(OTHER_NAMES)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["new", "named.py"]) == cli.PASSED
    text = (tmp_path / "parity_adapter.py").read_text()
    assert "nn.Dropout: lambda p: named.Dropout(1 - p)," in text
    assert "layer.build((n_in,))" in text
    report = parity.check("parity_adapter.py", quick=True)
    assert report.passed, report.findings
    cases = {one.case for one in report.outcomes}
    assert {"LeakyReLU-slope=0.3", "Adam-betas=(0.5,0.9)", "Adam-eps=0.01"} <= cases
