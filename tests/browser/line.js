// What lies between a browser and a server: it can be cut, and mended.
import { once } from 'node:events';
import net from 'node:net';

/** Lays one to `port`: `url` is where it begins. */
export async function layLine(t, port) {
  const sockets = new Set();
  let isCut = false;
  const listener = net.createServer((near) => {
    if (isCut) return near.destroy();
    const far = net.connect(port, '127.0.0.1');
    for (const [one, other] of [[near, far], [far, near]]) {
      sockets.add(one);
      one.on('error', () => {});
      one.once('close', () => { sockets.delete(one); other.destroy(); });
      one.pipe(other);
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.after(() => { sockets.forEach((socket) => socket.destroy()); listener.close(); });
  return {
    url: `http://127.0.0.1:${listener.address().port}`,
    cut() { isCut = true; sockets.forEach((socket) => socket.destroy()); },
    mend() { isCut = false; },
  };
}
