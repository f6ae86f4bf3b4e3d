{{/* Pods: what servers and gateways have in common, then each. Every container runs without root,
     on a read-only root and without capabilities, as Pod Security "restricted" wants it. */}}

{{/* Labels and annotations of pods. Takes root, component, annotations, labels. */}}
{{- define "scalesocket.podMetadata" -}}
labels:
  {{- merge (include "scalesocket.selector" . | fromYaml) .labels .root.Values.commonLabels | toYaml | trim | nindent 2 }}
{{- with merge (dict) .annotations .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Who the pod is: the Downward API gives it, no program sees it. */}}
{{- define "scalesocket.identity" -}}
{{- $of := dict "POD_NAME" "metadata.name" "POD_NAMESPACE" "metadata.namespace" "POD_UID" "metadata.uid" "POD_IP" "status.podIP" }}
{{- range $name, $path := $of }}
- name: {{ $name }}
  valueFrom:
    fieldRef:
      fieldPath: {{ $path }}
{{- end }}
{{- end }}

{{/* Arguments of servers and gateways alike. Takes root, maxRooms, routeTimeout, extraArgs. */}}
{{- define "scalesocket.args" -}}
{{- $v := .root.Values }}
- --addr=0.0.0.0:{{ $v.server.port }}
- --admin-addr=0.0.0.0:{{ $v.server.adminPort }}
- --log={{ $v.server.log }}
- --maxrooms={{ .maxRooms }}
- --drain-timeout={{ $v.server.drainTimeout }}s
- --stop-eof={{ $v.server.stopEof }}s
- --stop-grace={{ $v.server.stopGrace }}s
{{- if $v.cluster.enabled }}
- --kube
- --kube-fleet={{ include "scalesocket.fleet" .root }}
- --kube-claims={{ $v.cluster.claims }}
- --kube-rooms-annotation={{ $v.cluster.roomsAnnotation }}
{{- if include "scalesocket.claims" .root }}
- --kube-route={{ $v.cluster.route }}
- --kube-placement={{ include "scalesocket.placement" .root }}
{{- if eq (include "scalesocket.placement" .root) "packed" }}
- --kube-target-rooms={{ include "scalesocket.roomsPerPod" .root }}
{{- end }}
- --kube-takeover-delay={{ $v.cluster.takeoverDelay }}s
{{- if eq $v.cluster.claims "fenced" }}
- --kube-fence-after={{ $v.cluster.fenceAfter }}s
- --kube-fence-margin={{ $v.cluster.fenceMargin }}s
{{- end }}
- --route-timeout={{ .routeTimeout }}s
{{- end }}
{{- if include "scalesocket.proxies" .root }}
- --peer-addr=0.0.0.0:{{ $v.cluster.peer.port }}
- --peer-secret-file=/etc/scalesocket/peer/{{ $v.cluster.peer.secretKey }}
{{- end }}
{{- end }}
{{- include "scalesocket.doorArgs" .root }}
{{- range .extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{/* The door's: on pods with rooms too where there is a gateway, because the port is there. */}}
{{- define "scalesocket.doorArgs" -}}
{{- $v := .Values }}
{{- with $v.server.basePath }}
- --base-path={{ . }}
{{- end }}
{{- with $v.server.hosts }}
- --host={{ join "," . }}
{{- end }}
{{- with $v.server.trustedProxies }}
- --trusted-proxy={{ join "," . }}
{{- end }}
{{- if $v.tls.existingSecret }}
- --tls-cert=/etc/scalesocket/tls/tls.crt
- --tls-key=/etc/scalesocket/tls/tls.key
{{- if $v.tls.clientCa.existingSecret }}
- --tls-client-ca=/etc/scalesocket/client-ca/{{ $v.tls.clientCa.key }}
{{- end }}
{{- end }}
{{- with $v.auth.jwt }}
{{- if or .existingSecret .existingConfigMap }}
- --auth-jwt=/etc/scalesocket/jwt/{{ .key }}
{{- with .cookie }}
- {{ printf "--auth-cookie=%s" . | quote }}
{{- end }}
{{- with .audiences }}
- {{ printf "--auth-aud=%s" (join "," .) | quote }}
{{- end }}
{{- with .issuers }}
- {{ printf "--auth-iss=%s" (join "," .) | quote }}
{{- end }}
{{- with .leeway }}
- --auth-leeway={{ int . }}s
{{- end }}
{{- end }}
{{- end }}
{{- with $v.auth }}
{{- if .url }}
- {{ printf "--auth-url=%s" .url | quote }}
{{- with .forward }}
- --auth-forward={{ join "," . }}
{{- end }}
{{- with .userHeader }}
- --auth-user-header={{ . }}
{{- end }}
{{- with .copy }}
- --auth-copy={{ join "," . }}
{{- end }}
- --auth-timeout={{ int .timeout }}s
{{- end }}
{{- end }}
{{- with $v.console }}
{{- if .enabled }}
- --console{{ if .write }}=write{{ end }}
{{- if .existingSecret }}
- --admin-token-file=/etc/scalesocket/console/{{ .key }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What of the door is in files. */}}
{{- define "scalesocket.doorMounts" -}}
{{- $v := .Values }}
{{- if $v.tls.existingSecret }}
- name: tls
  mountPath: /etc/scalesocket/tls
  readOnly: true
{{- if $v.tls.clientCa.existingSecret }}
- name: client-ca
  mountPath: /etc/scalesocket/client-ca
  readOnly: true
{{- end }}
{{- end }}
{{- if or $v.auth.jwt.existingSecret $v.auth.jwt.existingConfigMap }}
- name: jwt
  mountPath: /etc/scalesocket/jwt
  readOnly: true
{{- end }}
{{- if and $v.console.enabled $v.console.existingSecret }}
- name: console
  mountPath: /etc/scalesocket/console
  readOnly: true
{{- end }}
{{- end }}

