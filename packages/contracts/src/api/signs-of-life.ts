// How a caller tells a slow server from a silent one (stopped, its network swallowed), which nobody's TCP would say
// for minutes. While a call is carried out the server sends an interim answer (102, RFC 2518 section 10.1) every half
// second, on the very connection, whoever passes it on. A quiet stream has `alive` lines; its head says how often:
//   x-sallyport-alive: 4          seconds between two, at most

export const aliveHeader = 'x-sallyport-alive';
