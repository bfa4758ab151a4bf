import { once } from 'node:events';
import { request, type RequestOptions } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:tls';
import { WebSocket } from 'ws';

/** Begins a request on a connection of its own, and gives the answer as soon as its head is there. Its body is not read. */
export async function begin(url: string, options: RequestOptions = {}): Promise<IncomingMessage> {
  const asked = request(url, { agent: false, ...options }).end();
  const [answer] = (await once(asked, 'response')) as [IncomingMessage];
  // A stream that is cut is what some tests wait for.
  answer.on('error', () => {});
  return answer;
}

/** Streams of one address of the server, which stay open until `end`. */
export class Streams {
  private readonly open: IncomingMessage[] = [];

  constructor(private readonly url: string) {}

  /** Opens one more, and gives the status of the answer. */
  async begin(options: RequestOptions = {}): Promise<number> {
    const answer = await begin(this.url, options);
    this.open.push(answer);
    return answer.statusCode!;
  }

  end(): void {
    this.open.forEach((answer) => answer.destroy());
  }
}

/** Opens this many streams at once: whether all are open then, or some are refused or cut. */
export async function manyStreams(url: string, count: number): Promise<'all open' | 'some refused'> {
  const streams = new Streams(`${url}/api/ticker/events`);
  const open = async () => {
    if ((await streams.begin()) !== 200) throw new Error('A stream was refused.');
  };
  // The first refusal counts: where a proxy has no room, others may wait for ever.
  const outcome = await Promise.all(Array.from({ length: count }, open)).then(
    () => 'all open' as const,
    () => 'some refused' as const,
  );
  streams.end();
  return outcome;
}

/** Opens a socket as a page of this site does: `welcome`, or the status of the refusal. */
export function socket(url: string): Promise<string> {
  return new Promise((done, failed) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/api/compare/socket`, 'wirewise.compare.v1', { origin: url });
    socket.on('message', (data) => {
      done(JSON.parse(data.toString()).type);
      socket.terminate();
    });
    socket.on('unexpected-response', (_, answer) => {
      done(`${answer.statusCode}`);
      socket.terminate();
    });
    socket.on('error', failed);
  });
}

/** Whether the other side speaks TLS 1.3. */
export async function speaksTls13(url: string): Promise<boolean> {
  const { port } = new URL(url);
  const socket = connect({ host: '127.0.0.1', port: Number(port), minVersion: 'TLSv1.3' });
  const speaks = await new Promise<boolean>((answer) => {
    socket.once('secureConnect', () => answer(true));
    socket.once('error', () => answer(false));
  });
  socket.destroy();
  return speaks;
}

/** A new session, as a header. */
export async function guest(url: string): Promise<{ authorization: string }> {
  const { token } = await (await fetch(`${url}/api/session/guest`, { method: 'POST' })).json();
  return { authorization: `Bearer ${token}` };
}

/** The status of an upload of this many bytes. */
export async function upload(url: string, bytes: number): Promise<number> {
  const form = new FormData();
  form.append('file', new Blob([new Uint8Array(bytes)]), 'file.bin');
  return (await fetch(`${url}/api/jobs/upload`, { method: 'POST', headers: await guest(url), body: form })).status;
}

/** Whether the job of an upload exists before the upload is complete. Waits for it as long as `withinMs`. */
export async function jobOfHalfAnUpload(url: string, withinMs: number): Promise<boolean> {
  const headers = await guest(url);
  const id = crypto.randomUUID();
  const asked = request(`${url}/api/jobs/upload?id=${id}`, {
    agent: false,
    method: 'POST',
    headers: { ...headers, 'content-type': 'multipart/form-data; boundary=edge', 'content-length': 1_000_000 },
  });
  asked.on('error', () => {});
  asked.write('--edge\r\ncontent-disposition: form-data; name="file"; filename="file.bin"\r\n\r\n');
  asked.write(Buffer.alloc(500_000));
  const until = Date.now() + withinMs;
  let exists = false;
  while (!exists && Date.now() < until) {
    exists = (await fetch(`${url}/api/jobs/${id}`, { headers })).ok;
    await new Promise((again) => setTimeout(again, 100));
  }
  asked.destroy();
  return exists;
}

/**
 * With a limit of two streams for an address: the status of a third stream from one address, of one from there that claims
 * another address, and of one from another address.
 */
export async function countedAddresses(url: string): Promise<Record<string, number>> {
  const streams = new Streams(`${url}/api/ticker/events`);
  const localAddress = '127.0.0.2';
  const claim = { 'x-forwarded-for': '192.0.2.1' };
  await streams.begin({ localAddress });
  await streams.begin({ localAddress });
  const seen = {
    third: await streams.begin({ localAddress }),
    forged: await streams.begin({ localAddress, headers: claim }),
    other: await streams.begin({ localAddress: '127.0.0.3' }),
  };
  streams.end();
  return seen;
}

/** Whether the session's cookie is Secure. */
export async function secureCookie(url: string): Promise<boolean> {
  const answer = await fetch(`${url}/api/session/guest`, { method: 'POST' });
  return /; Secure/.test(answer.headers.get('set-cookie')!);
}

/** Whether a stream ends by itself within this time. */
export async function streamEnds(url: string, withinMs: number, meanwhile: () => void = () => {}): Promise<'ends' | 'stays open'> {
  const answer = await begin(`${url}/api/ticker/events`);
  const ended = new Promise<'ends'>((done) => answer.once('close', () => done('ends')));
  answer.resume();
  meanwhile();
  const outcome = await Promise.race([ended, new Promise<'stays open'>((late) => setTimeout(() => late('stays open'), withinMs))]);
  answer.destroy();
  return outcome;
}
