/** Who asks: what requests to S3 and SQS are signed with. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Of temporary ones. */
  readonly sessionToken?: string;
  /** When temporary ones end: milliseconds since the epoch. */
  readonly expiresAt?: number;
}

/** Gives credentials that are good at this moment, and fetches new ones in time. Used by many requests at once. */
export interface CredentialSource {
  get(): Promise<Credentials>;
  /** A server says that these are over: whoever asks next gets others, if there are any. */
  refuse(credentials: Credentials): void;
}

/** Those that somebody wrote down, for good. */
export function fixedCredentials(credentials: Credentials): CredentialSource {
  return { get: async () => credentials, refuse: () => undefined };
}
