"""What `towpath dev` makes of a QueueDatabase: a schema of the local server, whatever it names."""

from __future__ import annotations

from tests.unit.operator.builders import API_VERSION
from towpath_operator.local.localise import localise
from towpath_operator.local.manifests import Manifests
from towpath_operator.model.parse import parse_queue_database
from towpath_operator.ports.cluster import QUEUE_DATABASE, ObjectKey

LOCAL = "postgresql://local"


def test_a_database_by_fields_behind_a_pooler_is_a_schema_of_the_local_server() -> None:
    """None of its Secrets is named any more, and what else it declares stays."""
    key = ObjectKey("shop", "orders")
    spec = {
        "connection": {
            "host": "db.example",
            "database": "shop",
            "sslMode": "verify-full",
            "caSecretRef": {"name": "ca"},
            "credentialsSecretRef": {"name": "login"},
        },
        "workerCredentialsSecretRef": {"name": "worker"},
        "operatorUriSecretRef": {"name": "direct"},
        "pooler": "Transaction",
        "connections": {"max": 80, "perPod": 8},
        "retention": {"succeeded": "1h"},
        "allowedNamespaces": ["*"],
    }
    manifest = {
        "apiVersion": API_VERSION,
        "kind": "QueueDatabase",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": spec,
    }
    objects = localise(Manifests({(QUEUE_DATABASE, key): manifest}), url=LOCAL, app=None)
    made = objects[QUEUE_DATABASE, key]
    assert made["spec"] == {
        "uriSecretRef": {"name": "towpath-dev-database", "key": "uri"},
        "schema": "shop_orders",
        "retention": {"succeeded": "1h"},
        "allowedNamespaces": ["*"],
    }
    assert parse_queue_database(made).spec.schema_name == "shop_orders"
