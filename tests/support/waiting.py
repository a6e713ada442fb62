"""How long a test waits for what must happen."""

from __future__ import annotations

__all__ = ["PATIENCE_S"]

#: Long enough for a busy machine ten times slower than any of ours: only a test that hangs waits so long.
PATIENCE_S = 300.0
