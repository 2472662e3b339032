"""What a subject can do instead of answering. Imports nothing, as the process that waits for it."""


class Broken(Exception):
    """What a subject did instead of answering: raised, hung, exited, crashed."""


class Misfit(Broken):
    """What a subject returned, or is, cannot be what its adapter says."""
