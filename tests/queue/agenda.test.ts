import { expect, test } from "bun:test";
import { Agenda, type AgendaOptions, LANES_MAX, sharedWindow } from "../../src/queue/agenda.ts";
import { OPTIONS } from "./queue-fixture.ts";

const NOW = 1000;
const waiting = (id: string) => ({ id, domain: "one.test", takenAt: NOW });

test("no more destinations are remembered than the limit; busy ones and those in trouble stay", () => {
  const agenda = new Agenda(OPTIONS);
  agenda.lane("trouble.test").throttle.lastFailure = "Connection refused";
  agenda.add("busy.test", waiting("1"), NOW);
  agenda.reserve(["reserved.test"], NOW);
  for (let count = 0; count < 3 * LANES_MAX; count += 1) {
    agenda.lane(`d${count}.test`);
    if (count % 1000 === 0) expect([...agenda.lanes()].length).toBeLessThanOrEqual(LANES_MAX);
  }
  for (const destination of ["trouble.test", "busy.test", "reserved.test"]) {
    expect(agenda.known(destination)?.destination).toBe(destination);
  }
  expect(agenda.known("d0.test")).toBeUndefined();
});

test("when all are in trouble they are forgotten too, rather than remembered without end", () => {
  const agenda = new Agenda(OPTIONS);
  for (let count = 0; count < 2 * LANES_MAX; count += 1) {
    agenda.lane(`d${count}.test`).throttle.lastFailure = "Connection refused";
  }
  expect([...agenda.lanes()].length).toBeLessThanOrEqual(LANES_MAX);
});

test("a node that shares its storage leaves the others something to do", () => {
  const windowOf = (changes: Partial<AgendaOptions>, limitMax = 20) => {
    const throttle = { ...OPTIONS.throttle, limitMax };
    const options = { ...OPTIONS, deliveriesMax: 200, waitingPerDestinationMax: 1000, throttle };
    return sharedWindow({ ...options, ...changes }).waitingPerDestinationMax;
  };
  expect(windowOf({})).toBe(100);
  expect(windowOf({}, 50)).toBe(250);
  expect(windowOf({ deliveriesMax: 10 }, 50)).toBe(50);
  expect(windowOf({ waitingPerDestinationMax: 30 })).toBe(30);
});

test("places are reserved for all destinations named or for none", () => {
  const agenda = new Agenda({ ...OPTIONS, waitingMax: 5, waitingPerDestinationMax: 2 });
  expect(agenda.reserve(["a", "b", "a"], NOW)).toBe(true);
  expect(agenda.room).toBe(2);
  expect(agenda.reserve(["b", "a"], NOW)).toBe(false);
  expect(agenda.room).toBe(2);
  expect(agenda.roomFor("b", NOW)).toBe(1);
  expect(agenda.reserve(["c", "c", "c"], NOW)).toBe(false);
  agenda.unreserve(["a", "b", "a"]);
  expect(agenda.room).toBe(5);
  expect(agenda.roomFor("a", NOW)).toBe(2);
});

test("a lane that is given places as soon as it asks starts at once", () => {
  const agenda = new Agenda(OPTIONS, (lane) => {
    lane.places = 1;
  });
  agenda.add("one.test", waiting("1"), NOW);
  expect(agenda.next(NOW)?.waiting.id).toBe("1");
});
