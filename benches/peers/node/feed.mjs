import { createServer } from 'node:net';

/**
 * Listens for the load program, which sends one line for each event. `take` gets the lines that came together.
 * Resolves with the port.
 */
export function feed(take) {
  const listener = createServer((socket) => {
    let rest = '';
    socket.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      if (lines.length > 0) take(lines);
    });
    socket.on('error', () => socket.destroy());
  });
  return new Promise((done) => listener.listen(0, '127.0.0.1', () => done(listener.address().port)));
}

/** Says where the server listens. The load program reads this line. */
export function announce(port, feedPort = 0) {
  console.log(`listens on ${port}, feed on ${feedPort}`);
}
