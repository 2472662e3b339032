"""`wrong_cs231n` as parity checks it."""

import cs231n as own
import wrong_cs231n as wrong
from torch import nn

from parity import Subject, functions

PAIR = ("weight", "bias")
subject = Subject({
    nn.Conv2d: functions(own.conv_forward, wrong.conv_backward, parameters=PAIR,
                         options=lambda stride=1, padding=0: {"stride": stride, "pad": padding}),
    nn.BatchNorm1d: functions(
        own.batchnorm_forward, wrong.batchnorm_backward, parameters=PAIR,
        options=lambda eps=1e-5, momentum=0.1: {
            "mode": "train", "eps": eps, "momentum": 1 - momentum}),
}, conventions="cs231n")  # fmt: skip
