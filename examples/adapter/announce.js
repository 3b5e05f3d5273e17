// Says something in a room without being a Socket.IO server: node announce.js ROOM TEXT
import { Emitter } from '@socket.io/redis-emitter';
import { connect } from '../connection.js';

const [room, text] = process.argv.slice(2);
if (!text) {
  console.error('usage: node adapter/announce.js ROOM TEXT');
  process.exit(2);
}

const publisher = connect('adapter-announce');
new Emitter(publisher).to(room).emit('event', {
  room, type: 'message', name: 'Announcement', text, at: Date.now(), server: 'announce.js',
});
await publisher.quit();
