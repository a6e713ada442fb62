"""The server: the service of nodes and proxies, and the command `datastore`."""

from __future__ import annotations

from datastore.core.util.extras import require

require("click", "server")
