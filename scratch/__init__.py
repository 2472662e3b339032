"""A deep-learning framework written by hand on tensor operations: no autograd, no torch.nn."""

from scratch import data, models, runs, train
from scratch.activations import (
    ELU,
    GELU,
    SELU,
    LeakyReLU,
    LogSoftmax,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from scratch.attention import MultiheadAttention, RoPE, ScaledDotProductAttention
from scratch.convolution import Conv1d, Conv2d, ConvTranspose2d
from scratch.dropout import Dropout
from scratch.embedding import Embedding
from scratch.flatten import Flatten
from scratch.gated import GeGLU, SwiGLU
from scratch.linear import Linear
from scratch.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    KLDivLoss,
    L1Loss,
    Loss,
    MSELoss,
    NLLLoss,
)
from scratch.module import Module
from scratch.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from scratch.optim import SGD, Adagrad, Adam, AdamW, RMSprop
from scratch.optimizer import Optimizer
from scratch.philox import Draws, Philox
from scratch.pooling import AvgPool2d, MaxPool2d
from scratch.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from scratch.sequential import Residual, Sequential
from scratch.train import fit
from scratch.upsampling import Upsample

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "SELU",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Draws",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "GeGLU",
    "GroupNorm",
    "HuberLoss",
    "KLDivLoss",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "MultiheadAttention",
    "NLLLoss",
    "Optimizer",
    "PReLU",
    "Philox",
    "RMSNorm",
    "RMSprop",
    "RNNCell",
    "ReLU",
    "Residual",
    "RoPE",
    "ScaledDotProductAttention",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SwiGLU",
    "Tanh",
    "Upsample",
    "data",
    "fit",
    "models",
    "runs",
    "train",
]
