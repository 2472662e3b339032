"""`cs231n` as parity checks it: functions, and the course's conventions by name."""

import cs231n as own
import torch
from torch import nn

from parity import Subject, functions

PAIR = ("weight", "bias")
subject = Subject({
    nn.Linear: functions(own.affine_forward, own.affine_backward, parameters=PAIR),
    nn.ReLU: functions(own.relu_forward, own.relu_backward),
    nn.Conv2d: functions(own.conv_forward, own.conv_backward, parameters=PAIR,
                         options=lambda stride=1, padding=0: {"stride": stride, "pad": padding}),
    nn.BatchNorm1d: functions(
        own.batchnorm_forward, own.batchnorm_backward, parameters=PAIR,
        options=lambda eps=1e-5, momentum=0.1: {
            "mode": "train", "eps": eps, "momentum": 1 - momentum}),
    nn.Dropout: functions(own.dropout_forward, own.dropout_backward,
                          options=lambda p: {"mode": "train", "p": 1 - p}),
    nn.CrossEntropyLoss: functions(own.softmax_loss),
    torch.optim.SGD: functions(own.sgd_momentum, options=lambda lr, momentum=0: {
        "learning_rate": lr, "momentum": momentum}),
}, conventions="cs231n")  # fmt: skip
