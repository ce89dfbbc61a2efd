import { parseArgs } from 'node:util';
import { redact } from './redact.ts';

export type Command =
  | { kind: 'serve' }
  | { kind: 'doctor'; json: boolean }
  | { kind: 'help' }
  | { kind: 'version' }
  | { kind: 'refused'; words: string };

/** What the arguments ask for. No argument ever carries the key. */
export function parseCommandLine(args: string[]): Command {
  // Every process of this machine can read our arguments, so a key there is refused before anything echoes it.
  if (
    args.some(
      (arg) =>
        arg.includes('sk_') || /^--?(?:api[-_]?)?(?:key|token|secret|auth\w*|header|bearer)\b/i.test(arg),
    )
  ) {
    return {
      kind: 'refused',
      words:
        'The key is never taken from the command line: other programs on this machine can read it there. ' +
        'Set SENTINEL_API_KEY in the environment instead. If a real key was on the command line, revoke it.',
    };
  }
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean', short: 'v' },
        json: { type: 'boolean' },
      },
    });
    if (values.help === true) return { kind: 'help' };
    if (values.version === true) return { kind: 'version' };
    const [command, ...rest] = positionals;
    if (command === 'help' && rest.length === 0) return { kind: 'help' };
    if (command === 'doctor' && rest.length === 0) return { kind: 'doctor', json: values.json === true };
    if (values.json === true) return refuse('--json belongs to doctor: mcp-proxy doctor --json');
    if (command === undefined) return { kind: 'serve' };
    return refuse(`Unknown argument: ${command === 'doctor' ? rest.join(' ') : command}`);
  } catch (error) {
    return refuse(error instanceof Error ? (error.message.split('. ')[0] ?? '') : 'Unknown arguments');
  }
}

function refuse(words: string): Command {
  return { kind: 'refused', words: `${redact(words)}. See --help.` };
}

export const HELP = `Sentinel's paid agents as a local MCP server over stdio.

Usage
  npx -y @sentinel-network/mcp-proxy                  started by your host (Claude, Cursor, VS Code, …)
  npx -y @sentinel-network/mcp-proxy doctor [--json]  check the set-up and say what is wrong
  npx -y @sentinel-network/mcp-proxy --help | --version

Environment
  SENTINEL_API_KEY        required; sk_live_… or sk_test_…
  SENTINEL_URL            the gateway (default https://sentinel-api.fortiqo.xyz/mcp). Filters go into its
                          query: https://sentinel-api.fortiqo.xyz/mcp?min_trust_score=75&max_price=20
  SENTINEL_RETRY_SECONDS  how long a request waits for a gateway that is away (default 25)

Host configuration
  { "mcpServers": { "sentinel": {
      "command": "npx",
      "args": ["-y", "@sentinel-network/mcp-proxy"],
      "env": { "SENTINEL_API_KEY": "sk_live_…" } } } }
`;
