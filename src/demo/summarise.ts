import type { Paragraph } from './pdf-paragraphs.ts';
import { CAPTION, ENDS_SENTENCE, LIST_MARK } from './sentence-marks.ts';
import { contentWords, splitSentences, splitWords } from './sentences.ts';

/** One sentence of the document, word for word, and the page its paragraph begins on. */
export type Bullet = { page: number; text: string };

/**
 * Picks the sentences that say most about the whole, in reading order. Extractive and deterministic: nothing
 * is invented, and the same document gives the same bullets.
 *
 * A sentence's weight is its centrality among all sentences (LexRank, Erkan and Radev 2004: PageRank over
 * tf-idf cosine similarity), corrected by where and how it stands. Sentences are then taken greedily, each
 * losing weight the more it repeats what is already taken (maximal marginal relevance).
 */
export function summarise(paragraphs: Paragraph[], title: string, maxBullets: number): Bullet[] {
  const candidates = strongest(findCandidates(paragraphs));
  const vectors = weighTerms(candidates);
  const titleWords = new Set(contentWords(title));
  const centrality = rank(similarities(vectors));
  const weights = candidates.map(
    (candidate, index) => (centrality[index] ?? 0) * standing(candidate, paragraphs.length, titleWords),
  );

  const taken: number[] = [];
  while (taken.length < Math.min(maxBullets, candidates.length)) {
    taken.push(nextBest(weights, taken, vectors, candidates));
  }
  return taken
    .sort((a, b) => a - b)
    .flatMap((index) => candidates[index] ?? [])
    .map(({ page, text }) => ({ page, text }));
}

type Candidate = Bullet & {
  paragraph: number;
  isFirst: boolean;
  isWhole: boolean;
  words: number;
  terms: string[];
};
type Vector = Map<string, number>;

/** Pairwise similarity is quadratic, so at most this many sentences take part. */
const MAX_CANDIDATES = 1_200;

function findCandidates(paragraphs: Paragraph[]): Candidate[] {
  const all = paragraphs.flatMap(({ kind, page, text }, paragraph) =>
    (kind === 'fragment' ? [text] : splitSentences(text)).map((sentence, index, siblings): Candidate => {
      const clean = sentence.replace(LIST_MARK, '');
      const isItem = index === 0 && clean !== sentence;
      return {
        page,
        text: clean,
        paragraph,
        isFirst: index === 0,
        isWhole:
          kind === 'fragment' ||
          (beginsWhole(clean, isItem) && endsWhole(clean, isItem && siblings.length === 1)),
        words: splitWords(clean).length,
        terms: contentWords(clean),
      };
    }),
  );
  const seen = new Set<string>();
  const distinct = all.filter(({ text }) => !seen.has(text) && seen.add(text));
  const isFragment = ({ paragraph }: Candidate) => paragraphs[paragraph]?.kind === 'fragment';
  const sentences = distinct.filter((candidate) =>
    isFragment(candidate) ? candidate.words >= 2 : isSentence(candidate),
  );
  if (sentences.length > 0) return sentences;
  // A document of nothing but short or broken pieces still has something to say.
  const pieces = distinct.filter(({ words }) => words >= 2);
  return pieces.some(({ isWhole }) => isWhole) ? pieces.filter(({ isWhole }) => isWhole) : pieces;
}

/** A small letter begins the rest of a sentence whose start stands elsewhere; in a list it may begin an item. */
function beginsWhole(text: string, isItem: boolean): boolean {
  if (/^["'“‘«([¿¡]*\p{Ll}/u.test(text)) return isItem || /^["'“‘«(]?\p{Ll}\p{Lu}/u.test(text);
  return !/^[,;:.…)\]}”’»!?/&%]/u.test(text);
}

/** An item of a list may do without a full stop; the rest of what has none is a piece. */
function endsWhole(text: string, isOnlyInItem: boolean): boolean {
  if (/^\p{Ll}/u.test(text) && /([;,]|[;,]\s*(and|or|und|oder))$/iu.test(text)) return false;
  return isOnlyInItem || ENDS_SENTENCE.test(text.replace(/[\d¹²³⁰⁴-⁹[\],]+$/u, ''));
}

function isSentence({ text, words, terms, isWhole }: Candidate): boolean {
  const letters = text.match(/[\p{L}\p{M}]/gu)?.length ?? 0;
  return (
    isWhole &&
    words >= 5 &&
    words <= 70 &&
    terms.length >= 2 &&
    letters >= text.length * 0.6 &&
    !text.endsWith(':') &&
    !/^(copyright|©|doi|https?:)/i.test(text) &&
    !CAPTION.test(text)
  );
}

