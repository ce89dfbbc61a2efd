import type { Link } from './mcp-wire.ts';
import type { CallIdentity } from './signature.ts';

/** The sessions that are open at MCP servers. What a server keeps in one, it keeps for one owner. */
export type McpSessions = {
  /** The owner's session at that URL, which is of use again. */
  find(owner: string, href: string): Link | undefined;
  /** From now on the owner's. `identity` is of the call it was opened for. */
  keep(owner: string, href: string, link: SessionLink, identity: CallIdentity): void;
  /** The server no longer knows it. */
  forget(link: Link): void;
  /** A call runs on it: until that has ended, which the answer says, it is not closed. */
  use(link: Link): () => void;
  /** Closes all of them, and resolves when the servers have been told. */
  close(): Promise<void>;
};

export type SessionLink = Extract<Link, { era: 'session' }> & { sessionId: string };

/** A session that is over on our side, as its server is told. */
export type EndedSession = { href: string; link: SessionLink; identity: CallIdentity };

export type SessionLimits = {
  /** How long one is kept that nobody uses. */
  idleMs: number;
  sweepEveryMs: number;
  most: number;
  /** So that nobody who calls very many servers takes the places of the others. */
  mostOfOneOwner: number;
};

export const SESSION_LIMITS: SessionLimits = {
  // Longer than a person thinks between two questions of one conversation.
  idleMs: 15 * 60_000,
  sweepEveryMs: 60_000,
  most: 10_000,
  mostOfOneOwner: 100,
};

/** `end` tells the server; it never rejects. */
export function createMcpSessions(
  limits: SessionLimits,
  end: (session: EndedSession) => Promise<void>,
): McpSessions {
  type Session = EndedSession & { owner: string; calls: number; usedAt: number; isKept: boolean };
  // Both maps in the order of use: what is first has waited longest.
  const owners = new Map<string, Map<string, Session>>();
  const byLink = new Map<Link, Session>();
  let sweeper: NodeJS.Timeout | undefined;
  let isClosed = false;

  function find(owner: string, href: string): Link | undefined {
    const session = owners.get(owner)?.get(href);
    if (session) touch(session);
    return session?.link;
  }

  function keep(owner: string, href: string, link: SessionLink, identity: CallIdentity): void {
    const session: Session = { owner, href, link, identity, calls: 0, usedAt: 0, isKept: true };
    byLink.set(link, session);
    const before = owners.get(owner)?.get(href);
    if (before) void close(before);
    touch(session);
    if (isClosed) return void close(session);
    sweeper ??= setInterval(sweep, limits.sweepEveryMs).unref();
    const own = owners.get(owner)!;
    if (own.size > limits.mostOfOneOwner) closeFirst(own);
    let kept = 0;
    for (const { size } of owners.values()) kept += size;
    if (kept > limits.most) closeFirst(owners.values().next().value!);
  }

  function touch(session: Session): void {
    session.usedAt = performance.now();
    const own = owners.get(session.owner) ?? new Map<string, Session>();
    own.delete(session.href);
    own.set(session.href, session);
    owners.delete(session.owner);
    owners.set(session.owner, own);
  }

  function closeFirst(own: Map<string, Session>): void {
    const first = own.values().next().value;
    if (first) void close(first);
  }

  /** A session that a call runs on is told to its server when that call has ended. */
  async function close(session: Session): Promise<void> {
    remove(session);
    if (session.calls > 0) return;
    byLink.delete(session.link);
    await end(session);
  }

  function remove(session: Session): void {
    session.isKept = false;
    const own = owners.get(session.owner);
    if (own?.get(session.href) !== session) return;
    own.delete(session.href);
    if (own.size === 0) owners.delete(session.owner);
  }

  function forget(link: Link): void {
    const session = byLink.get(link);
    byLink.delete(link);
    if (session) remove(session);
  }

  function use(link: Link): () => void {
    const session = byLink.get(link);
    if (!session) return () => {};
    session.calls += 1;
    return () => {
      session.calls -= 1;
      if (!session.isKept && byLink.has(link)) void close(session);
      else session.usedAt = performance.now();
    };
  }

  function sweep(): void {
    const usedBefore = performance.now() - limits.idleMs;
    for (const session of byLink.values()) {
      if (session.isKept && session.calls === 0 && session.usedAt <= usedBefore) void close(session);
    }
    if (byLink.size === 0) stopSweeper();
  }

  function stopSweeper(): void {
    clearInterval(sweeper);
    sweeper = undefined;
  }

  return {
    find,
    keep,
    forget,
    use,
    close: async () => {
      isClosed = true;
      stopSweeper();
      await Promise.all([...byLink.values()].map(close));
    },
  };
}
