{{/* What the operator does in each namespace that it watches. tests/chart/test_rights.py has the reason of each verb. */}}
{{- define "towpath.rules" -}}
# What people declare is read.
- apiGroups: [towpath.dev]
  resources: [queues, workerpools, queuedatabases]
  verbs: [get, list, watch]
- apiGroups: [towpath.dev]
  resources: [queues/status, workerpools/status, queuedatabases/status]
  verbs: [patch]
# The finalizer towpath.dev/delete-rows, and no other field, of a Queue whose deletion of rows is confirmed.
- apiGroups: [towpath.dev]
  resources: [queues]
  verbs: [patch]
# The WorkerPool of a Queue's `workers`.
- apiGroups: [towpath.dev]
  resources: [workerpools]
  verbs: [create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
# The rendered pod template of a pool, so that another operator's rendering restarts nobody.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create, patch, delete]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# A database's Secret is read by its name, and a pool's is written; they are never listed.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* The two things that it reads outside of any namespace. */}}
{{- define "towpath.clusterRules" -}}
# Its uid names this cluster in the rows of queues.
- apiGroups: [""]
  resources: [namespaces]
  resourceNames: [kube-system]
  verbs: [get]
# Whether the cluster's CRDs are older than the operator, for /readyz.
- apiGroups: [apiextensions.k8s.io]
  resources: [customresourcedefinitions]
  resourceNames: [queues.towpath.dev, workerpools.towpath.dev, queuedatabases.towpath.dev]
  verbs: [get]
{{- end }}

{{/* Every namespace that is watched where not all are; the release's own is one of them. */}}
{{- define "towpath.namespaces" -}}
{{- append .Values.watchNamespaces .Release.Namespace | uniq | sortAlpha | join "," }}
{{- end }}

{{- define "towpath.subjects" -}}
- kind: ServiceAccount
  name: {{ include "towpath.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}
