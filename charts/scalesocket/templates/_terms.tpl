{{/* What several templates derive from the values: times, modes, targets. */}}

{{/* Everything that may pass between the pod's removal and its last child: a pod that is
     killed earlier loses rooms that had time left. */}}
{{- define "scalesocket.grace" -}}
{{- with .Values.server }}
{{- add .preStop .drainTimeout .stopEof .stopGrace 5 }}
{{- end }}
{{- end }}

{{/* Non-empty if pods claim rooms. */}}
{{- define "scalesocket.claims" -}}
{{- if and .Values.cluster.enabled (ne .Values.cluster.claims "off") }}true{{ end }}
{{- end }}

{{/* Non-empty if pods proxy for each other, for which they need a secret and a port. */}}
{{- define "scalesocket.proxies" -}}
{{- if and (include "scalesocket.claims" .) (eq .Values.cluster.route "proxy") }}true{{ end }}
{{- end }}

{{- define "scalesocket.autoscaled" -}}
{{- if or .Values.autoscaling.hpa.enabled .Values.autoscaling.keda.enabled }}true{{ end }}
{{- end }}

{{/* Non-empty if there may be more than one pod with rooms. */}}
{{- define "scalesocket.several" -}}
{{- if include "scalesocket.autoscaled" . }}
{{- if gt (int .Values.autoscaling.maxReplicas) 1 }}true{{ end }}
{{- else if gt (int .Values.replicas) 1 }}true{{ end }}
{{- end }}

{{- define "scalesocket.placement" -}}
{{- default (ternary "packed" "spread" (eq "true" (include "scalesocket.autoscaled" .))) .Values.cluster.placement }}
{{- end }}

{{/* Rooms per pod: one figure for packing and for scaling, since they must agree. At least 1. */}}
{{- define "scalesocket.roomsPerPod" -}}
{{- if .Values.autoscaling.roomsPerPod }}
{{- int .Values.autoscaling.roomsPerPod }}
{{- else }}
{{- max 1 (div (mul (int .Values.server.maxRooms) 4) 5) }}
{{- end }}
{{- end }}

{{/* Live rooms of the fleet without those of pods that are going away: their rooms end where
     they are and need no new pod. */}}
{{- define "scalesocket.roomsQuery" -}}
{{- $of := printf `namespace="%s",fleet="%s"` .Release.Namespace (include "scalesocket.fleet" .) -}}
(sum(scalesocket_rooms{ {{- $of -}} } unless on(pod) (scalesocket_draining{ {{- $of -}} } == 1)) or vector(0)) + {{ int .Values.autoscaling.spareRooms }}
{{- end }}

{{/* The Service's port by name, for who leads there. */}}
{{- define "scalesocket.scheme" -}}
{{- ternary "https" "http" (not (empty .Values.tls.existingSecret)) }}
{{- end }}

