"""What to say where a part is used whose packages were not installed with it."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["require"]


def require(package: str, extra: str) -> None:
    """Raise ImportError, with the command that helps, unless `package` is installed. It is not imported."""
    found = find_spec(package)
    # A folder of that name that happens to lie on the path is no package.
    if found is None or found.origin is None:
        raise ImportError(f"this needs {package}, which is not installed: pip install 'datastore-grpc[{extra}]'")
