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
from scratch.convolution import Conv2d
from scratch.dropout import Dropout
from scratch.embedding import Embedding
from scratch.flatten import Flatten
from scratch.linear import Linear
from scratch.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, Loss, MSELoss
from scratch.module import Module
from scratch.normalization import BatchNorm1d, BatchNorm2d, LayerNorm, RMSNorm
from scratch.optim import SGD, Adam, AdamW
from scratch.optimizer import Optimizer
from scratch.philox import Draws, Philox
from scratch.pooling import MaxPool2d
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
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CrossEntropyLoss",
    "Draws",
    "Dropout",
    "Embedding",
    "Flatten",
    "L1Loss",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "Optimizer",
    "Philox",
    "RMSNorm",
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
