"""A framework as a student writes it. One of its derivatives is wrong: it trains all the same."""

import torch


class Linear:
    def __init__(self, inputs, outputs, bias=True):
        self.w = torch.randn(outputs, inputs) / inputs**0.5
        self.dw = torch.zeros_like(self.w)
        self.b = torch.zeros(outputs) if bias else None
        self.db = torch.zeros(outputs)

    def forward(self, x):
        self.x = x
        return x @ self.w.T + (0 if self.b is None else self.b)

    def backward(self, dy):
        self.dw += dy.T @ self.x
        self.db += dy.sum(0)
        return dy @ self.w

    def param(self):
        return [(self.w, self.dw)] + ([] if self.b is None else [(self.b, self.db)])


class Tanh:
    def forward(self, x):
        self.y = x.tanh()
        return self.y

    def backward(self, dy):
        return dy * (1 - self.y)

    def param(self):
        return []


class MSELoss:
    def forward(self, prediction, target):
        self.off = prediction - target
        return (self.off**2).mean()

    def backward(self):
        return 2 * self.off / self.off.numel()


class Sequential:
    def __init__(self, *layers):
        self.layers = layers

    def forward(self, x):
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy):
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def param(self):
        return [pair for layer in self.layers for pair in layer.param()]


class SGD:
    def __init__(self, parameters, lr):
        self.parameters, self.lr = parameters, lr

    def step(self):
        for parameter, gradient in self.parameters:
            parameter -= self.lr * gradient

    def zero_grad(self):
        for _, gradient in self.parameters:
            gradient.zero_()
