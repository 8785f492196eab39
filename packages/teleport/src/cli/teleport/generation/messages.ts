// What a daemon and the one that takes over from it say to each other, over the channel Node gives a child process.
// Either may be of another version: what is not understood is left alone.

/** Starts a daemon as one that takes over from its parent. */
export const heirVariable = 'SALLYPORT_TAKES_OVER';

/** From the one that takes over. */
export type HeirMessage =
  /** Answered with the socket, if there is one. */
  | { readonly ask: 'socket'; readonly key: string; readonly id: number }
  /** Answered once the auth service has let go of what only one daemon may hold. */
  | { readonly ask: 'yield-auth'; readonly id: number }
  | { readonly tell: 'ready' }
  | { readonly tell: 'failed'; readonly message: string };

/** To the one that takes over; a socket comes beside it. */
export interface HeirAnswer {
  readonly answer: number;
}
