// One subscription to many channels: every room of a chat, including those that don't exist yet.
import { on } from 'node:events';
import { connect } from '../connection.js';

const subscriber = connect('patterns-subscriber');
const publisher = connect('patterns-publisher');

const messages = on(subscriber, 'pmessage');
await subscriber.psubscribe('chat:*');
console.log('subscribed to the pattern chat:*');

for (const [channel, text] of [
  ['chat:general', 'Good morning'],
  ['chat:rust', 'Anyone else up early?'],
  ['chat', 'No colon, so chat:* does not match'],
  ['news:chat:general', 'A pattern covers the whole name, so this does not match either'],
  ['chat:', 'The star also stands for nothing at all'],
  ['chat:general:announcements', 'and for anything, colons included'],
]) {
  const receivers = await publisher.publish(channel, JSON.stringify({ text }));
  console.log(`sent      ${channel}  to ${receivers}`);
}

// A message that came through a pattern says which one, and on which channel it was published.
for await (const [pattern, channel, json] of messages) {
  console.log(`received  ${pattern}  ${channel}  ${JSON.parse(json).text}`);
  if (channel === 'chat:general:announcements') break;
}

await Promise.all([subscriber.quit(), publisher.quit()]);
