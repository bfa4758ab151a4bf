// A room with the package `ws`: every message goes to all sockets.
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';
import { announce } from './feed.mjs';

const server = createServer();
const sockets = new WebSocketServer({ server });
sockets.on('connection', (socket) => {
  socket.on('error', () => socket.terminate());
  socket.on('message', (message) => {
    for (const member of sockets.clients) member.send(message, { binary: false });
  });
  socket.send('ready');
});
server.listen(0, '127.0.0.1', () => announce(server.address().port));