{{/* Contradictions that the schema cannot see end the rendering. */}}
{{- define "scalesocket.refuse" -}}
{{- $v := .Values }}
{{- if and $v.autoscaling.hpa.enabled $v.autoscaling.keda.enabled }}
{{- fail "autoscaling.hpa and autoscaling.keda would both set the replicas: enable one of them" }}
{{- end }}
{{- if and (include "scalesocket.autoscaled" .) (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas" }}
{{- end }}
{{- if and $v.autoscaling.hpa.enabled (lt (int $v.autoscaling.minReplicas) 1) }}
{{- fail "a HorizontalPodAutoscaler does not scale to zero: set autoscaling.minReplicas to 1, or use autoscaling.keda" }}
{{- end }}
{{- if and $v.autoscaling.keda.enabled (lt (int $v.autoscaling.minReplicas) 1) (not (and $v.gateway.enabled (eq $v.autoscaling.keda.trigger "metrics-api"))) }}
{{- fail "with no pods only a gateway knows who waits: for autoscaling.minReplicas 0 set gateway.enabled and autoscaling.keda.trigger metrics-api" }}
{{- end }}
{{- if and $v.autoscaling.keda.enabled (eq $v.autoscaling.keda.trigger "metrics-api") (not (include "scalesocket.claims" .)) }}
{{- fail "the trigger metrics-api reads the fleet's figures, which pods only have with claims: leave cluster.claims on, or use the trigger prometheus" }}
{{- end }}
{{- if and $v.autoscaling.keda.enabled (eq $v.autoscaling.keda.trigger "prometheus") (not $v.autoscaling.keda.serverAddress) }}
{{- fail "set autoscaling.keda.serverAddress to the URL of Prometheus" }}
{{- end }}
{{- if and $v.autoscaling.keda.enabled (eq $v.autoscaling.keda.trigger "metrics-api") $v.autoscaling.spareRooms }}
{{- fail "autoscaling.spareRooms is for the trigger prometheus: lower autoscaling.roomsPerPod instead" }}
{{- end }}
{{- if and $v.autoscaling.hpa.enabled $v.autoscaling.spareRooms }}
{{- fail "autoscaling.spareRooms is for KEDA's trigger prometheus: lower autoscaling.roomsPerPod instead" }}
{{- end }}
{{- if eq $v.program.mode "connect" }}
{{- if not $v.program.port }}
{{- fail "with program.mode connect, set program.port to the port that the program listens on" }}
{{- end }}
{{- else if not $v.program.command }}
{{- fail "set program.command to the program and its arguments, like [python3, game.py]" }}
{{- end }}
{{- if and (eq $v.program.mode "volume") (semverCompare "<1.33.0-0" .Capabilities.KubeVersion.Version) }}
{{- fail "program.mode volume needs image volumes, which this Kubernetes does not have: use program.mode install" }}
{{- end }}
{{- if and $v.gateway.enabled (not (include "scalesocket.proxies" .)) }}
{{- fail "a gateway only proxies: it needs cluster.enabled, cluster.claims pod or fenced, and cluster.route proxy" }}
{{- end }}
{{- if and $v.podMonitor.enabled $v.serviceMonitor.enabled }}
{{- fail "podMonitor and serviceMonitor would both scrape every pod: enable one of them" }}
{{- end }}
{{- if and $v.cluster.peer.existingSecret $v.cluster.peer.secrets }}
{{- fail "cluster.peer.existingSecret and cluster.peer.secrets contradict each other: leave out one of them" }}
{{- end }}
{{- if and (eq $v.cluster.claims "fenced") (gt (mul 2 (int $v.cluster.fenceMargin)) (int $v.cluster.fenceAfter)) }}
{{- fail "cluster.fenceMargin is more than half of cluster.fenceAfter: a session could not be renewed in time" }}
{{- end }}
{{- if and $v.tls.clientCa.existingSecret (not $v.tls.existingSecret) }}
{{- fail "tls.clientCa needs TLS: set tls.existingSecret too" }}
{{- end }}
{{- if and $v.auth.jwt.existingSecret $v.auth.jwt.existingConfigMap }}
{{- fail "auth.jwt.existingSecret and auth.jwt.existingConfigMap contradict each other: leave out one of them" }}
{{- end }}
{{- $token := or $v.auth.jwt.existingSecret $v.auth.jwt.existingConfigMap }}
{{- if and $token $v.auth.url }}
{{- fail "auth.jwt and auth.url exclude each other: the service can check tokens too, so leave out one of them" }}
{{- end }}
{{- if and (not $token) (or $v.auth.jwt.cookie $v.auth.jwt.audiences $v.auth.jwt.issuers $v.auth.jwt.leeway) }}
{{- fail "auth.jwt does nothing without keys: set auth.jwt.existingSecret or auth.jwt.existingConfigMap" }}
{{- end }}
{{- if and (not $v.console.enabled) (or $v.console.write $v.console.existingSecret) }}
{{- fail "console.write and console.existingSecret do nothing without console.enabled" }}
{{- end }}
{{- if and (not $v.auth.url) (or $v.auth.forward $v.auth.userHeader $v.auth.copy) }}
{{- fail "auth.forward, auth.userHeader and auth.copy do nothing without auth.url" }}
{{- end }}
{{- /* Browsers add cookies by themselves, so the server wants to know whose pages may connect. */}}
{{- $ambient := or $v.auth.jwt.cookie (and $v.auth.url (or (empty $v.auth.forward) (has "cookie" $v.auth.forward))) }}
{{- range $which, $args := dict "server" $v.server.extraArgs "gateway" (ternary $v.gateway.extraArgs (list "--same-origin") $v.gateway.enabled) }}
{{- if and $ambient (not (regexMatch "(^| )--(same-)?origin" (join " " $args))) }}
{{- fail (printf "where cookies say who somebody is, any page could connect as its visitor: add --same-origin, or --origin with the pages that may, to %s.extraArgs" $which) }}
{{- end }}
{{- end }}
{{- with $v.program }}
{{- if and (eq .mode "connect") (or .nice .limits.memory .limits.cpuSeconds .limits.files .limits.processes) }}
{{- fail "with program.mode connect the program has a container of its own: limit it by program.resources, not program.limits or program.nice" }}
{{- end }}
{{- end }}
{{- range concat $v.server.extraArgs $v.gateway.extraArgs }}
{{- if regexMatch "^--(addr|admin-addr|maxrooms|maxforks|drain-timeout|stop-eof|stop-grace|passenv|connect|log|kube.*|peer-.*|pod-.*|route-timeout|tls-.*|auth-.*|base-path|host|trusted-proxy|console|admin-token-file|nice|limit-.*|spawn-rate|crash-limit)(=|$)" . }}
{{- fail (printf "extraArgs: %s has a value of its own in the chart, which other objects depend on" .) }}
{{- end }}
{{- end }}
{{- end }}
