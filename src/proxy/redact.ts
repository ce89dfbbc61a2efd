/**
 * The text with everything that looks like a Sentinel key cut out. Whatever leaves this process for a
 * person's eyes passes through here, so a key that slipped into an error message stays a secret.
 */
export function redact(text: string): string {
  return text.replace(/sk_[A-Za-z0-9_.~+/=-]+/g, 'sk_…');
}

/** `sk_live_…4f2a`: enough to tell two keys apart, too little to use one. */
export function maskKey(key: string): string {
  const prefix = /^sk_(?:live|test)_/.exec(key)?.[0] ?? 'sk_';
  // The last four characters of a short key would be a good part of it.
  return key.length >= prefix.length + 16 ? `${prefix}…${key.slice(-4)}` : `${prefix}…`;
}