{{- define "scalesocket.doorVolumes" -}}
{{- $v := .Values }}
{{- if $v.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ $v.tls.existingSecret }}
    defaultMode: 0440
{{- with $v.tls.clientCa }}
{{- if .existingSecret }}
- name: client-ca
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- end }}
{{- end }}
{{- end }}
{{- with $v.auth.jwt }}
{{- if .existingSecret }}
- name: jwt
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
{{- else if .existingConfigMap }}
- name: jwt
  configMap:
    name: {{ .existingConfigMap }}
{{- end }}
{{- end }}
{{- with $v.console }}
{{- if and .enabled .existingSecret }}
- name: console
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{/* The program's cage. With `connect` there is no process of ours to confine. */}}
{{- define "scalesocket.cage" -}}
{{- with .Values.program }}
{{- if ne .mode "connect" }}
{{- with .nice }}
- --nice={{ int . }}
{{- end }}
{{- with .limits.memory }}
- --limit-memory={{ . }}
{{- end }}
{{- with .limits.cpuSeconds }}
- --limit-cpu-seconds={{ int . }}
{{- end }}
{{- with .limits.files }}
- --limit-files={{ int . }}
{{- end }}
{{- with .limits.processes }}
- --limit-processes={{ int . }}
{{- end }}
{{- end }}
{{- with .spawnRate }}
- --spawn-rate={{ . }}
{{- end }}
{{- if ne (int .crashLimit) 5 }}
- --crash-limit={{ int .crashLimit }}
{{- end }}
{{- end }}
{{- end }}

{{/* Ports, probes and the pause before SIGTERM. Readiness never means full: see docs/kubernetes.md. */}}
{{- define "scalesocket.serving" -}}
{{- $v := .Values }}
ports:
  - name: http
    containerPort: {{ $v.server.port }}
    protocol: TCP
  - name: admin
    containerPort: {{ $v.server.adminPort }}
    protocol: TCP
  {{- if include "scalesocket.proxies" . }}
  - name: peer
    containerPort: {{ $v.cluster.peer.port }}
    protocol: TCP
  {{- end }}
