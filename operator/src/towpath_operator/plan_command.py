"""The command `towpath plan`: what the operator would do for some manifests. It writes nothing.

Exit codes: 0 told, 1 the cluster refuses or something would change and --exit-code was given, 2 a
wrong option or manifest, 5 the cluster cannot be reached.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Final

import click

WOULD_CHANGE: Final = 1
REFUSED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 5

HELP: Final = """Print what the operator would change for some manifests, and write nothing.

The cluster checks the manifests as if they were applied. Then the operator's own reconcile runs here
over what the cluster and its databases hold, and what it would write is printed: in the cluster and
in Postgres. It takes rights to read the objects, their children and the databases' Secrets, and a way
to the databases; without those, apply the manifest with the annotation towpath.dev/plan-only: "true",
and read status.plan.

\b
towpath plan --filename queue.yaml
kustomize build . | towpath plan --filename - --exit-code
"""
EPILOG: Final = """\b
Exit codes: 0 told; 1 the cluster refuses a manifest, or something would change
and --exit-code was given; 2 a wrong option or manifest; 5 no cluster.
"""


@click.command(help=HELP, epilog=EPILOG, short_help="Print what the operator would change")
@click.option(
    *("-f", "--filename", "filenames"),
    multiple=True,
    required=True,
    metavar="FILE|DIR|-",
    help="Manifests of Queues, WorkerPools and QueueDatabases",
)
@click.option("--kubeconfig", metavar="FILE", help="The kubeconfig; as kubectl's unless given")
@click.option("--context", metavar="NAME", help="The context of the kubeconfig")
@click.option("-n", "--namespace", metavar="NAME", help="Where manifests go that name none")
@click.option(
    "--operator-namespace",
    metavar="NAME",
    default="towpath-system",
    help="Where the operator runs  [towpath-system]",
)
@click.option(
    *("-o", "--output"),
    type=click.Choice(["text", "json"]),
    default="text",
    help="The form of the result  [text]",
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 where something would change")
def plan(
    filenames: tuple[str, ...],
    kubeconfig: str | None,
    context: str | None,
    namespace: str | None,
    operator_namespace: str,
    output: str,
    *,
    exit_code: bool,
) -> None:
    """Ask, print, and exit with the code."""
    # The cluster's client takes a second to load, and --help needs none of it.
    from towpath_operator.local.manifests import ManifestsError  # noqa: PLC0415
    from towpath_operator.ports.cluster import ClusterError  # noqa: PLC0415
    from towpath_operator.what_if.page import to_data, to_text  # noqa: PLC0415
    from towpath_operator.what_if.session import Options, forecast  # noqa: PLC0415

    options = Options(
        sources=filenames,
        kubeconfig=None if kubeconfig is None else Path(kubeconfig),
        context=context,
        namespace=namespace,
        operator_namespace=operator_namespace,
    )
    try:
        found = asyncio.run(forecast(options))
    except ManifestsError as error:
        click.echo("\n".join(f"error: {line}" for line in error.problems), err=True)
        sys.exit(USAGE)
    except ClusterError as error:
        click.echo(f"error: {error.message}", err=True)
        sys.exit(REFUSED if error.status else UNREACHABLE)
    if output == "json":
        click.echo(json.dumps(to_data(found), default=str, ensure_ascii=False, indent=2))
    else:
        click.echo(to_text(found))
        click.echo("Nothing was written.", err=True)
    sys.exit(WOULD_CHANGE if exit_code and found.changes else 0)
