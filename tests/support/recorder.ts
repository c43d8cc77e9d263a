import type { Emit, Event } from "../../src/observe/events.ts";

export type Kind = Event["kind"];
type Of<K extends Kind> = Extract<Event, { kind: K }>;

/** Keeps events and lets tests wait for them. */
export interface Recorder {
  readonly emit: Emit;
  readonly events: readonly Event[];
  /** All events of a kind so far. */
  all<K extends Kind>(kind: K): readonly Of<K>[];
  /** The next event of a kind that nobody was given yet: at once when it has happened already. */
  next<K extends Kind>(kind: K): Promise<Of<K>>;
}

export function openRecorder(): Recorder {
  const events: Event[] = [];
  const given = new Map<Kind, number>();
  const waiting = new Set<() => void>();
  const all = <K extends Kind>(kind: K) =>
    events.filter((event): event is Of<K> => event.kind === kind);
  return {
    events,
    emit(event) {
      events.push(event);
      for (const look of waiting) look();
    },
    all,
    next(kind) {
      const index = given.get(kind) ?? 0;
      given.set(kind, index + 1);
      return new Promise((resolve) => {
        const look = (): void => {
          const found = all(kind)[index];
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      });
    },
  };
}
