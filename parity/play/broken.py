"""What a subject did instead of answering, as an exception; and texts of its, made legible."""

LONGEST = 300
"""How many characters of a text that the subject wrote a report quotes."""


def legible(text: str, longest: int = LONGEST) -> str:
    """A subject's text as a terminal and a report may have it: on one line, cut off where it is
    long, and what is not a character escaped."""
    cut = text[:longest] + ("…" if len(text) > longest else "")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


def place(error: BaseException) -> str:
    """Where an exception was raised, as ` (file.py:12)`; "" if it never was."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return ""
    return f" ({legible(last.tb_frame.f_code.co_filename.rpartition('/')[2])}:{last.tb_lineno})"


class Broken(Exception):
    """The subject did not give an answer that can be judged: it raised, hung, crashed.

    Its text is made legible, for most of it comes from the subject.
    """

    innocent = False
    """Whether what came before in the same process, or another process, may have done it."""

    def __init__(self, text: str = "") -> None:
        super().__init__(legible(text, 4 * LONGEST))


class Misfit(Broken):
    """What the subject gave does not fit what the adapter says of it."""


class Setting(Misfit):
    """What the subject gave fits another setting of the adapter's, which the text names."""


class Unoffered(Exception):
    """The subject has no such thing: nothing is wrong, and nothing was checked. The text says what
    it has not, and which setting of the adapter's says how it is done."""


class Stopped(Exception):
    """No further check of the subject can be run; the text says why."""
