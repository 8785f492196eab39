// What the configuration says of the cluster, as the parts of the auth service read it.
import type { ClusterSettingsDocument } from '@sallyport/contracts/api/resources.ts';

export type SecondFactor = 'off' | 'otp' | 'webauthn' | 'on' | 'optional';

/** From the configuration. */
export interface AuthSettings {
  readonly clusterName: string;
  /** `local`, … */
  readonly type: string;
  /**
   * off: none is asked for. otp, webauthn: exactly that. on: either. optional: either, from users who set one up.
   */
  readonly secondFactor: SecondFactor;
  /** The domain second factors are bound to; needed for webauthn. */
  readonly webauthnRpId: string | undefined;
  /** False: people come by an identity provider only. Default: true. */
  readonly localAuth?: boolean | undefined;
  /** The identity provider `tsh login` uses when it is told none. */
  readonly connectorName?: string | undefined;
  /** A passkey alone is enough, where security keys are taken. Default: true. */
  readonly passwordless?: boolean | undefined;
  /** Of everybody, at every session. Default: false, as roles say. */
  readonly requireSessionMfa?: boolean | undefined;
  readonly staticTokens: readonly { readonly roles: readonly string[]; readonly secret: string }[];
  readonly sessionRecording: ClusterSettingsDocument['spec']['session_recording'];
  /** For every host of the cluster, where no role says anything. undefined: sessions may idle for ever. */
  readonly clientIdleTimeoutMs: number | undefined;
  readonly disconnectExpiredCert: boolean;
  /** host:port of the web listener for links, until a proxy is registered that says better. */
  readonly webAddress: string | undefined;
}
