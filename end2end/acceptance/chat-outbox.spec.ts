import { BROKEN_CONNECTION, connected, expect, status, test } from '../fixtures/app';
import { say, texts, textsOnServer } from '../fixtures/chat';

// Pings are frequent, so that a silent connection is noticed soon.
test.use({ tolerated: BROKEN_CONNECTION, flags: { 'client-ping-ms': 1_000 } });

const RECOVERS_WITHIN_MS = 10_000;
/** The storage key under which the tab keeps the unsent messages of this user. */
const outboxOf = ({ id }: { id: string }) => `wirewise.chat.outbox.${id}`;

test('one goes offline, types three messages, comes back, and both see all in one order', async ({ visit, wire, server }) => {
  const { page: ada, context: adaHas } = await visit('Ada', `${wire.url}/chat`);
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  await say(ada, 'Before');
  await expect(texts(grace)).toHaveText(['Before']);
  // It is acknowledged too.
  await expect(ada.getByTestId('sending')).toHaveCount(0);

  await adaHas.setOffline(true);
  wire.cut();
  // The browser reports the cut, or the watchdog finds it: a ping after 1 s, and 5 s for its pong.
  await expect(status(ada)).toHaveAttribute('data-state', 'offline', { timeout: RECOVERS_WITHIN_MS });
  for (const text of ['One', 'Two', 'Three']) await say(ada, text);
  await expect(ada.getByTestId('sending-state')).toHaveText(Array(3).fill('Waiting to be sent'));
  await expect(ada.getByTestId('unsent')).toHaveText('3 unsent');
  await say(grace, 'Where are you?');
  await expect(texts(grace)).toHaveText(['Before', 'Where are you?']);

  await adaHas.setOffline(false);
  await connected(ada, RECOVERS_WITHIN_MS);
  for (const page of [ada, grace]) {
    await expect(texts(page)).toHaveText(['Before', 'Where are you?', 'One', 'Two', 'Three']);
    await expect(page.getByTestId('sending')).toHaveCount(0);
  }
  await expect(ada.getByTestId('unsent')).toHaveCount(0);
  expect(await textsOnServer(grace, 'lobby')).toEqual(['Before', 'Where are you?', 'One', 'Two', 'Three']);
  expect(await server.openConnections('chat')).toBe(2);
});

test('a reload loses neither what is unsent nor what is half written', async ({ visit, wire }) => {
  const { page: ada, context: adaHas } = await visit('Ada', `${wire.url}/chat`);
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  wire.swallow();
  await say(ada, 'Into the void');
  await say(ada, 'And one more');
  await expect(ada.getByTestId('sending')).toHaveText([/Into the void/, /And one more/]);
  await ada.getByTestId('composer').fill('Half a sen');

  // New connections work again, but the page is closed before it opens one.
  wire.pass();
  wire.cut();
  await ada.reload();
  await connected(ada, RECOVERS_WITHIN_MS);
  for (const page of [ada, grace]) await expect(texts(page)).toHaveText(['Into the void', 'And one more']);
  await expect(ada.getByTestId('sending')).toHaveCount(0);
  await expect(ada.getByTestId('composer')).toHaveValue('Half a sen');

  // A draft belongs to its room, and to its tab.
  const second = await adaHas.newPage();
  await second.goto(`${wire.url}/chat`);
  await connected(second);
  await expect(second.getByTestId('composer')).toHaveValue('');
  await ada.getByRole('link', { name: '#rust' }).click();
  await expect(ada.getByTestId('room-name')).toHaveText('#rust');
  await expect(ada.getByTestId('composer')).toHaveValue('');
  await ada.getByRole('link', { name: '#lobby' }).click();
  await expect(ada.getByTestId('composer')).toHaveValue('Half a sen');
  // Once sent, the text is no longer a draft.
  await ada.getByTestId('send').click();
  await expect(texts(grace)).toHaveText(['Into the void', 'And one more', 'Half a sen']);
  await ada.reload();
  await connected(ada);
  await expect(ada.getByTestId('composer')).toHaveValue('');
});

