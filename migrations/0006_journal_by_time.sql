-- What is new in the journal is read by its time every few seconds. A part of it that is full gets its summary with
-- the next round of autovacuum now, and not with the next vacuum of the table, until which all that was added
-- would be read.
ALTER INDEX "journal_by_time" SET (autosummarize = true);
