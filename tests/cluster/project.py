"""The project's own images: what `make demo-kubernetes` and the end-to-end tests run."""

from tests.cluster.access import Cluster
from tests.cluster.cache import ROOT

TOWPATH = "towpath:test"
SHOP = "shop:test"


def build_towpath(cluster: Cluster) -> str:
    """Build and load the image of operator and workers; return its name."""
    return cluster.build_image(TOWPATH, dockerfile=ROOT / "Dockerfile", context=ROOT)


def build_shop(cluster: Cluster, towpath: str) -> str:
    """Build and load the example application on top of Towpath's image; return its name."""
    folder = ROOT / "examples" / "shop"
    arguments = {"TOWPATH_IMAGE": towpath}
    return cluster.build_image(
        SHOP, dockerfile=folder / "Dockerfile", context=folder, arguments=arguments
    )
