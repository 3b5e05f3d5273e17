// A connection without a library: text out, text in, compared byte for byte.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import tls from 'node:tls';

const REPLY_MS = 60_000;

export class Wire {
  static async open(after, server) {
    const wire = new Wire();
    wire.#socket = tls.connect({ host: server.host, port: server.tlsPort, ca: server.ca });
    after(() => wire.#socket.destroy());
    await once(wire.#socket, 'secureConnect');
    wire.#socket.on('data', (data) => { wire.#text += data.toString('latin1'); wire.#arrived(); });
    wire.#socket.on('close', () => { wire.closed = true; wire.#arrived(); });
    wire.#socket.on('error', () => {});
    return wire;
  }

  closed = false;
  #socket;
  #text = '';
  #arrived = () => {};

  async #until(enough, what) {
    const deadline = setTimeout(() => { this.#late = true; this.#arrived(); }, REPLY_MS);
    while (!enough()) {
      assert.ok(!this.#late, `${what}; so far: ${JSON.stringify(this.#text)}`);
      await new Promise((wake) => { this.#arrived = wake; });
    }
    clearTimeout(deadline);
  }
  #late = false;

  send(text) { this.#socket.write(Buffer.from(text, 'latin1')); }

  /** A command as an array of bulk strings. */
  command(...words) {
    this.send(`*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word, 'latin1')}\r\n${word}\r\n`).join('')}`);
  }

  /** The next bytes are these. */
  async expect(text) {
    const wanted = () => this.#text.length >= text.length || this.closed || !text.startsWith(this.#text);
    await this.#until(wanted, `waiting for ${JSON.stringify(text)}`);
    assert.equal(this.#text.slice(0, text.length), text);
    this.#text = this.#text.slice(text.length);
  }

  /** The next line matches; answers the match. */
  async line(pattern) {
    await this.#until(() => this.#text.includes('\r\n') || this.closed, `waiting for a line ${pattern}`);
    const end = this.#text.indexOf('\r\n');
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 2);
    assert.match(line, pattern);
    return pattern.exec(line);
  }

  /** A bulk or verbatim string, whole. */
  async text() {
    const [, kind, length] = await this.line(/^([$=])(\d+)$/);
    await this.#until(() => this.#text.length >= Number(length) + 2 || this.closed, 'waiting for a string');
    const value = this.#text.slice(0, Number(length));
    this.#text = this.#text.slice(Number(length) + 2);
    return kind === '=' ? value.slice(4) : value;
  }

  /** Everything asked for has been answered, and nothing else has come. */
  async quiet() {
    this.command('ECHO', 'quiet?');
    await this.expect('$6\r\nquiet?\r\n');
  }

  async end() { await this.#until(() => this.closed, 'waiting for the server to close'); }
}
