// The chat in a real browser: two pages, each on a server of its own, see each other's messages.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Program } from '../clients/program.js';
import { TestServer } from '../clients/server.js';
import { openBrowser } from './pages.js';

const server = await TestServer.start(after);
const open = await openBrowser(after);

async function startChat(t, command) {
  const chat = Program.start((stop) => t.after(stop), server, command, { PORT: '0' });
  const urls = [];
  for (const name of ['north', 'south']) {
    const [, url] = await chat.line(new RegExp(`server ${name}.* is on (http://\\S+)`));
    urls.push(url);
  }
  return { chat, urls };
}

async function join(page, name) {
  await page.getByLabel('What should people call you?').fill(name);
  await page.getByRole('button', { name: 'Join the chat' }).click();
  await page.locator('#status[data-state="connected"]').waitFor();
}

async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

const bubbles = (page) => page.locator('.bubble').allTextContents();
const arrived = (page, text) => page.locator('.bubble', { hasText: text }).waitFor();

for (const [title, command] of [
  ['chat joined by chat:*', ['node', 'chat/chat.js']],
  ['chat joined by the classic adapter', ['node', 'adapter/adapter.js']],
  ['chat joined by the sharded adapter', ['node', 'adapter/adapter.js', 'sharded']],
]) {
  describe(title, () => {
    test('pages on different servers see each other, in each room only its own messages', async (t) => {
      const { urls } = await startChat(t, command);
      const [ada, bob] = [await open(urls[0]), await open(urls[1])];
      t.after(() => Promise.all([ada.close(), bob.close()]));
      await join(ada, 'Ada');
      await join(bob, 'Bob');
      assert.equal(await ada.locator('#me-server').textContent(), 'server north');
      assert.equal(await bob.locator('#me-server').textContent(), 'server south');

      await say(ada, 'Hello from the north');
      await arrived(bob, 'Hello from the north');
      await say(bob, '<b>Hello</b> from the south 👋');
      for (const page of [ada, bob]) await arrived(page, 'from the south 👋');

      // Another room: it shows as unread, and only its own messages are in it.
      await ada.locator('[data-room=random]').click();
      await say(ada, 'Terns again');
      await bob.locator('[data-room=random] .unread', { hasText: '1' }).waitFor();
      assert.deepEqual(await bubbles(bob), ['Hello from the north', '<b>Hello</b> from the south 👋']);
      await bob.locator('[data-room=random]').click();
      await arrived(bob, 'Terns again');
      assert.deepEqual(await bubbles(bob), ['Terns again']);

      // One last message in a row of three: what was said once arrived once, everywhere, in order.
      for (const text of ['one', 'two', 'three']) await say(ada, text);
      await arrived(bob, 'three');
      assert.deepEqual(await bubbles(bob), ['Terns again', 'one', 'two', 'three']);
      await arrived(ada, 'three');
      assert.deepEqual(await bubbles(ada), ['Terns again', 'one', 'two', 'three']);

      // Who said it, when, and through which server.
      const first = bob.locator('.message').first();
      assert.equal(await first.locator('strong').textContent(), 'Ada');
      assert.equal(await first.locator('.via').textContent(), 'via north');
      assert.ok(Date.now() - Date.parse(await first.locator('time').getAttribute('datetime')) < 60_000);
      assert.equal(await ada.locator('.message.mine').count(), 4);
      assert.equal(await bob.locator('.message.mine').count(), 0);

      for (const [page, url] of [[ada, urls[0]], [bob, urls[1]]]) {
        assert.deepEqual(page.faults, []);
        const elsewhere = page.requested.filter((asked) => !asked.startsWith(`${url}/`) && !asked.startsWith('data:'));
        assert.deepEqual(elsewhere, [], 'the page loads nothing from anywhere else');
      }
    });
  });
}