livenessProbe:
  httpGet:
    path: /health
    port: admin
  {{- toYaml $v.livenessProbe | nindent 2 }}
readinessProbe:
  httpGet:
    path: /ready
    port: admin
  {{- toYaml $v.readinessProbe | nindent 2 }}
{{- if $v.server.preStop }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ $v.server.preStop }}
{{- end }}
securityContext:
  {{- toYaml $v.containerSecurityContext | nindent 2 }}
{{- end }}

{{/* What the pods' specs share. Takes root and component. */}}
{{- define "scalesocket.podCommon" -}}
{{- $v := .root.Values }}
serviceAccountName: {{ include "scalesocket.serviceAccountName" .root }}
# Only pods of a fleet talk to the API server: others have no token to lose.
automountServiceAccountToken: {{ $v.cluster.enabled }}
# A Service called scalesocket-x would otherwise turn into variables that look like flags.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "scalesocket.grace" .root }}
securityContext:
  {{- toYaml $v.podSecurityContext | nindent 2 }}
{{- with $v.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $v.topologySpreadConstraints }}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "scalesocket.selector" $ | fromYaml)) }}
topologySpreadConstraints:
  {{- range . }}
  {{- list (merge (dict) . $selector) | toYaml | nindent 2 }}
  {{- end }}
{{- end }}
{{- with $v.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "scalesocket.peerVolume" -}}
- name: peer
  secret:
    secretName: {{ include "scalesocket.peerSecretName" . }}
    defaultMode: 0440
{{- end }}

{{/* A pod with rooms. */}}
{{- define "scalesocket.serverPod" -}}
{{- $v := .Values }}
{{- $mode := $v.program.mode }}
metadata:
  {{- include "scalesocket.podMetadata" (dict "root" . "component" "server" "annotations" $v.podAnnotations "labels" $v.podLabels) | trim | nindent 2 }}
