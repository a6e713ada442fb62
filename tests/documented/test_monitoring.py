"""docs/monitoring.md: the server that it starts has metrics and probes, and its tables are a configuration."""

from __future__ import annotations

import shlex
from pathlib import Path

from datastore_server.server_config import parse_server
from tests.documented.test_docs import MONITORING, blocks
from tests.support.commands import server_process
from tests.support.metrics import metrics, page


async def test_the_metrics_are_where_the_page_says(tmp_path: Path) -> None:
    program, command, store, option, address = shlex.split(blocks(MONITORING, "sh")[0])
    assert (program, command, option, address) == ("datastore", "serve", "--metrics", "127.0.0.1:9420")
    arguments = [command, store.replace("/var/lib", str(tmp_path)), option, "127.0.0.1:0"]
    with server_process(*arguments, "--listen", "127.0.0.1:0") as ready:
        assert (await metrics(ready["metrics_url"])).value("datastore_serving") == 1
        assert (await page(ready["metrics_url"].replace("/metrics", "/readyz"))).status == 200


def test_the_tables_are_a_configuration() -> None:
    text = "\n".join(['[server]\nstore = "memory:"\n', *blocks(MONITORING, "toml")])
    config = parse_server(text, source="server.toml")
    assert (config.metrics.listen, config.log.format, config.log.slow_call_ms) == ("127.0.0.1:9420", "json", 1000)
