"""How a character is made and how blocks meet the model. Opens no database session and prints nothing."""

__all__: list[str] = []
