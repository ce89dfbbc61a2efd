/** The mark of an item of a list, and the white after it. */
export const LIST_MARK = /^([•▪‣◦●–*-]|\(?\d{1,2}[.)]|\(?(?:[a-z]|[ivx]{1,4})\))\s+/;

/** The end of a sentence in any script, or of a clause that stands alone. */
export const ENDS_SENTENCE = /[\p{Sentence_Terminal}:;…]["'”’»«)\]]*$/u;

/** What stands below a figure or above a table. */
export const CAPTION =
  /^(figure|fig\.|table|abbildung|abb\.|tabelle|tab\.|exhibit|chart|plate)\s*[\dIVX]+(\.\d+)*\s*[.:|–-]/i;
