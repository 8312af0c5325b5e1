"""What people see of the libraries: not their progress bars and advice, and the first line of their errors. Knows
nothing else."""


def quiet_transformers() -> None:
    """Errors still come through, as exceptions."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def first_line(error: Exception) -> str:
    """Of what a library says, as part of a sentence of ours."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
