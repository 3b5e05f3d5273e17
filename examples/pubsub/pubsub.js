// One subscriber on two channels, one publisher, JSON in between.
import { on } from 'node:events';
import { connect } from '../connection.js';

const subscriber = connect('pubsub-subscriber');
const publisher = connect('pubsub-publisher');

// Listen first, subscribe second: nothing that arrives in between is lost.
const messages = on(subscriber, 'message');
await subscriber.subscribe('notifications', 'chat:general');
console.log('subscribed to notifications and chat:general');

async function publish(channel, message) {
  const receivers = await publisher.publish(channel, JSON.stringify(message));
  console.log(`sent      ${channel}  to ${receivers} subscriber${receivers === 1 ? '' : 's'}`);
}

await publish('notifications', { type: 'deploy', text: 'Version 1.2 is live' });
await publish('chat:general', { type: 'chat', from: 'Ada', text: 'Grüße, everyone 👋' });
await publish('chat:private', { type: 'chat', from: 'Eve', text: 'Nobody is subscribed here' });
await publish('notifications', { type: 'goodbye', text: 'That was all' });

// One publisher's messages arrive in the order in which they were sent, across channels too.
for await (const [channel, json] of messages) {
  const message = JSON.parse(json);
  console.log(`received  ${channel}  ${message.text}`);
  if (message.type === 'goodbye') break;
}

await Promise.all([subscriber.quit(), publisher.quit()]);
