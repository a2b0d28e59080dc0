"""The command `towpath crds`: prints the CRDs of this version, to install or upgrade them by kubectl."""

from __future__ import annotations

import click

HELP = """Print the CustomResourceDefinitions of this version as YAML.

Helm installs them with the chart and never touches them again: upgrade them before the chart. Fields
are only ever added, so this may be run at any time.

\b
towpath crds | kubectl apply --server-side --force-conflicts -f -
"""


@click.command(help=HELP, short_help="Print the CRDs, to install or upgrade them")
def crds() -> None:
    """Print what `crds/` of the repository has."""
    from towpath_operator.crdgen import definition_texts  # noqa: PLC0415 - loads the models

    click.echo("---\n".join(definition_texts().values()), nl=False)
