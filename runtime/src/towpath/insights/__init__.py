"""Reading and managing without presentation: the API, the CLI, the console and metrics share it."""
