"""A deep-learning framework written by hand on tensor operations: no autograd, no torch.nn."""

from scratch import data, models, runs, train
from scratch.activations import (
    ELU,
    SELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from scratch.dropout import Dropout
from scratch.linear import Linear
from scratch.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, Loss, MSELoss
from scratch.module import Module
from scratch.optim import SGD, Adam, AdamW
from scratch.optimizer import Optimizer
from scratch.philox import Draws, Philox
from scratch.sequential import Sequential
from scratch.train import fit

__all__ = [
    "ELU",
    "SELU",
    "SGD",
    "Adam",
    "AdamW",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "Draws",
    "Dropout",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "Module",
    "Optimizer",
    "Philox",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "data",
    "fit",
    "models",
    "runs",
    "train",
]
