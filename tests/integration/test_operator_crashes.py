"""The operator is killed after each single write of whole lives and started again: always the same end.

Each life has an operator and a namespace of its own; several are lived at once. Left out are the first writes of the
shorter lives, which are the same as those of the longest; FINETUNE_CRASH_POINTS=all includes them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from kubernetes import client

from tests.builders.manifests import claims
from tests.cluster.control_plane import ControlPlane
from tests.cluster.errors import ClusterError
from tests.cluster.fixtures import applier, fresh_namespace
from tests.cluster.pods import PodPlayer
from tests.integration.counting_proxy import CountingProxy
from tests.integration.jobs import Jobs
from tests.integration.lives import EVERYTHING, STORIES, Life, Story, jobs_made
from tests.integration.operator_process import OperatorProcess
from tests.integration.view import View
from tests.integration.warm_operators import WarmOperators

AT_ONCE = 8
Point = tuple[str, int]
"""A write in words, and which of those that read so."""
NEVER: Point = ("", 0)


@dataclass
class World:
    """What all lives share."""

    api: client.ApiClient
    control_plane: ControlPlane
    account: Path
    warm: WarmOperators
    directory: Path

    def __post_init__(self) -> None:
        self.view = View(self.api)
        self._apply = applier(self.api, "default")

    def jobs(self, namespace: str) -> Jobs:
        apply = partial(self._apply, namespace=namespace)
        apply(claims())
        return Jobs(self.api, namespace, apply)


@pytest.fixture
def world(
    api: client.ApiClient,
    control_plane: ControlPlane,
    operator_account: Path,
    warm_operators: WarmOperators,
    tmp_path: Path,
) -> World:
    return World(api, control_plane, operator_account, warm_operators, tmp_path)


@dataclass
class Lived:
    """A life that was lived to its end."""

    story: Story
    kill: Point
    namespace: str
    life: Life
    writes: list[str]
    killed: bool

    @property
    def point(self) -> str:
        write, time = self.kill
        return f"{self.story.name}, " + (f"killed after {write} (no. {time})" if self.killed else "never killed")


def live(world: World, story: Story, kill: Point = NEVER) -> Lived:
    """Lives a story under an operator that is killed after one of its writes, and started whenever it is dead."""
    proxy = CountingProxy(world.control_plane.url, world.control_plane.ca_file)
    with fresh_namespace(world.api) as namespace, proxy.running(), PodPlayer(world.api, namespace) as pods:
        log = world.directory / f"{namespace}.log"
        operator = OperatorProcess(proxy.kubeconfig(world.account), namespace, log, warm=world.warm)

        def tend() -> None:
            if not operator.alive:
                operator.start()

        proxy.strike(*kill, lambda: os.kill(operator.pid, signal.SIGKILL))
        life = Life(story.name, world.jobs(namespace), pods, world.view, tend)
        try:
            tend()
            story.live(life)
        except ClusterError as error:
            raise AssertionError(f"{story.name}, killed after {kill}: {error}\n{operator.tail()}") from None
        finally:
            operator.kill()
        return Lived(story, kill, namespace, life, proxy.writes, proxy.struck)


def points(undisturbed: Lived) -> list[Point]:
    """The writes of a life that are worth a kill."""
    writes = undisturbed.writes
    all_points = [(write, writes[: number + 1].count(write)) for number, write in enumerate(writes)]
    if undisturbed.story is EVERYTHING or os.environ.get("FINETUNE_CRASH_POINTS") == "all":
        return all_points
    return all_points[next(number for number, write in enumerate(writes) if write.endswith("Running")) :]


def at_once(lives: list[Callable[[], Lived]]) -> list[Lived]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [future.result() for future in [pool.submit(life) for life in lives]]


def test_the_end_is_the_same_wherever_the_operator_is_killed(world: World) -> None:
    undisturbed = at_once([partial(live, world, story) for story in STORIES])
    killed = at_once([partial(live, world, one.story, point) for one in undisturbed for point in points(one)])

    made = jobs_made(world.control_plane)
    for lived in [*undisturbed, *killed]:
        print(lived.point)
        lived.story.check(lived.life, made[lived.namespace], lived.point)
    for one in undisturbed:
        swept = {lived.kill[0] for lived in killed if lived.story is one.story and lived.killed}
        left_out = {write for write, _ in points(one)} - swept
        # An event may follow the end; a status without a phase, and Pending, say what is waited for if that takes long.
        of_waiting = ("/status", "/status Pending")
        assert not {write for write in left_out if not (write.startswith("POST events") or write.endswith(of_waiting))}
