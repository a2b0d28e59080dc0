"""The default App, whose methods are the module-level names of `towpath`."""

from __future__ import annotations

from towpath.api.app import App

default_app = App()

workflow = default_app.workflow
step = default_app.step
transaction = default_app.transaction
start_workflow = default_app.start_workflow
start_workflow_async = default_app.start_workflow_async
retrieve_workflow = default_app.retrieve_workflow
retrieve_workflow_async = default_app.retrieve_workflow_async
list_workflows = default_app.list_workflows
list_workflows_async = default_app.list_workflows_async
list_workflow_steps = default_app.list_workflow_steps
list_workflow_steps_async = default_app.list_workflow_steps_async
cancel_workflow = default_app.cancel_workflow
cancel_workflow_async = default_app.cancel_workflow_async
resume_workflow = default_app.resume_workflow
resume_workflow_async = default_app.resume_workflow_async
retry_workflow = default_app.retry_workflow
retry_workflow_async = default_app.retry_workflow_async
retry_workflows = default_app.retry_workflows
retry_workflows_async = default_app.retry_workflows_async
fork_workflow = default_app.fork_workflow
fork_workflow_async = default_app.fork_workflow_async
delete_workflow = default_app.delete_workflow
delete_workflow_async = default_app.delete_workflow_async
set_priority = default_app.set_priority
set_priority_async = default_app.set_priority_async
set_delay = default_app.set_delay
set_delay_async = default_app.set_delay_async
schedule = default_app.schedule
backfill_schedule = default_app.backfill_schedule
backfill_schedule_async = default_app.backfill_schedule_async
delete_schedule = default_app.delete_schedule
delete_schedule_async = default_app.delete_schedule_async
list_schedules = default_app.list_schedules
list_schedules_async = default_app.list_schedules_async
pause_schedule = default_app.pause_schedule
pause_schedule_async = default_app.pause_schedule_async
resume_schedule = default_app.resume_schedule
resume_schedule_async = default_app.resume_schedule_async
trigger_schedule = default_app.trigger_schedule
trigger_schedule_async = default_app.trigger_schedule_async
send = default_app.send
send_async = default_app.send_async
recv = default_app.recv
recv_async = default_app.recv_async
set_event = default_app.set_event
set_event_async = default_app.set_event_async
get_event = default_app.get_event
get_event_async = default_app.get_event_async
sleep = default_app.sleep
sleep_async = default_app.sleep_async
write_stream = default_app.write_stream
write_stream_async = default_app.write_stream_async
close_stream = default_app.close_stream
close_stream_async = default_app.close_stream_async
read_stream = default_app.read_stream
read_stream_async = default_app.read_stream_async
patch = default_app.patch
patch_async = default_app.patch_async
deprecate_patch = default_app.deprecate_patch
deprecate_patch_async = default_app.deprecate_patch_async
list_versions = default_app.list_versions
list_versions_async = default_app.list_versions_async
promote_version = default_app.promote_version
promote_version_async = default_app.promote_version_async
launch = default_app.launch
shutdown = default_app.shutdown
