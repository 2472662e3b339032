"""A deep-learning framework written by hand on tensor operations: no autograd, no torch.nn."""

from scratch import data, models, runs, train
from scratch.activations import (
    ELU,
    SELU,
    LeakyReLU,
    LogSoftmax,
    PReLU,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from scratch.convolution import Conv1d, Conv2d, ConvTranspose2d
from scratch.dropout import Dropout
from scratch.embedding import Embedding
from scratch.flatten import Flatten
from scratch.linear import Linear
from scratch.losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, Loss, MSELoss
from scratch.module import Module
from scratch.normalization import BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm, RMSNorm
from scratch.optim import SGD, Adam, AdamW
from scratch.optimizer import Optimizer
from scratch.philox import Draws, Philox
from scratch.pooling import AvgPool2d, MaxPool2d
from scratch.sequential import Sequential
from scratch.train import fit
from scratch.upsampling import Upsample

__all__ = [
    "ELU",
    "SELU",
    "SGD",
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
    "PReLU",
    "Philox",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Upsample",
    "data",
    "fit",
    "models",
    "runs",
    "train",
]
