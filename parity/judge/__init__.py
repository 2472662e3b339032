"""What is right: takes torch's side and a subject's results, and gives a verdict on each.

`truth` evaluates torch, and how much rounding alone can do; `comparison` is the rule: it decides,
for example, that the gradient of Tanh is wrong.
"""
