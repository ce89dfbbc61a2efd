import { formatCredits } from '../base/money.ts';
import type { Demo } from './demo.ts';

/** What the terminal shows when the gateway is up: everything a newcomer pastes to make the first paid call. */
export function greeting(facts: {
  url: string;
  directory: string;
  databaseUrl: string | undefined;
  demo: Demo | undefined;
}): string {
  const { url, demo } = facts;
  const where =
    facts.databaseUrl === undefined ? `embedded PostgreSQL in ${facts.directory}` : 'your PostgreSQL';
  const lines = [
    '',
    `  Sentinel is running`,
    '',
    `  MCP endpoint   ${url}/mcp`,
    `  REST API       ${url}/docs`,
    `  Data           ${where}`,
  ];
  if (demo === undefined) {
    lines.push('', '  Make an organization and a key:', '    npx sentinel orgs create "My company"', '');
    return lines.join('\n');
  }
  lines.push(
    `  API key        ${demo.key}`,
    `                 (test credits: ${formatCredits(demo.balanceMicros)})`,
    '',
    '  Paste this into your MCP host (Claude Code, Cursor, VS Code, …):',
    '',
    ...indent(hostConfiguration(url, demo.key)),
    '',
    '  Or make a paid call from here:',
    '',
    ...indent(curlLine(url, demo)),
    '',
    '  Stop with Ctrl-C.',
    '',
  );
  return lines.join('\n');
}

function hostConfiguration(url: string, key: string): string {
  const server = { type: 'http', url: `${url}/mcp`, headers: { Authorization: `Bearer ${key}` } };
  return JSON.stringify({ mcpServers: { sentinel: server } }, null, 2);
}

function curlLine(url: string, demo: Demo): string {
  return [
    `curl -s ${url}/v1/agents/agt_pdf_summariser_v2/invoke \\`,
    `  -H 'Authorization: Bearer ${demo.key}' -H 'Content-Type: application/json' \\`,
    `  -d '${JSON.stringify({ inputs: { url: demo.sampleUrl, max_bullets: 3 } })}'`,
  ].join('\n');
}

function indent(text: string): string[] {
  return text.split('\n').map((line) => `    ${line}`);
}
