// Django Channels in a real browser: a chat on two Django servers, joined by channels_redis's core layer.
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Program } from '../clients/program.js';
import { DURABLE, TestServer } from '../clients/server.js';
import { openBrowser } from './pages.js';

const open = await openBrowser(after);

/** Two servers of the chat, and a page on each: Ada's in the north, Bob's in the south. */
async function startChat(t) {
  const server = await TestServer.start((stop) => t.after(stop), DURABLE);
  const command = [process.env.PYTHON ?? 'python3', 'channels/chat.py'];
  const chat = Program.start((stop) => t.after(stop), server, command, { PORT: '0' });
  const [, north] = await chat.line(/server north is on (\S+)/);
  const [, south] = await chat.line(/server south is on (\S+)/);
  const [ada, bob] = [await enter(north, 'Ada'), await enter(south, 'Bob')];
  t.after(() => Promise.all([ada.close(), bob.close()]));
  await connected(ada, 'north');
  await connected(bob, 'south');
  return { server, ada, bob, south };
}

async function enter(url, name) {
  const page = await open(url);
  await page.getByLabel('Name').fill(name);
  return page;
}

const connected = (page, name) => page.locator('#status', { hasText: `connected to ${name}` }).waitFor();

async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

const bubbles = (page) => page.locator('.bubble').allTextContents();
const arrived = (page, text) => page.locator('.bubble', { hasText: text }).first().waitFor();

test('what is said on one server is read on both, once and in order, and in its room only', async (t) => {
  const { ada, bob, south } = await startChat(t);
  const eve = await enter(south.replace('/general', '/elsewhere'), 'Eve');
  t.after(() => eve.close());
  await connected(eve, 'south');

  const said = ['Hello from the north', '<b>bold</b> & Grüße 👋', 'one', 'two', 'three'];
  for (const text of said) await say(ada, text);
  for (const page of [ada, bob]) {
    await arrived(page, 'three');
    assert.deepEqual(await bubbles(page), said);
  }
  await say(bob, 'And from the south');
  for (const page of [ada, bob]) await arrived(page, 'And from the south');
  const last = ada.locator('li').last();
  assert.equal(await last.locator('strong').textContent(), 'Bob');
  assert.equal(await last.locator('.via').textContent(), 'via south');

  await say(eve, 'Is anybody here?');
  await arrived(eve, 'Is anybody here?');
  assert.deepEqual(await bubbles(eve), ['Is anybody here?']);
  assert.equal((await bubbles(bob)).length, said.length + 1);
  for (const page of [ada, bob, eve]) assert.deepEqual(page.faults, []);
});

test('the chat goes on after the server below it was killed', async (t) => {
  const { server, ada, bob } = await startChat(t);
  await say(ada, 'before');
  await arrived(bob, 'before');
  await server.crash();
  // A consumer ends with its connection to the layer and the page opens another: say it until it has been read.
  let said = 0;
  while ((await bubbles(bob)).length < 2 && said < 300) {
    said += 1;
    await say(ada, `attempt ${said}`);
    await bob.locator('.bubble').nth(1).waitFor({ timeout: 300 }).catch(() => {});
  }
  const read = await bubbles(bob);
  assert.ok(read.length > 1, 'nothing arrives any more');
  assert.equal(new Set(read).size, read.length, 'nothing is read twice');
  await say(bob, 'and back');
  await arrived(ada, 'and back');
});
