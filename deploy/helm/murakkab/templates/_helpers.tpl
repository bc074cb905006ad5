{{- define "murakkab.name" -}}
{{- printf "%s-murakkab" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "murakkab.selector" -}}
app.kubernetes.io/name: murakkab
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end -}}

{{- define "murakkab.labels" -}}
{{ include "murakkab.selector" . }}
app.kubernetes.io/part-of: murakkab
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{- define "murakkab.url" -}}
{{- if .Values.nats.enabled -}}
{{ ternary "tls" "nats" (ne .Values.nats.tlsSecret "") }}://{{ include "murakkab.name" . }}-nats:4222
{{- else -}}
{{ required "external.url names the NATS servers when nats.enabled is false" .Values.external.url }}
{{- end -}}
{{- end -}}

{{/* The pod of an actor, but for what its owner adds: root, role, group (of a worker), resources, env. */}}
{{- define "murakkab.pod" -}}
serviceAccountName: {{ include "murakkab.name" .root }}-{{ .role }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .graceS }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: { type: RuntimeDefault }
containers:
  - name: {{ .role }}
    image: "{{ .root.Values.image.repository }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}"
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    args: {{ toJson .args }}
    env:
      - { name: NATS_URL, value: {{ include "murakkab.url" .root | quote }} }
      - { name: MURAKKAB_CREDENTIALS, value: /run/credentials/credentials.json }
      - { name: MURAKKAB_ALIVE, value: /run/murakkab/alive }
      - { name: MURAKKAB_HOME, value: /data }
      - { name: HOME, value: /data }
      {{- if and .root.Values.nats.enabled .root.Values.nats.tlsSecret }}
      - { name: SSL_CERT_FILE, value: /run/authority/ca.crt }
      {{- end }}
      {{- with .own }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      {{- with .env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: { drop: [ALL] }
    # alive: its event loop turns. ready: it has also started, and is connected; a conductor that stands by is ready.
    startupProbe:
      exec: { command: [murakkab, healthy] }
      periodSeconds: 2
      timeoutSeconds: 5
      failureThreshold: 60
    livenessProbe:
      exec: { command: [murakkab, healthy] }
      periodSeconds: 15
      timeoutSeconds: 5
      failureThreshold: 3
    readinessProbe:
      exec: { command: [murakkab, healthy, --ready] }
      periodSeconds: 10
      timeoutSeconds: 5
    resources: {{ toYaml .resources | nindent 6 }}
    volumeMounts:
      - { name: credentials, mountPath: /run/credentials, readOnly: true }
      - { name: alive, mountPath: /run/murakkab }
      - { name: data, mountPath: /data }
      - { name: tmp, mountPath: /tmp }
      {{- if and .root.Values.nats.enabled .root.Values.nats.tlsSecret }}
      - { name: authority, mountPath: /run/authority, readOnly: true }
      {{- end }}
      {{- with .volumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: credentials
    secret:
      secretName: {{ include "murakkab.name" .root }}-{{ .role }}
      defaultMode: 0440
      items: [{ key: credentials.json, path: credentials.json }]
  - { name: alive, emptyDir: { medium: Memory, sizeLimit: 1Mi } }
  - { name: data, emptyDir: { sizeLimit: {{ .data }} } }
  - { name: tmp, emptyDir: { sizeLimit: 4Gi } }
  {{- if and .root.Values.nats.enabled .root.Values.nats.tlsSecret }}
  - name: authority
    secret: { secretName: {{ .root.Values.nats.tlsSecret }}, items: [{ key: ca.crt, path: ca.crt }] }
  {{- end }}
  {{- with .volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
