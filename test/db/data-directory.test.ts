import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openDataDirectory } from '../../src/db/data-directory.ts';

const SUBJECT = new URL('../../src/db/data-directory.ts', import.meta.url).href;

let parent: string;
/** Whatever a failed test left running, so that the file still ends. */
const children: ChildProcess[] = [];
before(async () => {
  parent = await mkdtemp(join(tmpdir(), 'sentinel-data-'));
});
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  await rm(parent, { recursive: true });
});

test('a missing data directory is created for its owner only', async () => {
  const directory = await openDataDirectory(join(parent, 'new'));
  assert.equal((await stat(directory.path)).mode & 0o777, 0o700);
  await directory.release();
});

test('a second process is refused with the first one named, until the first releases', async () => {
  const path = join(parent, 'refused');
  const mine = await openDataDirectory(path);
  assert.equal(
    await opened(openInChild(path)),
    `refused Another Sentinel (process ${process.pid}) is using ${mine.path}. ` +
      'Stop it, or set SENTINEL_DATA to another directory.',
  );
  await mine.release();
  const child = openInChild(path);
  assert.equal(await opened(child), 'opened');
  await kill(child);
});

test('the same process is refused a second time too', async () => {
  const path = join(parent, 'same');
  const mine = await openDataDirectory(path);
  await assert.rejects(openDataDirectory(path), /Another Sentinel/);
  await mine.release();
});

test('the directory of a process that was killed can be opened at once', async () => {
  const path = join(parent, 'killed');
  const child = openInChild(path);
  assert.equal(await opened(child), 'opened');
  await kill(child);
  const mine = await openDataDirectory(path);
  await mine.release();
});

test('of eight processes that start together on a killed one’s directory, exactly one gets it', async () => {
  const path = join(parent, 'together');
  const killed = openInChild(path);
  await opened(killed);
  await kill(killed);

  const children = Array.from({ length: 8 }, () => openInChild(path));
  const answers = await Promise.all(children.map(opened));
  assert.equal(answers.filter((answer) => answer === 'opened').length, 1, answers.join('\n'));
  await Promise.all(children.map(kill));
});

test('a path that cannot be a directory is refused with what to do', async () => {
  const file = join(parent, 'file');
  await writeFile(file, '');
  await assert.rejects(openDataDirectory(file), /cannot be used \(.*\)\. Set SENTINEL_DATA to a directory/);
});

/** Opens the directory in another process, says how that went, and keeps it until killed. */
function openInChild(path: string): ChildProcess {
  const script = `
    const { openDataDirectory } = await import(${JSON.stringify(SUBJECT)});
    try { await openDataDirectory(${JSON.stringify(path)}); console.log('opened'); process.stdin.resume(); }
    catch (error) { console.log('refused ' + error.message); }`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  return child;
}

async function opened(child: ChildProcess): Promise<string> {
  assert.ok(child.stdout);
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return line.toString().trim();
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGKILL');
  await exited;
}
