-- The health of a Queue, a WorkerPool or a QueueDatabase of towpath.dev, for Argo CD.
-- Stalled means that a person must act; docs/guides/install.md says where this goes.
local health = { status = "Progressing", message = "The operator has not looked at it yet" }

if obj.metadata.deletionTimestamp ~= nil then
  health.message = "It is being deleted"
  return health
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

local found = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  found[condition.type] = condition
end

local function holds(name)
  return found[name] ~= nil and found[name].status == "True"
end

local function say(name)
  return found[name].reason .. ": " .. found[name].message
end

if holds("Stalled") then
  return { status = "Degraded", message = say("Stalled") }
end
if holds("Reconciling") then
  return { status = "Progressing", message = say("Reconciling") }
end
if holds("Ready") then
  return { status = "Healthy", message = say("Ready") }
end
return health
