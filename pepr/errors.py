"""The errors that a user can act on; the command line turns them into one line and an exit status."""


class InputError(ValueError):
    """Input that cannot be used. The message names the file, the row and the column where it can.

    Exit status 2.
    """


class NothingToAnalyse(InputError):
    """A study without one run that ended well."""


class DataUnavailable(RuntimeError):
    """A dataset that is neither at hand nor downloadable here. The message says how to supply it."""


class ModelUnavailable(RuntimeError):
    """Pretrained weights that are neither at hand nor downloadable here."""


class OutOfMemory(RuntimeError):
    """The device has no room for the run. The message says which batch size would have found some."""


class Diverged(RuntimeError):
    """Training stopped learning: the loss is no longer a finite number."""


class MeterError(RuntimeError):
    """The energy meter returned nothing, or zero, for a window in which work was done."""


class WorkFailed(RuntimeError):
    """A step of the study's own machinery failed: the workflow, a notebook, the book. Exit status 1."""
