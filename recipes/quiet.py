"""Turns off the libraries' own progress bars and advice: what people see is drawn by neekoctl. Knows nothing else."""


def quiet_transformers() -> None:
    """Errors still come through, as exceptions."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
