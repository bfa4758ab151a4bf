// A room with uWebSockets.js and its publish and subscribe. The package `uwebsockets` carries its binaries in the npm registry.
import uws from 'uwebsockets';
import { announce } from './feed.mjs';

const app = uws.App();
app.ws('/*', {
  idleTimeout: 120,
  open: (socket) => {
    socket.subscribe('lobby');
    socket.send('ready');
  },
  message: (_socket, message) => {
    app.publish('lobby', message, false);
  },
});
app.listen('127.0.0.1', 0, (listener) => announce(uws.us_socket_local_port(listener)));
