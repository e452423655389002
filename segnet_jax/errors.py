"""The one exception that means "the input is at fault, not the program"."""


class InputError(Exception):
    """A fault in a file, a config key or a value that the user gave.

    The message is one sentence that names the file, key or value and says how to put it right; `main` prints it
    without a traceback.
    """
