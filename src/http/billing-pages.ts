import { Hono } from 'hono';
import { LINK_EXPIRED_PATH, ONBOARDED_PATH } from '../billing/payout-accounts.ts';
import type { HttpEnv } from './env.ts';

// Nothing is loaded from anywhere, and nobody may frame a page that speaks of money.
const POLICY =
  "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Where Stripe sends people back to. They tell what happens next; whether it was paid only Stripe says. */
export function billingPages(): Hono<HttpEnv> {
  const routes = new Hono<HttpEnv>();
  for (const { path, title, words } of PAGES) {
    const page = layOut(title, words);
    routes.get(path, (c) => {
      c.header('content-security-policy', POLICY);
      c.header('referrer-policy', 'no-referrer');
      return c.html(page);
    });
  }
  return routes;
}

const PAGES = [
  {
    path: '/billing/paid',
    title: 'Thank you',
    words:
      'Your payment is with Stripe. The credits are added as soon as Stripe confirms it: with a card that takes seconds, with a bank transfer it can take days. Receipt and invoice come by e-mail from Stripe, and are listed at <code>GET /v1/billing/invoices</code>. You can close this page.',
  },
  {
    path: '/billing/cancelled',
    title: 'Nothing was paid',
    words:
      'You left the payment page, and your card was not charged. The same payment link works until it expires; a new one comes from <code>POST /v1/billing/load</code>. You can close this page.',
  },
  {
    path: ONBOARDED_PATH,
    title: 'Thank you',
    words:
      'Stripe has what you entered. Whether it pays you already, and what it still wants to know, is at <code>GET /v1/billing/payouts/account</code>. You can close this page.',
  },
  {
    path: LINK_EXPIRED_PATH,
    title: 'This link was used or is too old',
    words:
      'Ask for a new one with <code>POST /v1/billing/payouts/account</code>. What you entered so far is kept.',
  },
];

function layOut(title: string, words: string): string {
  return `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${title} · Sentinel</title>
    <style>
      :root { color-scheme: light dark; }
      body { font: 16px/1.6 system-ui, sans-serif; max-width: 34rem; margin: 15vh auto; padding: 0 1rem; }
      h1 { line-height: 1.2; text-wrap: balance; }
      /* In one piece, unless it alone is longer than a line. */
      code { display: inline-block; max-width: 100%; overflow-wrap: anywhere; font-size: 0.9em; }
    </style>
  </head>
  <body>
    <h1>${title}</h1>
    <p>${words}</p>
  </body>
</html>
`;
}
