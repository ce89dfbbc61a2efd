-- What is new in the journal is read by its time every few seconds. A part of it that is full gets its summary at
-- once now, and not when a vacuum comes by, until which all that was added would be read.
ALTER INDEX "journal_by_time" SET (autosummarize = true);
