import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** Stands between a reverse proxy and the server, and observes their connections. It changes nothing. */
export class ServerSide {
  private readonly sockets = new Set<Socket>();
  /** How many connections the proxy opened. */
  connections = 0;
  /** Which side ended the first connection; resolves when one has. */
  readonly endedBy: Promise<'proxy' | 'server'>;
  private ended!: (side: 'proxy' | 'server') => void;

  private constructor(private readonly listener: Server) {
    this.endedBy = new Promise((ended) => (this.ended = ended));
  }

  static async start(server: number): Promise<ServerSide> {
    const observer = new ServerSide(createServer({ allowHalfOpen: true }));
    observer.listener.on('connection', (proxy) => observer.observe(proxy, connect({ port: server, host: '127.0.0.1', allowHalfOpen: true })));
    observer.listener.listen(0, '127.0.0.1');
    await once(observer.listener, 'listening');
    return observer;
  }

  get port(): number {
    return (this.listener.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    this.listener.close();
    this.sockets.forEach((socket) => socket.destroy());
    await once(this.listener, 'close');
  }

  private observe(proxy: Socket, server: Socket): void {
    this.connections += 1;
    for (const [socket, other] of [[proxy, server], [server, proxy]]) {
      this.sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        this.sockets.delete(socket);
        other.destroy();
      });
    }
    proxy.on('end', () => this.ended('proxy'));
    server.on('end', () => this.ended('server'));
    proxy.pipe(server).pipe(proxy);
  }
}
