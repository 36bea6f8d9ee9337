"""The one exception a person is meant to read."""


class PfsrError(Exception):
    """Bad input, told on one line: what is wrong, where, and how to mend it.

    The command line prints the message without a traceback and exits with status 1;
    the Python API raises it. Bugs raise anything else.
    """


class NotFiniteError(PfsrError):
    """A model's scores are not finite: its weights are damaged, or its training has diverged."""
