/**
 * While a slot of a cluster moves to another node, some of its keys are here and some there. A script there would take the
 * ones that are elsewhere for missing: mail would be gone for it, and a step that changes several keys would break off in
 * the middle. Only commands over one key are safe then. To ask for two keys that nobody has is refused for just as long, on
 * both nodes. So a script asks first and changes nothing then; by the word it begins with, the client library tries again a
 * few times.
 */
const CHECK = `
if type(redis.pcall('EXISTS', KEYS[1] .. ':nobody', KEYS[1] .. ':nothing')) == 'table' then
  return redis.error_reply('TRYAGAIN the slot of the queue is moving')
end`;

/** The same script, for a cluster: it does nothing while its slot is in two places. */
export function waitingForSlot(script: string): string {
  const [shebang = "", ...body] = script.split("\n");
  return [shebang, CHECK, ...body].join("\n");
}
