"""Leftovers: what a run that was killed has left on a cluster."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchcore.config.launch import KubernetesLaunch
from benchcore.errors import TargetError
from benchcore.launch.leftovers import find_leftovers, remove_leftovers


async def remove_run(launch: KubernetesLaunch, base: Path, run_id: str) -> list[str]:
    """Remove what a run has put on a cluster, and return what is still there, a line each.

    Args:
        launch: of its scenario.
        base: the folder of the scenario's file.
        run_id: of the run.

    Raises:
        BenchcoreError: the cluster cannot be reached, or refuses.
    """
    said: list[str] = []
    kubeconfig = None if launch.kubeconfig is None else str(base / launch.kubeconfig)
    find = partial(find_leftovers, kubeconfig=kubeconfig, context=launch.context, run=run_id)
    found = await find()
    if found.unread and not found.objects:
        # Whoever may look into one namespace only has put everything there.
        found = await find(namespace=launch.namespace)
    if found.unread and not found.objects:
        raise TargetError(
            f"whether run {run_id} has left anything cannot be told: {found.unread[0]}"
        )
    if not found.objects:
        return said
    left = await remove_leftovers(
        found.objects,
        kubeconfig=kubeconfig,
        context=launch.context,
        seconds=launch.delete_seconds,
        tell=said.append,
    )
    return [*said, *left]
