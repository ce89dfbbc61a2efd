/** What the command line may do that is not a request to a running gateway. Resolves when it is over. */
export type Runtime = {
  environment: Record<string, string | undefined>;
  serve(flags: { demo: boolean; port?: string; host?: string }): Promise<void>;
  migrate(): Promise<{ applied: number }>;
};
