"""`parity demo`: a small framework with a mistake, and what parity says of it."""
