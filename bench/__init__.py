"""The benchmarks: layers, training steps, and the reports' table, scratch beside torch."""
