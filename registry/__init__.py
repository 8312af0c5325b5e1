"""What exists: characters, their rank ranges and blocks, and the profiles they came from.
Knows no torch, no transformers and no command line."""

__all__: list[str] = []
