import { profileCsv, type CsvJob } from './csv-profile.ts';
import { replyWith } from './worker-reply.ts';

await replyWith((job: CsvJob) => profileCsv(job));