test('typing shows on the other server and ends with the message', async (t) => {
  const { urls } = await startChat(t, ['node', 'chat/chat.js']);
  const [ada, bob] = [await open(urls[0]), await open(urls[1])];
  t.after(() => Promise.all([ada.close(), bob.close()]));
  await join(ada, 'Ada');
  await join(bob, 'Bob');
  // It is shown for some seconds only, so it is looked for from before.
  const shown = bob.getByText('Ada is typing…').waitFor();
  let isShown = false;
  shown.then(() => { isShown = true; }, () => {});
  const field = ada.getByLabel('Message', { exact: true });
  await field.pressSequentially('So');
  // The page says it now and then, and not at all where its line is busy.
  for (; !isShown; await ada.waitForTimeout(100)) await field.pressSequentially('o');
  await shown;
  assert.equal(await ada.locator('#typing').textContent(), '');
  await ada.keyboard.press('Enter');
  await arrived(bob, 'So');
  assert.equal(await bob.locator('#typing').textContent(), '');
});

test('who comes late finds what was said, on the other server too', async (t) => {
  const { urls } = await startChat(t, ['node', 'chat/chat.js']);
  const ada = await open(urls[0]);
  await join(ada, 'Ada');
  await say(ada, 'Is anybody there?');
  await arrived(ada, 'Is anybody there?');
  const bob = await open(urls[1]);
  t.after(() => Promise.all([ada.close(), bob.close()]));
  await join(bob, 'Bob');
  await arrived(bob, 'Is anybody there?');
  assert.equal(await bob.locator('.bubble').count(), 1);
});

test('an announcement through the emitter reaches pages on both servers, in its room', async (t) => {
  const { urls } = await startChat(t, ['node', 'adapter/adapter.js']);
  const [ada, bob] = [await open(urls[0]), await open(urls[1])];
  t.after(() => Promise.all([ada.close(), bob.close()]));
  await join(ada, 'Ada');
  await join(bob, 'Bob');
  await bob.locator('#people li', { hasText: 'Ada' }).waitFor();
  await ada.locator('#people li', { hasText: 'Bob' }).waitFor();

  const announce = Program.start((stop) => t.after(stop), server, ['node', 'adapter/announce.js', 'general', 'Closing at nine']);
  assert.equal((await announce.end()).code, 0);
  for (const page of [ada, bob]) {
    await arrived(page, 'Closing at nine');
    assert.equal(await page.locator('.message strong').textContent(), 'Announcement');
    assert.equal(await page.locator('[data-room=random] .unread').count(), 0);
  }

  // Somebody leaves, and the other server's page knows.
  await bob.close();
  await ada.locator('#people li', { hasText: 'Bob' }).waitFor({ state: 'detached' });
});

test('the chat goes on after the server below it was restarted', async (t) => {
  const own = await TestServer.start((stop) => t.after(stop));
  const chat = Program.start((stop) => t.after(stop), own, ['node', 'chat/chat.js'], { PORT: '0' });
  const [, north] = await chat.line(/server north is on (\S+)/);
  const [, south] = await chat.line(/server south is on (\S+)/);
  const [ada, bob] = [await open(north), await open(south)];
  t.after(() => Promise.all([ada.close(), bob.close()]));
  await join(ada, 'Ada');
  await join(bob, 'Bob');
  await own.restart();
  // Pub/Sub promises nothing for the time in between, so say it until it has been heard.
  let said = 0;
  while ((await bob.locator('.bubble').count()) === 0 && said < 300) {
    said += 1;
    await say(ada, `attempt ${said}`);
    await bob.locator('.bubble').first().waitFor({ timeout: 300 }).catch(() => {});
  }
  const heard = await bubbles(bob);
  assert.ok(heard.length > 0);
  assert.equal(new Set(heard).size, heard.length, 'nothing is heard twice');
});

test('the page fits a telephone and knows light from dark', async (t) => {
  const { urls } = await startChat(t, ['node', 'chat/chat.js']);
  const page = await open(urls[0]);
  t.after(() => page.close());
  await page.setViewportSize({ width: 360, height: 640 });
  await join(page, 'Ada');
  await say(page, 'a word that does not end '.repeat(3) + 'x'.repeat(300));
  await page.locator('.bubble').waitFor();
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(width <= 360, `nothing sticks out: ${width}`);

  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground();
  await page.getByRole('button', { name: 'Switch between light and dark' }).click();
  assert.notEqual(await ground(), before);
});
