import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import type { Command } from 'commander';
import { findReceipts, readJson, type Finding } from '../../client/find-receipts.ts';
import type { KeySet } from '../../client/key-set.ts';
import { verifyChain, type KnownEnd } from '../../client/verify-chain.ts';
import { verifyProof } from '../../client/verify-proof.ts';
import { assertHashOf, verifyReceipt, type ProvenReceipt } from '../../client/verify-receipt.ts';
import { addCommand, examples } from '../command.ts';
import { CommandFailure } from '../describe-failure.ts';
import { loadKeySet } from '../key-set.ts';
import { printJson, printLine } from '../print.ts';
import type { Runtime } from '../runtime.ts';

/** `sentinel receipts verify`. */
export function addVerify(receipts: Command, environment: Runtime['environment']): void {
  addCommand(receipts, 'verify <file...>', 'check receipts without asking anyone; - is standard input')
    .option('--jwks <where>', "file or URL of the gateway's public keys; else they are asked of the gateway")
    .option('--chain', 'the receipts are a whole chain in its order: none missing, none twice, none foreign')
    .option('--head <hash>', 'the hash of the last receipt of the chain')
    .option('--proof <file>', "a day's proof: the chain must reach what it was made over")
    .option('--input <file>', 'the arguments the one receipt is for, as JSON')
    .option('--output <file>', 'the answer the one receipt is for, as JSON')
    .addHelpText(
      'after',
      examples(
        'sentinel receipts verify receipt.json --jwks jwks.json',
        'sentinel receipts verify receipt.json --input arguments.json',
        'sentinel receipts verify receipts.jsonl --chain --proof proof.json',
      ),
    )
    .action(async (files: string[], options: VerifyOptions) => {
      const keys = await loadKeySet(options.jwks, environment);
      const verdicts = (await Promise.all(files.map(readFindings))).flat().map((each) => judge(each, keys));
      const chain = await judgeChain(verdicts, options, keys);
      await checkHashes(verdicts, options);
      report(verdicts, chain, options.json === true);
    });
}

type VerifyOptions = {
  jwks?: string;
  chain?: boolean;
  head?: string;
  proof?: string;
  input?: string;
  output?: string;
  json?: boolean;
};

/** One receipt and where it was found. */
type Verdict = { source: string } & ({ ok: true; proven: ProvenReceipt } | { ok: false; error: string });
type ChainVerdict = { ok: true; length: number; head: string } | { ok: false; error: string };

async function readFindings(file: string): Promise<(Finding & { source: string })[]> {
  const text = await readText(file);
  const name = file === '-' ? 'standard input' : file;
  const findings = findReceipts(text);
  if (findings.length === 0) return [{ source: name, fault: 'There is no receipt in it.' }];
  return findings.map((finding) => ({
    ...finding,
    source: finding.line === undefined ? name : `${name}:${finding.line}`,
  }));
}

async function readText(file: string): Promise<string> {
  if (file === '-') return readAll(process.stdin);
  return readFile(file, 'utf8').catch(() => {
    throw new CommandFailure(`${file} cannot be read.`);
  });
}

function judge(finding: Finding & { source: string }, keys: KeySet): Verdict {
  const { source } = finding;
  if ('fault' in finding) return { source, ok: false, error: finding.fault };
  try {
    return { source, ok: true, proven: verifyReceipt(finding.found, keys) };
  } catch (error) {
    return { source, ok: false, error: sentenceOf(error) };
  }
}

async function judgeChain(
  verdicts: readonly Verdict[],
  { chain, head, proof }: VerifyOptions,
  keys: KeySet,
): Promise<ChainVerdict | undefined> {
  if (!chain && head === undefined && proof === undefined) return undefined;
  const proven = verdicts.flatMap((verdict) => (verdict.ok ? [verdict.proven] : []));
  const last = proven.at(-1);
  if (proven.length < verdicts.length || !last) {
    return { ok: false, error: 'The chain cannot be checked: not all of its receipts are genuine.' };
  }
  try {
    const ends: KnownEnd[] = [];
    if (head !== undefined) ends.push({ kind: 'head', head: head.toLowerCase() });
    if (proof !== undefined) ends.push(await endByProof(proof, keys));
    verifyChain(proven, ends);
    return { ok: true, length: proven.length, head: last.hash };
  } catch (error) {
    return { ok: false, error: sentenceOf(error) };
  }
}

async function endByProof(file: string, keys: KeySet): Promise<KnownEnd> {
  const { chain, day } = verifyProof(readJson(await readText(file), file), keys);
  if (chain) return { kind: 'proof', chain };
  throw new CommandFailure(`The proof of ${day} was made before this chain had a receipt; take a later one.`);
}

async function checkHashes(verdicts: Verdict[], { input, output }: VerifyOptions): Promise<void> {
  if (input === undefined && output === undefined) return;
  const [only] = verdicts;
  if (verdicts.length !== 1 || !only) {
    throw new CommandFailure('--input and --output are for one receipt at a time.');
  }
  if (!only.ok) return;
  const given = [
    ['input', input],
    ['output', output],
  ] as const;
  for (const [what, file] of given) {
    if (file === undefined) continue;
    const value = readJson(await readText(file), file);
    try {
      assertHashOf(only.proven.receipt, what, value);
    } catch (error) {
      verdicts[0] = { source: only.source, ok: false, error: sentenceOf(error) };
    }
  }
}

/** One line a receipt and one for the chain, so that the whole picture is there before the failure is told. */
function report(verdicts: readonly Verdict[], chain: ChainVerdict | undefined, isJson: boolean): void {
  if (isJson) {
    const ok = verdicts.every((verdict) => verdict.ok) && chain?.ok !== false;
    printJson({ ok, receipts: verdicts.map(toJson), chain: chain ?? null });
  } else {
    for (const verdict of verdicts) printLine(lineOf(verdict));
    if (chain?.ok) printLine(`ok    the chain is whole: ${chain.length} receipts, head ${chain.head}`);
    else if (chain) printLine(`FAIL  ${chain.error}`);
  }
  const failed = verdicts.filter(({ ok }) => !ok).length;
  if (failed > 0) throw new CommandFailure(`${failed} of ${verdicts.length} receipts cannot be trusted.`);
  if (chain?.ok === false) throw new CommandFailure('The receipts are genuine, but the chain is not proven.');
}

function lineOf(verdict: Verdict): string {
  if (!verdict.ok) return `FAIL  ${verdict.source}: ${verdict.error}`;
  const { call_id, seq, outcome, code, charged, held, currency, agent_id, ended_at } = verdict.proven.receipt;
  const money = outcome === 'settled' ? `${charged} of ${held} credits charged` : `nothing charged (${code})`;
  return `ok    ${call_id}  no. ${seq}, ${currency}, ${agent_id}, ${outcome} ${ended_at}: ${money}`;
}

function toJson(verdict: Verdict): object {
  if (!verdict.ok) return verdict;
  const { receipt, hash, keyId } = verdict.proven;
  return { source: verdict.source, ok: true, hash, kid: keyId, receipt };
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