test('a room is not left before the messages written there are sent', async ({ visit, wire }) => {
  const { page, context } = await visit('Ada', `${wire.url}/chat/den`);
  await connected(page);
  const leave = page.getByRole('button', { name: 'Leave den' });
  await expect(leave).toBeEnabled();
  await context.setOffline(true);
  wire.cut();
  await expect(status(page)).toHaveAttribute('data-state', 'offline', { timeout: RECOVERS_WITHIN_MS });
  await say(page, 'Not gone yet');
  await expect(leave).toBeDisabled();
  await context.setOffline(false);
  await connected(page, RECOVERS_WITHIN_MS);
  await expect(texts(page)).toHaveText(['Not gone yet']);
  await leave.click();
  await expect(page).toHaveURL(/\/chat$/);
  await expect(leave).toHaveCount(0);
});

test('a message sent before a crash of the page is stored once', async ({ visit }) => {
  const { page: ada, user } = await visit('Ada', '/chat');
  await connected(ada);
  await say(ada, 'Said already');
  await expect(texts(ada)).toHaveText(['Said already']);
  // As if the page had been closed after the server stored the message and before it received the acknowledgement.
  const { messages } = await (await ada.request.get('/api/chat/rooms/lobby/messages')).json();
  const { id, text } = messages[0];
  const outbox = JSON.stringify([{ id, lane: 'lobby', command: { type: 'send', id, room: 'lobby', text } }]);
  await ada.evaluate(([key, outbox]) => sessionStorage.setItem(key, outbox), [outboxOf(user), outbox]);
  await ada.reload();
  await connected(ada);
  await say(ada, 'And goes on');
  await expect(texts(ada)).toHaveText(['Said already', 'And goes on']);
  await expect(ada.getByTestId('sending')).toHaveCount(0);
});

