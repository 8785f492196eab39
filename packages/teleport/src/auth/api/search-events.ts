// `GET /v1/events`: pages of the audit log.
import type { AuthRoutes } from '@sallyport/contracts/api/auth-routes.ts';
import { AppError } from '@sallyport/contracts/errors.ts';
import { catalog, type EventCode, type EventName } from '@sallyport/contracts/events/event.ts';
import type { EventPages, PageQuery } from '../../audit/search-page.ts';
import type { Handler } from './handler.ts';

const maxLimit = 10_000;
const known: ReadonlySet<string> = new Set(catalog.flatMap(({ event, code }) => [event, code]));

export function searchEventsHandler(search: EventPages): Handler<AuthRoutes['searchEvents']> {
  return async ({ query }) => {
    const { from, to, include, user, sid, text, limit, startKey, order } = query;
    const asked: PageQuery = {
      ...(from === undefined ? {} : { from: new Date(from) }),
      ...(to === undefined ? {} : { to: new Date(to) }),
      ...(include === undefined || include === '' ? {} : { types: typesOf(include) }),
      ...(user === undefined ? {} : { user }),
      ...(sid === undefined ? {} : { sid }),
      ...(text === undefined ? {} : { text }),
      ...(startKey === undefined || startKey === '' ? {} : { startKey }),
      ...(order === undefined ? {} : { order }),
      limit: Math.min(Math.max(limit ?? 500, 1), maxLimit),
    };
    const page = await search.page(asked);
    return { events: page.events.map((event) => ({ ...event })), startKey: page.startKey };
  };
}

function typesOf(include: string): (EventName | EventCode)[] {
  const names = include.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw new AppError('bad_input', 'audit.unknown_event', `No event is called ${JSON.stringify(unknown)}.`, {
      hint: 'docs/reference/events.md lists their names and codes.',
    });
  }
  return names as (EventName | EventCode)[];
}
