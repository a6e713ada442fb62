"""The error of a part whose packages were not installed with it."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["require"]


def require(package: str, extra: str) -> None:
    """Raise ImportError, with the command that helps, unless `package` is installed. It is not imported.

    The distribution is not on a package index: it is installed from a checkout.
    """
    found = find_spec(package)
    # A folder of that name on the path is not a package.
    if found is None or found.origin is None:
        raise ImportError(f"this needs {package}, which is not installed; in the checkout: pip install '.[{extra}]'")