test('a stored outbox that cannot be parsed is dropped', async ({ visit }) => {
  const { page: ada, user } = await visit('Ada', '/chat');
  await connected(ada);
  for (const broken of ['{', 'null', '[{"id":7}]', '[{"id":"c0ffee00-0000-4000-8000-000000000001","lane":"lobby","command":{"type":"dance"}}]']) {
    await ada.evaluate(
      ([key, broken, id]) => {
        sessionStorage.setItem(key, broken);
        sessionStorage.setItem(`wirewise.chat.rooms.${id}`, 'No/Room den');
      },
      [outboxOf(user), broken, user.id],
    );
    await ada.reload();
    await connected(ada);
    await expect(ada.getByTestId('unsent')).toHaveCount(0);
    await expect(ada.getByTestId('room')).toHaveText([/#lobby/, /#rust/, /#random/, /#den/]);
  }
  await say(ada, 'All is well');
  await expect(texts(ada)).toHaveText(['All is well']);
});

test('a message that is refused for good is shown with its reason, blocks nothing, and can be removed', async ({ visit }) => {
  const { page: ada, user } = await visit('Ada', '/chat');
  await connected(ada);
  // The page itself would refuse a blank text.
  const entry = (number: number, text: string) => {
    const id = `c0ffee00-0000-4000-8000-00000000000${number}`;
    return { id, lane: 'lobby', command: { type: 'send', id, room: 'lobby', text } };
  };
  const outbox = JSON.stringify([entry(1, 'First'), entry(2, '   '), entry(3, 'Third')]);
  await ada.evaluate(([key, outbox]) => sessionStorage.setItem(key, outbox), [outboxOf(user), outbox]);
  await ada.reload();
  await connected(ada);
  await expect(texts(ada)).toHaveText(['First', 'Third']);
  await expect(ada.getByTestId('sending')).toHaveAttribute('data-state', 'failed');
  await expect(ada.getByTestId('sending-state')).toContainText('Not sent: A message has 1 to 4000 characters and is not blank.');
  await expect(ada.getByTestId('unsent')).toHaveCount(0);
  await ada.getByTestId('discard').click();
  await expect(ada.getByTestId('sending')).toHaveCount(0);
  await ada.reload();
  await connected(ada);
  await expect(texts(ada)).toHaveText(['First', 'Third']);
  await expect(ada.getByTestId('sending')).toHaveCount(0);
});

test.describe('one message a second', () => {
  // The second join uses up the burst. A message that is sent again as soon as its room is joined is refused, while the
  // history of the room contains it.
  test.use({ flags: { 'client-ping-ms': 1_000, 'messages-per-second': 1 } });

  test('a message that is stored, unacknowledged, and refused when it is sent again blocks nothing', async ({ visit }) => {
    const { page: ada, user } = await visit('Ada', '/chat/rust');
    await connected(ada);
    const id = 'c0ffee00-0000-4000-8000-000000000001';
    await ada.evaluate(
      (id) =>
        new Promise<void>((done) => {
          const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/api/chat/socket`, 'wirewise.chat.v1');
          const send = (command: object) => socket.send(JSON.stringify(command));
          const message = { type: 'send', id, room: 'lobby', text: 'Stored already' };
          const on: Record<string, (event: { retry_after_ms?: number; re?: string }) => void> = {
            welcome: () => send({ type: 'join', room: 'lobby' }),
            joined: () => send(message),
            error: ({ re, retry_after_ms }) => setTimeout(() => send(re ? message : { type: 'join', room: 'lobby' }), retry_after_ms),
            ack: () => done(socket.close()),
          };
          socket.onmessage = ({ data }) => {
            const event = JSON.parse(data);
            on[event.type]?.(event);
          };
        }),
      id,
    );
    // As if the page had been closed after the server stored the message and before it received the acknowledgement.
    // Not in the lobby, whose page would be rendered with the message.
    const outbox = JSON.stringify([{ id, lane: 'lobby', command: { type: 'send', id, room: 'lobby', text: 'Stored already' } }]);
    await ada.evaluate(([key, outbox]) => sessionStorage.setItem(key, outbox), [outboxOf(user), outbox]);
    await ada.reload();
    await connected(ada);
    await ada.getByRole('link', { name: '#lobby' }).click();
    await expect(texts(ada)).toHaveText(['Stored already']);
    await say(ada, 'And goes on');
    await expect(texts(ada)).toHaveText(['Stored already', 'And goes on'], { timeout: 20_000 });
    await expect(ada.getByTestId('unsent')).toHaveCount(0, { timeout: 20_000 });
    await expect(ada.getByTestId('sending')).toHaveCount(0);
    expect(await textsOnServer(ada, 'lobby')).toEqual(['Stored already', 'And goes on']);
  });
});

test.describe('many at once', () => {
  // A tenth of them exceed the rate, and are sent one at a time, in order.
  test.use({ flags: { 'client-ping-ms': 1_000, 'messages-per-second': 200 } });

  test('the 501st unsent message is refused in words and stays where it was written; the 500 arrive in order', async ({ visit, wire }) => {
    const { page: ada } = await visit('Ada', `${wire.url}/chat`);
    const { page: grace } = await visit('Grace', '/');
    await connected(ada);
    wire.swallow();
    await ada.evaluate(() => {
      const field = document.querySelector<HTMLTextAreaElement>('[data-test=composer]')!;
      for (let number = 1; number <= 500; number++) {
        field.value = `unsent ${number}`;
        field.form!.requestSubmit();
      }
    });
    await expect(ada.getByTestId('unsent')).toHaveText('500 unsent');
    await ada.getByTestId('composer').fill('One too many');
    await ada.getByTestId('send').click();
    await expect(ada.getByTestId('chat-refusal')).toHaveText('500 messages wait to be sent. Nothing more is taken until some have arrived.');
    await expect(ada.getByTestId('composer')).toHaveValue('One too many');

    await expect(status(ada)).not.toHaveAttribute('data-state', 'open', { timeout: 10_000 });
    wire.pass();
    await connected(ada, RECOVERS_WITHIN_MS);
    await expect(ada.getByTestId('unsent')).toHaveCount(0, { timeout: 30_000 });
    expect(await textsOnServer(grace, 'lobby')).toEqual(Array.from({ length: 500 }, (_, index) => `unsent ${index + 1}`));
    await ada.getByTestId('send').click();
    await expect(texts(ada).last()).toHaveText('One too many');
  });
});