spec:
  {{- include "scalesocket.podCommon" (dict "root" . "component" "server") | trim | nindent 2 }}
  {{- with $v.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- if or $v.extraInitContainers (has $mode (list "install" "connect")) }}
  initContainers:
    {{- with $v.extraInitContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- if eq $mode "install" }}
    - name: install
      image: {{ include "scalesocket.ownImage" . | quote }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      command: [/usr/local/bin/scalesocket]
      args: [install, /opt/scalesocket]
      securityContext:
        {{- toYaml $v.containerSecurityContext | nindent 8 }}
      volumeMounts:
        - name: scalesocket
          mountPath: /opt/scalesocket
    {{- else if eq $mode "connect" }}
    # A sidecar starts before the main container and is stopped after it, so that the program is
    # there for as long as scalesocket drains.
    - name: program
      restartPolicy: Always
      image: {{ include "scalesocket.programImage" . | quote }}
      imagePullPolicy: {{ $v.program.image.pullPolicy }}
      {{- with $v.program.command }}
      command:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.program.env }}
      env:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $v.program.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: program
          containerPort: {{ $v.program.port }}
          protocol: TCP
      securityContext:
        {{- toYaml $v.containerSecurityContext | nindent 8 }}
      {{- with $v.program.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        # Where the token would be: what is mounted here keeps it out of this container.
        - name: no-token
          mountPath: /var/run/secrets/kubernetes.io/serviceaccount
          readOnly: true
        {{- with $v.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: scalesocket
      {{- if has $mode (list "install" "volume") }}
      image: {{ include "scalesocket.programImage" . | quote }}
      imagePullPolicy: {{ $v.program.image.pullPolicy }}
      {{- else }}
      image: {{ include "scalesocket.ownImage" . | quote }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      {{- end }}
      command:
        - {{ get (dict "install" "/opt/scalesocket/scalesocket" "volume" "/opt/scalesocket/usr/local/bin/scalesocket") $mode | default "/usr/local/bin/scalesocket" }}
      args:
        {{- include "scalesocket.args" (dict "root" . "maxRooms" (int $v.server.maxRooms) "routeTimeout" $v.cluster.routeTimeout "extraArgs" $v.server.extraArgs) | trim | nindent 8 }}
        {{- with include "scalesocket.cage" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- if eq $mode "connect" }}
        - --connect=127.0.0.1:{{ $v.program.port }}
        {{- else }}
        - --passenv={{ $v.program.passenv }}
        - --
        {{- toYaml $v.program.command | nindent 8 }}
        {{- end }}
      env:
        {{- include "scalesocket.identity" . | trim | nindent 8 }}
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- if ne $mode "connect" }}
        {{- with $v.program.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- with $v.program.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- end }}
      {{- include "scalesocket.serving" . | trim | nindent 6 }}
      {{- with $v.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- $doorMounts := include "scalesocket.doorMounts" . | trim }}
      {{- if or (include "scalesocket.proxies" .) (has $mode (list "install" "volume")) $doorMounts $v.extraVolumeMounts }}
      volumeMounts:
        {{- if include "scalesocket.proxies" . }}
        - name: peer
          mountPath: /etc/scalesocket/peer
          readOnly: true
        {{- end }}
        {{- if has $mode (list "install" "volume") }}
        - name: scalesocket
          mountPath: /opt/scalesocket
          readOnly: true
        {{- end }}
        {{- with $doorMounts }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- with $v.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
    {{- with $v.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- $doorVolumes := include "scalesocket.doorVolumes" . | trim }}
  {{- if or (include "scalesocket.proxies" .) (ne $mode "image") $doorVolumes $v.extraVolumes }}
  volumes:
    {{- if include "scalesocket.proxies" . }}
    {{- include "scalesocket.peerVolume" . | trim | nindent 4 }}
    {{- end }}
    {{- if eq $mode "install" }}
    - name: scalesocket
      emptyDir:
        sizeLimit: 256Mi
    {{- else if eq $mode "connect" }}
    - name: no-token
      emptyDir: {}
    {{- else if eq $mode "volume" }}
    - name: scalesocket
      image:
        reference: {{ include "scalesocket.ownImage" . | quote }}
        pullPolicy: {{ $v.image.pullPolicy }}
    {{- end }}
    {{- with $doorVolumes }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with $v.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end }}

{{/* A pod without rooms. */}}
{{- define "scalesocket.gatewayPod" -}}
{{- $v := .Values }}
metadata:
  {{- include "scalesocket.podMetadata" (dict "root" . "component" "gateway" "annotations" $v.gateway.podAnnotations "labels" dict) | trim | nindent 2 }}
spec:
  {{- include "scalesocket.podCommon" (dict "root" . "component" "gateway") | trim | nindent 2 }}
  containers:
    - name: scalesocket
      image: {{ include "scalesocket.ownImage" . | quote }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      command: [/usr/local/bin/scalesocket]
      args:
        {{- include "scalesocket.args" (dict "root" . "maxRooms" 0 "routeTimeout" $v.gateway.routeTimeout "extraArgs" $v.gateway.extraArgs) | trim | nindent 8 }}
      env:
        {{- include "scalesocket.identity" . | trim | nindent 8 }}
        {{- with $v.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- include "scalesocket.serving" . | trim | nindent 6 }}
      {{- with $v.gateway.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      volumeMounts:
        - name: peer
          mountPath: /etc/scalesocket/peer
          readOnly: true
        {{- with include "scalesocket.doorMounts" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "scalesocket.peerVolume" . | trim | nindent 4 }}
    {{- with include "scalesocket.doorVolumes" . | trim }}
    {{- . | nindent 4 }}
    {{- end }}
{{- end }}
