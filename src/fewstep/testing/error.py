"""What a piece that breaks a rule raises."""

__all__ = ["ConformanceError", "require"]


class ConformanceError(AssertionError):
    """A piece breaks a rule that the others rely on; the message is the rule."""


def require(holds: bool, rule: str) -> None:
    """Raise ``ConformanceError`` with the rule unless it holds."""
    if not holds:
        raise ConformanceError(f"does not hold: {rule}")
