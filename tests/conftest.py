"""Settings of all tests: how many random examples they run, and what a failure prints."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from datastore_server.app import Server
from tests.support.engines import Engine, engine
from tests.support.patience import be_patient

settings.register_profile(
    "quick",
    max_examples=5,
    # Operations of a model machine in an example.
    stateful_step_count=25,
    # No test fails because it is slow: the machine may be busy.
    deadline=None,
    # A failure shows how to repeat it.
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
# `make test` is quick; continuous integration and `make soak` choose the others.
# Of a model machine that is 5,000 operations.
settings.register_profile("ci", settings.get_profile("quick"), max_examples=100, stateful_step_count=50)
settings.register_profile("soak", settings.get_profile("ci"), max_examples=20_000)
settings.load_profile(os.environ.get("DATASTORE_HYPOTHESIS", "quick"))

#: Whether a skipped test is a failure, as in continuous integration, where everything is installed.
REQUIRE_ALL = os.environ.get("DATASTORE_REQUIRE_ALL") == "1"


#: Tests of the suites that wait for a second: a quick run has them for one store.
WAITING = {"test_an_expiry_is_shown_without_another_write"}
#: Whether to run only what is quick: few examples of random tests, and no test marked `long`.
QUICK = settings.get_current_profile_name() == "quick"
#: The command that leaves nothing out.
LONGER = "DATASTORE_HYPOTHESIS=ci make test"
#: How many long tests a quick run left out, by what only they show.
LEFT_OUT = pytest.StashKey[dict[str, int]]()


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        be_patient(patched)
        patched.setitem(Server.__init__.__kwdefaults__, "transport", os.environ.get("DATASTORE_TRANSPORT", "auto"))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None]:
    """Keep the garbage collector from scanning thousands of tests again and again."""
    gc.disable()
    yield
    gc.collect()
    gc.freeze()
    gc.enable()


def long_mark(item: pytest.Item) -> pytest.Mark | None:
    """The mark `long` of a test, or of one that its class names among the `long_tests` of a suite that it inherits."""
    suite, name = getattr(item, "cls", None), getattr(item, "originalname", "")
    if name in getattr(suite, "long_tests", ()) or (name in WAITING and suite and suite.__name__ != "TestDict"):
        return pytest.mark.long.mark
    return item.get_closest_marker("long")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long tests in a quick run, and count them by what only they show."""
    marks = {item: mark for item in items if QUICK and (mark := long_mark(item))}
    if marks:
        config.hook.pytest_deselected(items=list(marks))
        items[:] = [item for item in items if item not in marks]
    config.stash[LEFT_OUT] = dict(Counter(" ".join(mark.args) for mark in marks.values()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Get the tests that a worker process left out: each worker has collected all tests."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was left out and why, a line for each reason."""
    skipped = Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    left_out = terminalreporter.config.stash.get(LEFT_OUT, {})
    reasons = skipped + Counter({f"time{what and f' ({what})'}: {LONGER}": count for what, count in left_out.items()})
    if reasons:
        terminalreporter.section("tests left out, and what they need")
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count:5}  {reason}")
    if QUICK:
        terminalreporter.write_line(f"Random tests ran a few examples each; more: {LONGER}")
    if skipped and REQUIRE_ALL:
        terminalreporter.write_line("DATASTORE_REQUIRE_ALL is set: to leave out is to fail", red=True)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail if something was skipped and nothing may be; tell the main process what a worker left out."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["left_out"] = session.config.stash[LEFT_OUT]
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if REQUIRE_ALL and reporter and reporter.stats.get("skipped") and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# Servers of other engines, one of each for all tests that do not need a separate one


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine("redis", tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def memcached_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine("memcached", tmp_path_factory.mktemp("memcached")) as server:
        yield server


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine("mongodb", tmp_path_factory.mktemp("mongodb")) as server:
        yield server
