// Server-Sent Events with Node's own `http`: one write for what came together.
import { createServer } from 'node:http';
import { announce, feed } from './feed.mjs';

const streams = new Set();
let sequence = 0;

const server = createServer((request, answer) => {
  answer.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
  streams.add(answer);
  request.on('close', () => streams.delete(answer));
  answer.write(': ready\n\n');
});
const feedPort = await feed((lines) => {
  let text = '';
  for (const line of lines) text += `id: ${++sequence}\nevent: price\ndata: ${line}\n\n`;
  for (const stream of streams) stream.write(text);
});
server.listen(0, '127.0.0.1', () => announce(server.address().port, feedPort));
