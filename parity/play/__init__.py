"""Calls the subject: takes a `Case`, and gives the subject's own object, driven by torch tensors.

`session` plays it in this process; `remote` starts a process for it, which runs `worker`.
"""
