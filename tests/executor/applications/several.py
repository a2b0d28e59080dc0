"""Has an App of its own, and nothing on the default one."""

from towpath import App

shop = App()
not_an_app = 42


@shop.workflow()
def greet(name: str) -> str:
    """Return at once."""
    return f"hello {name}"
