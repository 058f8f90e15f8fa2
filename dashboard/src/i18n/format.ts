import { clock } from './clock.svelte';
import { locale, type Locale } from './locale.svelte';

const made = new Map<string, unknown>();

/** Formatters are slow to make and are asked for in every row. */
function cached<T>(name: string, make: (locale: Locale) => T): T {
  const key = `${locale.current} ${name}`;
  let found = made.get(key) as T | undefined;
  if (found === undefined) {
    found = make(locale.current);
    made.set(key, found);
  }
  return found;
}

/** A time as the API writes it, as a date, or in milliseconds. */
export type When = string | number | Date;

export function millis(when: When): number {
  return typeof when === 'string' ? Date.parse(when) : Number(when);
}

/** 12,345.6 */
export function number(value: number, digits = 0): string {
  return cached(`n${digits}`, (l) => new Intl.NumberFormat(l, { maximumFractionDigits: digits })).format(value);
}

/** 12K, 1.2萬: for tight places; the whole number belongs in a title. */
export function compact(value: number): string {
  return cached('c', (l) => new Intl.NumberFormat(l, { notation: 'compact', maximumFractionDigits: 1 })).format(value);
}

/** A share of 0 to 1: 4.2 %. What is not nothing is not shown as 0 %. */
export function percent(share: number): string {
  const format = cached('%', (l) => new Intl.NumberFormat(l, { style: 'percent', maximumFractionDigits: 1 }));
  return share > 0 && share < 0.001 ? `<${format.format(0.001)}` : format.format(share);
}

const BYTES = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'] as const;

/** 1.2 MB */
export function bytes(value: number): string {
  let step = 0;
  let rest = value;
  while (rest >= 1000 && step < BYTES.length - 1) {
    rest /= 1000;
    step += 1;
  }
  const unit = BYTES[step] ?? 'byte';
  return cached(unit, (l) =>
    // What browsers know of Taiwan leaves bytes in English.
    new Intl.NumberFormat(l.replace('TW', 'HK'), { style: 'unit', unit, unitDisplay: step === 0 ? 'long' : 'short', maximumFractionDigits: step === 0 ? 0 : 1 }),
  ).format(rest);
}

type Unit = 'millisecond' | 'second' | 'minute' | 'hour' | 'day';

function unit(value: number, name: Unit, digits: number): string {
  return cached(`${name}${digits}`, (l) =>
    new Intl.NumberFormat(l, { style: 'unit', unit: name, unitDisplay: 'short', maximumFractionDigits: digits }),
  ).format(value);
}

/** 412 ms, 3.2 s, 2 min 5 s, 3 h 20 min: the two largest parts. */
export function duration(ms: number): string {
  const abs = Math.max(0, ms);
  if (abs < 1000) return unit(Math.round(abs), 'millisecond', 0);
  if (abs < 10_000) return unit(abs / 1000, 'second', 1);
  const seconds = Math.round(abs / 1000);
  if (seconds < 60) return unit(seconds, 'second', 0);
  const parts: [Unit, number][] = [
    ['day', Math.floor(seconds / 86_400)],
    ['hour', Math.floor(seconds / 3_600) % 24],
    ['minute', Math.floor(seconds / 60) % 60],
    ['second', seconds % 60],
  ];
  const first = parts.findIndex(([, value]) => value > 0);
  const shown = parts.slice(first, first + 2).filter(([, value]) => value > 0);
  return shown.map(([name, value]) => unit(value, name, 0)).join(' ');
}

/** How long until then, in whole seconds, never below nothing. Ticks where it is read in a component. */
export function until(when: When): number {
  return Math.max(0, Math.ceil((millis(when) - clock.now) / 1000)) * 1000;
}

/** "3 minutes ago", "in 2 hours". Ticks where it is read in a component. */
export function relative(when: When, now = clock.now): string {
  const seconds = Math.round((millis(when) - now) / 1000);
  const format = cached('r', (l) => new Intl.RelativeTimeFormat(l, { numeric: 'auto', style: 'short' }));
  const abs = Math.abs(seconds);
  if (abs < 60) return format.format(seconds, 'second');
  if (abs < 3_600) return format.format(Math.trunc(seconds / 60), 'minute');
  if (abs < 86_400) return format.format(Math.trunc(seconds / 3_600), 'hour');
  return format.format(Math.trunc(seconds / 86_400), 'day');
}

/** 14:03:21, with the day where it is not today's. */
export function time(when: When): string {
  const date = new Date(millis(when));
  const today = date.toDateString() === new Date(clock.peek()).toDateString();
  return today ? clockTime(date) : `${day(date)} ${clockTime(date)}`;
}

function clockTime(date: Date): string {
  return cached('t', (l) =>
    new Intl.DateTimeFormat(l, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' }),
  ).format(date);
}

/** 14:03, for axes. */
export function hour(when: When): string {
  return cached('h', (l) => new Intl.DateTimeFormat(l, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })).format(
    millis(when),
  );
}

/** Nov 3 */
export function day(when: When): string {
  return cached('d', (l) => new Intl.DateTimeFormat(l, { month: 'short', day: 'numeric' })).format(millis(when));
}

/** All of it, with the zone: for titles and details. */
export function fullTime(when: When): string {
  const format = cached('f', (l) => new Intl.DateTimeFormat(l, { dateStyle: 'medium', timeStyle: 'long', hourCycle: 'h23' }));
  // Chinese puts the zone in brackets.
  return format.format(millis(when)).replace(/[[\]]/g, '');
}

/** "a, b and c" */
export function list(items: string[]): string {
  return cached('l', (l) => new Intl.ListFormat(l, { type: 'conjunction' })).format(items);
}
