"""What people touch: commands, chat, checks and rendering. Built on recipes and registry."""

__version__ = "0.1.0"
__all__ = ["__version__"]
