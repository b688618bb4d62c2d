{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "sluice.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "sluice.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "sluice.selector" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
app.kubernetes.io/version: {{ default .Chart.AppVersion .Values.image.tag | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "sluice.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}

{{- define "sluice.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "sluice.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "sluice.clusterSecret" -}}
{{ default (printf "%s-cluster" (include "sluice.fullname" .)) .Values.cluster.existingSecret }}
{{- end }}

{{- define "sluice.clusterAddress" -}}
{{ include "sluice.fullname" . }}-cluster.{{ .Release.Namespace }}.svc:50050
{{- end }}

{{- define "sluice.passwordSecret" -}}
{{ default (printf "%s-password" (include "sluice.fullname" .)) .Values.auth.initialPassword.existingSecret }}
{{- end }}

{{/* A value that is made once: what the Secret holds already, or what is given. Call with a list: root, Secret, key, new. */}}
{{- define "sluice.kept" -}}
{{- $root := index . 0 }}
{{- $secret := lookup "v1" "Secret" $root.Release.Namespace (index . 1) | default dict }}
{{- get ($secret.data | default dict) (index . 2) | default (index . 3 | b64enc) }}
{{- end }}

{{/* Both processes are of one image and see the same stores. */}}
{{- define "sluice.podCommon" -}}
serviceAccountName: {{ include "sluice.serviceAccount" . }}
automountServiceAccountToken: false
# Variables of other Services are not ours, and could be taken for settings.
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Call with a dict: root, section (server or executor), of (the values of the process). */}}
{{- define "sluice.env" -}}
{{- $section := upper .section }}
{{- if .of.memory }}
- name: SLUICE_{{ $section }}__MEMORY
  value: {{ .of.memory | quote }}
{{- else }}
# The limit in units of 2^20 bytes, then as many times 10^6 bytes: 95.4 % of it. What is left is the kernel's, for
# sockets, page tables and dirty pages.
- name: MEMORY_LIMIT_MIB
  valueFrom:
    resourceFieldRef: {resource: limits.memory, divisor: 1Mi}
- name: SLUICE_{{ $section }}__MEMORY
  value: "$(MEMORY_LIMIT_MIB)000000"
{{- end }}
{{- if .of.threads }}
- name: SLUICE_{{ $section }}__THREADS
  value: {{ .of.threads | quote }}
{{- else }}
- name: SLUICE_{{ $section }}__THREADS
  valueFrom:
    resourceFieldRef: {resource: requests.cpu, divisor: "1"}
{{- end }}
- name: SLUICE_CLUSTER__SECRET_FILE
  value: /etc/sluice/cluster/secret
{{- range $name, $value := .root.Values.stores.environment }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .of.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sluice.envFrom" -}}
{{- with .Values.stores.environmentSecrets }}
envFrom:
  {{- range . }}
  - secretRef:
      name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "sluice.mounts" -}}
- {name: settings, mountPath: /etc/sluice/settings, readOnly: true}
- {name: cluster, mountPath: /etc/sluice/cluster, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "sluice.volumes" -}}
- name: settings
  configMap:
    name: {{ include "sluice.fullname" . }}
- name: cluster
  secret:
    secretName: {{ include "sluice.clusterSecret" . }}
    defaultMode: 0440
    items:
      - {key: {{ .Values.cluster.key | quote }}, path: secret}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- end }}

{{/* Executors need the places that the server has, and the warehouse. */}}
{{- define "sluice.executorLocations" -}}
{{- $all := .Values.locations }}
{{- if and $all .Values.warehouse }}{{ $all = append $all .Values.warehouse }}{{ end }}
{{- toJson $all }}
{{- end }}
