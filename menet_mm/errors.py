"""The error that means "your input is wrong", as opposed to a bug."""


class InputError(ValueError):
    """Something the user wrote or supplied cannot be used.

    The message is one sentence for the person at the keyboard: what was wrong, what was expected, what to run next. The
    command-line tools print it without a traceback and exit with status 1.
    """
