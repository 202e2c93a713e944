"""Bytes and numbers of things as people read them."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


def format_bytes(count: float) -> str:
    """Returns `count` bytes as short text: "2.1 GiB", "172 MiB", "-12 KiB", "900 bytes".

    Args:
        count: Bytes; negative for a shortfall.

    Example:
        >>> format_bytes(180355072)
        '172 MiB'
    """
    size = abs(count)
    if size >= GIB:
        return f"{count / GIB:,.1f} GiB"
    if size >= MIB:
        return f"{count / MIB:.0f} MiB"
    if size >= KIB:
        return f"{count / KIB:.0f} KiB"
    return f"{count:.0f} bytes"


def counted(count: int, thing: str) -> str:
    """Returns a number of things as people say it: "1 sample", "64 samples".

    Args:
        count: How many.
        thing: What one of them is called.

    Example:
        >>> counted(1, "trial"), counted(0, "trial")
        ('1 trial', '0 trials')
    """
    return f"{count} {thing}{'s' * (count != 1)}"
