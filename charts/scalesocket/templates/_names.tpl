{{/* Names and labels: one place each, so that selectors and labels cannot drift apart. */}}

{{- define "scalesocket.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "scalesocket.fullname" -}}
{{- $name := include "scalesocket.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "scalesocket.fleet" -}}
{{- default .Release.Name .Values.cluster.fleet }}
{{- end }}

{{- define "scalesocket.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "scalesocket.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "scalesocket.peerSecretName" -}}
{{- default (printf "%s-peer" (include "scalesocket.fullname" .)) .Values.cluster.peer.existingSecret }}
{{- end }}

{{/* Metadata of an object: name, labels, and annotations if any. Takes root, name, and
     optionally component, labels, annotations. */}}
{{- define "scalesocket.metadata" -}}
{{- $root := .root }}
name: {{ .name }}
{{- if not .clusterScoped }}
namespace: {{ $root.Release.Namespace }}
{{- end }}
labels:
  helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
  app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ $root.Release.Service }}
  app.kubernetes.io/name: {{ include "scalesocket.name" $root }}
  app.kubernetes.io/instance: {{ $root.Release.Name }}
  {{- with .component }}
  app.kubernetes.io/component: {{ . }}
  {{- end }}
  {{- with merge (dict) (.labels | default dict) $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What selects the pods of one component; without one, all of the release. */}}
{{- define "scalesocket.selector" -}}
app.kubernetes.io/name: {{ include "scalesocket.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .component }}
app.kubernetes.io/component: {{ . }}
{{- end }}
scalesocket.dev/fleet: {{ include "scalesocket.fleet" .root | quote }}
{{- end }}

{{/* The component that clients reach first. */}}
{{- define "scalesocket.door" -}}
{{- ternary "gateway" "server" .Values.gateway.enabled }}
{{- end }}

{{/* An image's reference: by digest if there is one. Takes image and the default tag. */}}
{{- define "scalesocket.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .tag .image.tag) }}
{{- end }}
{{- end }}

{{- define "scalesocket.ownImage" -}}
{{- include "scalesocket.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
{{- end }}

{{- define "scalesocket.programImage" -}}
{{- include "scalesocket.image" (dict "image" .Values.program.image "tag" "latest") }}
{{- end }}
