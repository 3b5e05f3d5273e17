// What a Laravel application is to Echo, without PHP: it lets pages into channels, and broadcasts what happens.
//
//   page ──POST /messages──► this server ──trigger (signed HTTP)──► Sterna
//   page ◄──────────── WebSocket, Pusher's protocol ────────────────┘
//   page ──POST /broadcasting/auth──► this server, which signs
//
// The names of the variables are Laravel's: PUSHER_HOST, PUSHER_PORT, PUSHER_APP_ID, PUSHER_APP_KEY, PUSHER_APP_SECRET.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import express from 'express';
import Pusher from 'pusher';

const {
  PORT = '3080', PUSHER_HOST: host = '127.0.0.1', PUSHER_PORT: port = '8079',
  PUSHER_APP_ID: appId = '1', PUSHER_APP_KEY: key = 'app-key', PUSHER_APP_SECRET: secret = 'app-secret',
} = process.env;
const pusher = new Pusher({ appId, key, secret, host, port, useTLS: false });
const resolve = createRequire(import.meta.url).resolve;

const app = express();
app.use(express.static(fileURLToPath(new URL('page', import.meta.url))));
app.get('/pusher.js', (_, response) => response.sendFile(resolve('pusher-js/dist/web/pusher.min.js')));
app.get('/echo.js', (_, response) => response.sendFile(resolve('laravel-echo').replace('echo.common.js', 'echo.js')));
app.get('/config.json', (_, response) => response.json({ key, wsHost: host, wsPort: Number(port) }));
app.use(express.json({ limit: '10kb' }), express.urlencoded({ extended: false }));

/** Who asks. An application knows by its session; here anybody is who they say. */
const nameOf = (request) => String(request.get('x-name') ?? '').trim().slice(0, 24);

app.post('/broadcasting/auth', (request, response) => {
  const [name, { socket_id: socket, channel_name: channel }] = [nameOf(request), request.body];
  if (!name || channel !== 'presence-room.1' || !/^\d+\.\d+$/.test(socket)) return response.sendStatus(403);
  response.json(pusher.authorizeChannel(socket, channel, { user_id: name, user_info: { name } }));
});

app.post('/messages', async (request, response) => {
  const [name, text] = [nameOf(request), request.body?.text];
  if (!name || typeof text !== 'string' || !text || text.length > 2000) return response.sendStatus(422);
  // Laravel's broadcast(new MessageSent(…))->toOthers(): the page that has sent it has drawn it already.
  const others = { socket_id: request.get('x-socket-id') };
  await pusher.trigger('presence-room.1', 'App\\Events\\MessageSent', { name, text, at: Date.now() }, others);
  response.sendStatus(204);
});

const http = app.listen(Number(PORT), '127.0.0.1', () => {
  console.log(`the page is on http://127.0.0.1:${http.address().port}`);
});

process.once('SIGTERM', () => process.exit(0));
