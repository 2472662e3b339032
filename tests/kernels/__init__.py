"""Kernels that are right, and the same with bugs that public ones had."""
