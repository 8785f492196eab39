// What the auth host's configuration says for every host, as a resource: hosts watch it as they watch roles. It does
// not change while auth runs; after a restart they hear it anew.
import type { ClusterSettingsDocument } from '@sallyport/contracts/api/resources.ts';
import { formatDuration } from '../config/duration.ts';
import type { AuthSettings } from './auth-settings.ts';

export function clusterSettings(settings: AuthSettings): ClusterSettingsDocument {
  const { clusterName, clientIdleTimeoutMs, disconnectExpiredCert, sessionRecording } = settings;
  return {
    kind: 'cluster_settings',
    version: 'v2',
    metadata: { name: 'cluster_settings' },
    spec: {
      cluster_name: clusterName,
      ...(clientIdleTimeoutMs === undefined
        ? {}
        : { client_idle_timeout: formatDuration(clientIdleTimeoutMs) }),
      disconnect_expired_cert: disconnectExpiredCert,
      session_recording: sessionRecording,
      ...(settings.requireSessionMfa === true ? { require_session_mfa: true } : {}),
    },
  };
}
