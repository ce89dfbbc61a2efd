import { htmlToMarkdown, type HtmlJob } from './html-markdown.ts';
import { replyWith } from './worker-reply.ts';

await replyWith((job: HtmlJob) => htmlToMarkdown(job));
