/** Something that is done again and again, each time by one process. */
export type Job = {
  /** How often, or when: cron fields, in UTC, and the longest time from one run to the next. */
  repeat: { everyMs: number } | { cron: string; apartMs: number };
  /** How often a failed run is tried again. A job that runs every minute anyway needs none. */
  retries: number;
  /** Safe to be run twice: a process that was killed may have done all of it but say so. */
  run(id: string): Promise<unknown>;
};

/** Every job there is, by name. */
export type Schedule = Readonly<Record<string, Job>>;
