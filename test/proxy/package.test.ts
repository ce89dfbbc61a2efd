import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { Client } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';
import { startStatelessGateway } from './gateways.ts';
import { proxyEnv } from './raw-host.ts';

const run = promisify(execFile);
const PACKAGE = join(import.meta.dirname, '../../src/proxy');

test(
  'the packed package runs with npx in an empty home, with whichever Node the machine has',
  { timeout: 120_000 },
  async (t) => {
    const home = await mkdtemp(join(tmpdir(), 'proxy-home-'));
    t.after(() => rm(home, { recursive: true }));
    const gateway = await startStatelessGateway();
    t.after(gateway.close);

    const path = process.env['PATH'] ?? '';
    const buildEnv = { PATH: dirname(process.execPath) + delimiter + path, HOME: home };
    const packed = await run('npm', ['pack', '--json', '--pack-destination', home], {
      cwd: PACKAGE,
      env: buildEnv,
    });
    const [{ filename, files }] = JSON.parse(packed.stdout.slice(packed.stdout.indexOf('['))) as [
      { filename: string; files: { path: string }[] },
    ];
    const contents = files.map(({ path: file }) => file).sort();
    assert.deepEqual(contents, [
      'README.md',
      'dist/eventsource-parser.LICENSE',
      'dist/mcp-proxy.js',
      'package.json',
    ]);

    const manifest = JSON.parse(await readFile(join(PACKAGE, 'package.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    assert.equal(manifest['dependencies'], undefined, 'everything is in the bundle');

    // Our own pinned Node is taken off the path: a user's machine has another one.
    const userPath = path
      .split(delimiter)
      .filter((entry) => !entry.includes('node_modules'))
      .join(delimiter);
    const env = { ...proxyEnv({ SENTINEL_URL: gateway.url }), PATH: userPath, HOME: home };
    // Relative, because npx takes an absolute path for a program to run.
    const args = ['-y', `./${filename}`];
    const { stdout } = await run('npx', [...args, 'doctor', '--json'], { env, cwd: home });
    assert.equal((JSON.parse(stdout) as { ok: boolean }).ok, true, stdout);

    const client = new Client(
      { name: 'host', version: '1.0.0' },
      { versionNegotiation: { mode: { pin: '2026-07-28' } } },
    );
    t.after(() => client.close());
    await client.connect(new StdioClientTransport({ command: 'npx', args, env, cwd: home }));
    const { content } = await client.callTool({ name: 'echo', arguments: { n: 1 } });
    assert.deepEqual(content, [{ type: 'text', text: '{"n":1}' }]);
  },
);
