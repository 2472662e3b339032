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
from scratch.convolution import Conv1d, Conv2d, ConvTranspose2d
from scratch.dropout import Dropout
from scratch.embedding import Embedding
from scratch.flatten import Flatten
from scratch.linear import Linear
from scratch.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
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
from scratch.sequential import Residual, Sequential
from scratch.train import fit
from scratch.upsampling import Upsample

__all__ = [
    "ELU",
    "GELU",
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
    "GroupNorm",
    "HuberLoss",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "NLLLoss",
    "Optimizer",
    "PReLU",
    "Philox",
    "RMSNorm",
    "RMSprop",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Upsample",
    "data",
    "fit",
    "models",
    "runs",
    "train",
]
