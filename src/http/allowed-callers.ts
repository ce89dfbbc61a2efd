/** Says which Host and Origin headers are ours: the defence against DNS rebinding and foreign pages. */
export type AllowedCallers = {
  allowsHost(header: string | undefined): boolean;
  allowsOrigin(header: string): boolean;
};

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]'];
// Two Host or Origin headers arrive joined with a comma, which neither form can contain.
const HOST = /^(\[[0-9a-f:]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?$/;
const LAST_PORT = 65_535;
const HTTP_ORIGIN = /^https?:\/\/(\[[0-9a-f:]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?$/;

/**
 * Ports are not compared: a reverse proxy and a forwarded port change them, and a rebinding page cannot
 * choose our names. Origins are compared whole, except that any page served from this machine may call a
 * gateway on this machine: inspectors and dashboards under development run on ports of their own.
 */
export function createAllowedCallers(rules: {
  publicUrl: string;
  /** Host names, besides loopback's and the public one, that a request may be addressed to. */
  allowedHosts: readonly string[];
  /** Origins, besides loopback's and our own, whose pages may call us. */
  allowedOrigins: readonly string[];
}): AllowedCallers {
  const own = new URL(rules.publicUrl);
  const hosts = new Set([
    ...LOOPBACK,
    own.hostname,
    ...rules.allowedHosts.map((host) => hostNameOf(host.toLowerCase())),
  ]);
  const origins = new Set([own.origin, ...rules.allowedOrigins.map((origin) => origin.toLowerCase())]);

  return {
    allowsHost: (header) => {
      const [, name, port = '0'] = HOST.exec(header?.toLowerCase() ?? '') ?? [];
      return name !== undefined && hosts.has(name) && Number(port) <= LAST_PORT;
    },
    allowsOrigin: (header) => {
      const origin = header.toLowerCase();
      if (origins.has(origin)) return true;
      const name = HTTP_ORIGIN.exec(origin)?.[1];
      return name !== undefined && LOOPBACK.includes(name);
    },
  };
}

/** An address as a configuration writes it: `::1` is `[::1]` in a header. */
function hostNameOf(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host;
}
