// Calls that change something, sent again because the connection broke before the answer: the same call, which
// must not be carried out twice. A client names each call; whoever serves it remembers the name with the change.
//   x-sallyport-once: <uuid>      the same for each attempt
//   x-sallyport-attempt: 2        absent for the first: then nobody looks whether it was carried out before

export const onceHeader = 'x-sallyport-once';
export const attemptHeader = 'x-sallyport-attempt';
