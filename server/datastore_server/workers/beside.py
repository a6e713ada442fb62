"""What distinguishes a server that is a reader from one that is alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datastore_server.auth.gate import Gate
from datastore_server.call import ServedMethod
from datastore_server.calls import CallLog
from datastore_server.config import Address
from datastore_server.maintenance.service import MAINTENANCE, maintenance_limit
from datastore_server.placement.service import PLACEMENT, placement_limit
from datastore_server.rpc import admin_methods
from datastore_server.workers.node import FollowedNode
from datastore_server.workers.passing import WriterLink

__all__ = ["Beside"]


@dataclass(frozen=True)
class Beside:
    """The number of a reader, the node that it follows, its writer, and the addresses that it shares with others."""

    number: int
    node: FollowedNode
    writer: WriterLink
    addresses: Sequence[Address]

    def admin_methods(self, calls: CallLog, gate: Gate | None) -> list[ServedMethod]:
        """The services for operators, which the writer answers; the reader decides who may call them."""
        limits = {PLACEMENT: placement_limit, MAINTENANCE: maintenance_limit}
        return [
            method
            for service, limit_of in limits.items()
            for method in admin_methods(service, self.writer.service(service), limit_of, calls=calls, gate=gate)
        ]
