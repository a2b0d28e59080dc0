"""The default App, whose methods are the module-level names of `towpath`."""

from __future__ import annotations

from towpath.api.app import App

default_app = App()

workflow = default_app.workflow
step = default_app.step
start_workflow = default_app.start_workflow
start_workflow_async = default_app.start_workflow_async
retrieve_workflow = default_app.retrieve_workflow
retrieve_workflow_async = default_app.retrieve_workflow_async
list_workflows = default_app.list_workflows
launch = default_app.launch
shutdown = default_app.shutdown
