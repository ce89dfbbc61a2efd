import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

const here = import.meta.dirname;
const SUITE = join(here, '../../node_modules/@modelcontextprotocol/conformance/dist/index.js');

const PASSED = {
  '2025-11-25': [
    'initialize',
    'tools_call',
    'elicitation-sep1034-client-defaults',
    'sse-retry',
    'json-schema-2020-12-preservation',
  ],
  '2026-07-28': [
    'tools_call',
    'request-metadata',
    'sep-2322-client-request-state',
    'http-standard-headers',
    'http-custom-headers',
    'http-invalid-tool-headers',
    'json-schema-ref-no-deref',
    'json-schema-2020-12-preservation',
  ],
};

for (const [revision, scenarios] of Object.entries(PASSED)) {
  test(
    `a host behind the proxy meets every requirement of ${revision} but OAuth`,
    { timeout: 180_000 },
    async (t) => {
      const directory = await mkdtemp(join(tmpdir(), 'conformance-'));
      t.after(() => rm(directory, { recursive: true }));
      const { code, output } = await runSuite(directory, revision);
      for (const scenario of scenarios)
        assert.match(output, new RegExp(`✓ ${scenario}: [1-9]\\d* passed, 0 failed`));
      // The suite also fails when something listed as expected to fail passes, or something unlisted fails.
      assert.equal(code, 0, output.slice(output.indexOf('=== SUITE SUMMARY')));
    },
  );
}

function runSuite(cwd: string, revision: string): Promise<{ code: number | null; output: string }> {
  const driver = `${process.execPath} ${join(here, 'conformance-driver.ts')}`;
  const expected = join(here, 'conformance-expected-failures.yml');
  const args = [
    SUITE,
    'client',
    '--command',
    driver,
    '--requirements',
    revision,
    '--expected-failures',
    expected,
  ];
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      args,
      { cwd, maxBuffer: 64 * 1024 * 1024 },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, output: stdout + stderr }),
    );
  });
}
