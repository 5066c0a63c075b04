class InputError(ValueError):
    """Your input is wrong, as opposed to a bug: one sentence on what was wrong, what was expected, what to run next."""
