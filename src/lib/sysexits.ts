/** What the process ends with, as in sysexits.h. */
export const exit = {
  ok: 0,
  /** The answer is no, such as "not ready". */
  no: 1,
  usage: 64,
  /** What was named does not exist or cannot be used. */
  data: 65,
  unavailable: 69,
  /** Our own bug. */
  software: 70,
  cannotCreate: 73,
  ioError: 74,
  /** Trying again later may help. */
  temporary: 75,
  noPermission: 77,
  config: 78,
} as const;
