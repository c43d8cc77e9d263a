/**
 * The store cannot be used as it is set up or asked for: a wrong password, a server that does not keep what it confirms.
 * Trying again does not help, somebody has to change something. The message is for operators and holds no secret.
 */
export class StoreConfigError extends Error {
  override readonly name = "StoreConfigError";
}
