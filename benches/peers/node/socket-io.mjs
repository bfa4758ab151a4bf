// A room with Socket.IO, over WebSocket only.
import { createServer } from 'node:http';
import { Server } from 'socket.io';
import { announce } from './feed.mjs';

const server = createServer();
const io = new Server(server, { transports: ['websocket'] });
io.on('connection', (socket) => {
  socket.join('lobby');
  socket.on('message', (message) => io.to('lobby').emit('message', message));
  socket.emit('ready');
});
server.listen(0, '127.0.0.1', () => announce(server.address().port));
