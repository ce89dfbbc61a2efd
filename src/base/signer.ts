/** Signs a text's bytes with the gateway's Ed25519 key: 64 bytes, RFC 8032. */
export type Sign = (text: string) => Promise<Buffer>;