/** Prefers sentences made of the document's frequent words when there are too many, and keeps their order. */
function strongest(candidates: Candidate[]): Candidate[] {
  if (candidates.length <= MAX_CANDIDATES) return candidates;
  const frequency = new Map<string, number>();
  for (const { terms } of candidates)
    for (const term of terms) frequency.set(term, (frequency.get(term) ?? 0) + 1);
  const strength = ({ terms }: Candidate) =>
    terms.reduce((sum, term) => sum + (frequency.get(term) ?? 0), 0) / (terms.length + 5);
  const kept = new Set(candidates.toSorted((a, b) => strength(b) - strength(a)).slice(0, MAX_CANDIDATES));
  return candidates.filter((candidate) => kept.has(candidate));
}

/** One vector of length 1 for each sentence: term frequency times inverse sentence frequency. */
function weighTerms(candidates: Candidate[]): Vector[] {
  const sentencesWith = new Map<string, number>();
  for (const { terms } of candidates) {
    for (const term of new Set(terms)) sentencesWith.set(term, (sentencesWith.get(term) ?? 0) + 1);
  }
  return candidates.map(({ terms }) => {
    const vector: Vector = new Map();
    for (const term of terms) {
      const rarity = Math.log(1 + candidates.length / (sentencesWith.get(term) ?? 1));
      vector.set(term, (vector.get(term) ?? 0) + rarity);
    }
    const length = Math.hypot(...vector.values()) || 1;
    for (const [term, weight] of vector) vector.set(term, weight / length);
    return vector;
  });
}

function similarities(vectors: Vector[]): Float64Array[] {
  const matrix = vectors.map(() => new Float64Array(vectors.length));
  vectors.forEach((a, i) => {
    for (let j = i + 1; j < vectors.length; j += 1) {
      const similarity = cosine(a, vectors[j]!);
      matrix[i]![j] = similarity;
      matrix[j]![i] = similarity;
    }
  });
  return matrix;
}

function cosine(a: Vector, b: Vector): number {
  const [small, large] = a.size < b.size ? [a, b] : [b, a];
  let sum = 0;
  for (const [term, weight] of small) sum += weight * (large.get(term) ?? 0);
  return sum;
}

const DAMPING = 0.85;
const ROUNDS = 30;

function rank(matrix: Float64Array[]): Float64Array {
  const count = matrix.length;
  const totals = matrix.map((row) => row.reduce((sum, value) => sum + value, 0));
  let ranks = new Float64Array(count).fill(1);
  for (let round = 0; round < ROUNDS; round += 1) {
    const next = new Float64Array(count).fill(1 - DAMPING);
    for (let from = 0; from < count; from += 1) {
      const total = totals[from]!;
      if (total === 0) continue;
      const share = (DAMPING * ranks[from]!) / total;
      const row = matrix[from]!;
      for (let to = 0; to < count; to += 1) next[to]! += share * row[to]!;
    }
    ranks = next;
  }
  return ranks;
}

/** Authors open documents and paragraphs with what matters; sentences that lean on the one before do not stand alone. */
function standing(candidate: Candidate, paragraphs: number, titleWords: Set<string>): number {
  const { text, words, terms, isFirst, paragraph } = candidate;
  let factor = 1;
  if (isFirst) factor *= 1.2;
  if (paragraph < paragraphs * 0.1) factor *= 1.15;
  if (paragraph >= paragraphs * 0.95) factor *= 1.1;
  if (terms.some((term) => titleWords.has(term))) factor *= 1.1;
  if (!isFirst && LEANING.test(text)) factor *= 0.7;
  if (isFirst && LEANING.test(text)) factor *= 0.85;
  if (words < 12) factor *= words < 8 ? 0.6 : 0.85;
  if (words > 40) factor *= 0.8;
  if (text.endsWith('?')) factor *= 0.5;
  if (!/^["'“‘(]?[\p{Lu}\p{Lo}\d]/u.test(text)) factor *= 0.5;
  if ((text.match(/[_*=<>[\]{}\\|]/g)?.length ?? 0) > 2) factor *= 0.4;
  if (BOILERPLATE.test(text)) factor *= 0.3;
  return factor;
}

const BOILERPLATE =
  /permission is granted|all rights reserved|warrant(?:y|ies)|this (?:work|document) is licen[sc]ed/i;

const LEANING =
  /^(this|that|these|those|it|its|he|she|they|their|his|her|both|neither|either|such|however|but|and|or|so|therefore|thus|hence|also|then|for this reason|for example|for instance|in addition|moreover|furthermore|on the other hand|\p{L}+ing (?:it|this|them))\b/iu;

function nextBest(weights: number[], taken: number[], vectors: Vector[], candidates: Candidate[]): number {
  let best = -1;
  let bestWeight = -Infinity;
  weights.forEach((weight, index) => {
    if (taken.includes(index)) return;
    let remaining = weight;
    for (const other of taken) {
      if (candidates[other]?.paragraph === candidates[index]?.paragraph) remaining *= 0.6;
    }
    const repeated = Math.max(0, ...taken.map((other) => cosine(vectors[index]!, vectors[other]!)));
    remaining *= 1 - repeated;
    if (remaining > bestWeight) {
      best = index;
      bestWeight = remaining;
    }
  });
  return best;
}
