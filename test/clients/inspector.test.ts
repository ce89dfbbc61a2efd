import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { startRestGateway, type Member, type RestGateway } from '../http/rest-gateway.ts';
import { manifestOf, startSeller, type TestSeller } from '../support/gateway.ts';

const INSPECTOR = join(
  import.meta.dirname,
  '../../node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js',
);
/** What the inspector says when the server wants another key. */
const AUTH_REQUIRED = 3;

let rest: RestGateway;
let buyer: Member;
let echo: TestSeller;
let home: string;

before(async () => {
  rest = await startRestGateway();
  echo = await startSeller((input) => ({ text: String(input['text']) }));
  await rest.publish(manifestOf('echo', echo.url), 80);
  buyer = await rest.newMember();
  home = await mkdtemp(join(tmpdir(), 'inspector-'));
});

after(async () => {
  await rest?.close();
  await echo?.close();
  await rm(home, { recursive: true, force: true });
});

for (const era of ['modern', 'legacy']) {
  test(`the inspector lists and calls in the ${era} era, and finds no schema that hosts would refuse`, async () => {
    const listed = await inspect(buyer.key, ['--protocol-era', era, '--method', 'tools/list', '--strict']);
    assert.equal(listed.code, 0, listed.stderr);
    const { tools } = JSON.parse(listed.stdout) as { tools: { name: string }[] };
    assert.deepEqual(
      tools.map(({ name }) => name),
      ['sentinel_agt_echo_v1'],
    );

    const call = [
      '--method',
      'tools/call',
      '--tool-name',
      'sentinel_agt_echo_v1',
      '--tool-arg',
      'text=hello',
    ];
    const called = await inspect(buyer.key, ['--protocol-era', era, ...call]);
    assert.equal(called.code, 0, called.stderr);
    const result = JSON.parse(called.stdout) as { structuredContent: unknown };
    assert.deepEqual(result.structuredContent, { text: 'hello' });
  });
}

test('the inspector is told that a key is wrong', async () => {
  const { code, stderr } = await inspect('sk_live_wrong', [
    '--protocol-era',
    'modern',
    '--method',
    'tools/list',
  ]);
  assert.equal(code, AUTH_REQUIRED, stderr);
});

function inspect(
  key: string,
  args: string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const target = ['--cli', `${rest.url}/mcp`, '--transport', 'http', '--stored-auth-only'];
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [INSPECTOR, ...target, '--header', `Authorization: Bearer ${key}`, ...args],
      {
        timeout: 60_000,
        // It keeps a catalogue of servers in the home directory, and looks for `node` on the path.
        env: {
          ...process.env,
          HOME: home,
          PATH: `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`,
        },
      },
      (_, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}
