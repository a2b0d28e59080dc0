"""The smallest application: `towpath dev app.py`, and in another terminal `python app.py`."""

import towpath
from towpath import Queue

greetings = Queue("greetings")


@towpath.step()
def spell(name: str) -> str:
    """Write a name as names are written; the result is recorded, so it runs once."""
    return name.title()


@towpath.workflow()
def greet(name: str) -> str:
    """Greet somebody, on any worker, also after the one before it was killed."""
    return f"Hello, {spell(name)}"


if __name__ == "__main__":
    print(greetings.enqueue(greet, "ada").get_result())
