{{/* Metadata of what is in the release's namespace. */}}
{{- define "metadata" -}}
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    app.kubernetes.io/name: batchrun
{{- end }}

{{- define "subjects" -}}
subjects:
- kind: ServiceAccount
  name: batchrun-operator
  namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Empty where no metrics are served: to ask who may read them takes rights in the whole cluster. */}}
{{- define "metrics" -}}
{{- if and .Values.metrics.enabled (not .Values.namespaced) }}yes{{ end }}
{{- end }}

{{/* Empty where no API serves the archive of logs: it is one for the whole cluster. */}}
{{- define "archiveAPI" -}}
{{- if and .Values.logArchive.url .Values.logArchive.api.enabled (not .Values.namespaced) }}yes{{ end }}
{{- end }}

{{/* The operator's flags, the values' over the chart's. */}}
{{- define "flags" -}}
{{- $flags := dict "leader-elect" true "health-probe-bind-address" ":8081" }}
{{- if include "metrics" . }}
{{- $_ := set $flags "metrics-bind-address" ":8443" }}
{{- end }}
{{- if include "archiveAPI" . }}
{{- $_ := set $flags "log-archive-bind-address" ":9443" }}
{{- end }}
{{- if .Values.namespaced }}
{{- $_ := set $flags "namespaces" "$(POD_NAMESPACE)" }}
{{- end }}
{{- with .Values.logArchive }}
{{- if .url }}
{{- $_ := set $flags "log-archive" .url }}
{{- $_ := set $flags "log-archive-spool-bytes" (printf "%d" (int64 .spoolBytes)) }}
{{- end }}
{{- end }}
{{- mergeOverwrite $flags .Values.flags | toJson }}
{{- end }}
