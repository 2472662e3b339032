"""The networks of `scratch` in torch.nn, autograd and torch.optim: what scratch is held against."""
