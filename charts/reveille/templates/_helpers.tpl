{{- define "reveille.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "reveille.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "reveille.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "reveille.selectorLabels" -}}
app.kubernetes.io/name: {{ include "reveille.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "reveille.labels" -}}
{{ include "reveille.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What the Pods of the workload have, and the test's Pod has not. */}}
{{- define "reveille.podLabels" -}}
{{ include "reveille.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "reveille.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end }}

{{- define "reveille.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "reveille.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{- define "reveille.dnsPolicy" -}}
{{- default (ternary "ClusterFirstWithHostNet" "ClusterFirst" .Values.network.hostNetwork) .Values.network.dnsPolicy -}}
{{- end }}

{{- /* The claim that a Deployment or DaemonSet mounts, when it mounts one. */}}
{{- define "reveille.claim" -}}
{{- default (include "reveille.fullname" .) .Values.persistence.existingClaim -}}
{{- end }}

{{- /* A claim's spec. */}}
{{- define "reveille.claimSpec" -}}
accessModes:
  {{- toYaml .Values.persistence.accessModes | nindent 2 }}
{{- with .Values.persistence.storageClassName }}
storageClassName: {{ ternary "" . (eq . "-") | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size | quote }}
{{- end }}

{{- define "reveille.makesClaim" -}}
{{- $p := .Values.persistence -}}
{{- if and $p.enabled (not $p.existingClaim) (not $p.hostPath) }}yes{{ end -}}
{{- end }}

{{- /* Values that do not go together: each with its cure. */}}
{{- define "reveille.validate" -}}
{{- $v := .Values }}
{{- $p := $v.persistence }}
{{- $name := include "reveille.fullname" . }}
{{- if and (eq $v.kind "Deployment") (gt (int $v.replicas) 1) }}
{{- fail (printf "replicas: %d with kind: Deployment would give the same addresses twice; set kind: StatefulSet, whose Pods agree on one that leads" (int $v.replicas)) }}
{{- end }}
{{- if and (eq $v.kind "DaemonSet") (gt (int $v.replicas) 1) }}
{{- fail (printf "replicas: %d with kind: DaemonSet has no meaning: it runs on each node that nodeSelector selects; leave replicas at 1" (int $v.replicas)) }}
{{- end }}
{{- if and (eq $v.kind "DaemonSet") $p.enabled (not $p.hostPath) (not $p.existingClaim) }}
{{- if not (has "ReadWriteMany" $p.accessModes) }}
{{- fail (printf "kind: DaemonSet with a claim that is %s: the Pods of other nodes could not mount it; set persistence.hostPath to a folder of the nodes" (join ", " $p.accessModes)) }}
{{- end }}
{{- end }}
{{- if and (eq $v.kind "DaemonSet") $p.enabled (not $p.hostPath) }}
{{- fail "kind: DaemonSet with one claim for all: two Pods cannot share a lease database; set persistence.hostPath to a folder of the nodes" }}
{{- end }}
{{- if and (eq $v.kind "StatefulSet") $p.existingClaim }}
{{- fail (printf "persistence.existingClaim: %s with kind: StatefulSet: each replica needs a volume of its own; leave it empty, and claims named data-%s-0 and so on are used or made" $p.existingClaim $name) }}
{{- end }}
{{- if and $p.hostPath $p.existingClaim }}
{{- fail "persistence.hostPath and persistence.existingClaim name two places for one thing; leave one empty" }}
{{- end }}
{{- if and $v.artifacts.hostPath $v.artifacts.existingClaim }}
{{- fail "artifacts.hostPath and artifacts.existingClaim name two places for one thing; leave one empty" }}
{{- end }}
{{- $store := $v.artifacts.store }}
{{- if and $store.hostPath $store.existingClaim }}
{{- fail "artifacts.store.hostPath and artifacts.store.existingClaim name two places for one thing; leave one empty" }}
{{- end }}
{{- if and $store.existingClaim (ne $v.kind "Deployment") }}
{{- fail (printf "artifacts.store.existingClaim: %s with kind: %s: a store has one owner; set artifacts.store.hostPath to a folder of the nodes, or leave both empty for the volume of each Pod" $store.existingClaim $v.kind) }}
{{- end }}
{{- if and $v.network.hostNetwork $v.network.multus }}
{{- fail "network.multus has no effect with the node's network; set network.hostNetwork: false" }}
{{- end }}
{{- if and $v.network.hostNetwork $v.networkPolicy.enabled }}
{{- fail "networkPolicy.enabled has no effect with the node's network; set network.hostNetwork: false, or keep strangers from the node's port by its firewall" }}
{{- end }}
{{- if and $v.metrics.serviceMonitor.enabled $v.metrics.podMonitor.enabled }}
{{- fail "metrics.serviceMonitor and metrics.podMonitor would scrape every Pod twice; enable one" }}
{{- end }}
{{- if and $v.metrics.serviceMonitor.enabled (not $v.metrics.service.enabled) }}
{{- fail "metrics.serviceMonitor needs the Service that it selects; set metrics.service.enabled: true, or use metrics.podMonitor" }}
{{- end }}
{{- if and $v.manifests $v.manifestsConfigMap }}
{{- fail "manifests and manifestsConfigMap name two sources for one folder; leave one empty" }}
{{- end }}
{{- if and (not $v.network.hostNetwork) (not $v.network.multus) (not $v.service.enabled) }}
{{- fail "network.hostNetwork: false, and nothing else by which a machine could reach the Pod; set network.multus to a card on the machines' network, or service.enabled: true for relays" }}
{{- end }}
{{- $ports := list (int $v.ports.http) (int $v.ports.admin) }}
{{- if eq (int $v.ports.http) (int $v.ports.admin) }}
{{- fail (printf "ports.http and ports.admin are both %d; choose another for one" (int $v.ports.http)) }}
{{- end }}
{{- range $index, $object := $v.manifests }}
{{- if not (hasPrefix "reveille.dev/" (toString $object.apiVersion)) }}
{{- fail (printf "manifests[%d] (%s) is not of the group reveille.dev; put other objects into extraObjects" $index (toString $object.kind)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "reveille.artifacts" -}}
{{- if or .Values.artifacts.hostPath .Values.artifacts.existingClaim -}}
/srv/reveille
{{- else -}}
/var/lib/reveille/artifacts
{{- end -}}
{{- end }}

{{- define "reveille.healthz" -}}
{{- $host := "" -}}
{{- if and .Values.adminAddress (ne .Values.adminAddress "0.0.0.0") -}}
{{- $host = printf ", host: %s" (quote .Values.adminAddress) -}}
{{- end -}}
{path: /healthz, port: admin{{ $host }}}
{{- end }}

{{- /* Two releases of one name in two namespaces have cluster roles of their own. */}}
{{- define "reveille.clusterName" -}}
{{ printf "%s-%s" .Release.Namespace (include "reveille.fullname" .) | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "reveille.rules" -}}
# What is served.
- apiGroups: [reveille.dev]
  resources: [subnets, bootprofiles, machines, artifacts]
  verbs: [list, watch]
# What became of it.
- apiGroups: [reveille.dev]
  resources: [subnets/status, bootprofiles/status, machines/status, artifacts/status]
  verbs: [patch]
# The label with the MAC address; boots of earlier runs; approval.
- apiGroups: [reveille.dev]
  resources: [machines]
  verbs: [get, patch]
# Machines that were discovered.
- apiGroups: [reveille.dev]
  resources: [machines]
  verbs: [create, delete]
# The mirror of leases.
- apiGroups: [reveille.dev]
  resources: [dhcpleases]
  verbs: [list, create, patch, delete]
# Events.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
