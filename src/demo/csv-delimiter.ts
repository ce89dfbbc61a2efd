const DELIMITERS = [',', ';', '\t', '|'];
const LINES = 20;

/** The delimiter that splits the first lines into the most equal number of cells; a comma when none does. */
export function detectDelimiter(head: string): string {
  const records = splitRecords(head);
  let best = ',';
  let bestScore = 0;
  for (const delimiter of DELIMITERS) {
    const counts = records.map((record) => record.split(delimiter).length);
    const width = counts[0] ?? 1;
    if (width < 2) continue;
    // How many lines agree with the header matters most; among equals the one with more columns.
    const score = counts.filter((count) => count === width).length / counts.length + width / 1_000_000;
    if (score > bestScore) {
      best = delimiter;
      bestScore = score;
    }
  }
  return best;
}

/** The first records with their quoted cells emptied: what is quoted may hold any delimiter and line break. */
function splitRecords(head: string): string[] {
  const records = head
    .replace(/"(?:[^"]|"")*("|$)/g, '')
    .split(/\r\n|\n|\r/)
    .filter((line) => line.trim() !== '');
  // The last line may be cut in the middle.
  return records.slice(0, Math.max(1, Math.min(LINES, records.length - (head.length >= 65_536 ? 1 : 0))));
}
