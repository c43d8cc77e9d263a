/** What happened to messages and their recipients. */
export interface LedgerCounts {
  stored: number;
  notices: number;
  attempts: number;
  delivered: number;
  bounced: number;
  dropped: number;
  duplicates: number;
  ghosts: number;
}

export function noCounts(): LedgerCounts {
  return {
    stored: 0,
    notices: 0,
    attempts: 0,
    delivered: 0,
    bounced: 0,
    dropped: 0,
    duplicates: 0,
    ghosts: 0,
  };
}
