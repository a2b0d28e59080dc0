"""The public names, thin over the parts below: App, decorators, Queue, handles, Client."""
