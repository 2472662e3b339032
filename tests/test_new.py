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


@pytest.mark.parametrize(
    ("files", "given", "classes"),
    [
        (PACKAGE, "lib/mine", "Linear Tanh L1Loss SGD network"),
        (NAMED_AS_TORCHS, "nn.py", "Linear CrossEntropyLoss network"),
        (FUNCTIONS, "cs.py", "Linear ReLU"),
        (OF_THE_STANDARD_LIBRARY, "random.py", "Linear Sigmoid"),
        (LOOSE, "loose", "Tanh"),
    ],
    ids=["package", "nn.py", "functions", "random.py", "loose"],
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
