import type { Page, WebSocket } from '@playwright/test';
import { connected, expect, test } from '../fixtures/app';
import { roomEntry, say, seed, texts } from '../fixtures/chat';

test('one socket serves all rooms: going from room to room does not reconnect', async ({ page, server }) => {
  const sockets: string[] = [];
  page.on('websocket', (socket) => sockets.push(socket.url()));
  await page.goto('/chat');
  await connected(page);
  for (const room of ['rust', 'random', 'lobby']) {
    await page.getByRole('link', { name: `#${room}` }).click();
    await expect(page).toHaveURL(`/chat/${room}`);
    await expect(page.getByTestId('room-name')).toHaveText(`#${room}`);
    await say(page, `Hello, ${room}`);
    await expect(texts(page)).toHaveText([`Hello, ${room}`]);
  }
  expect(sockets).toHaveLength(1);
  expect(await server.openConnections('chat')).toBe(1);
});

test('messages in other rooms are counted until they are shown', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat/rust');
  await connected(ada);
  await connected(grace);
  await say(grace, 'One');
  await say(grace, 'Two');
  await expect(roomEntry(ada, 'rust').getByTestId('unread')).toHaveText(/^2/);
  await expect(ada).toHaveTitle(/^\(2\) #lobby/);
  await expect(roomEntry(grace, 'rust').getByTestId('unread')).toHaveCount(0);
  await expect(grace.getByTestId('receipt')).toHaveText(['Sent']);

  // The server keeps the counts too: they are the same after a reload.
  await ada.reload();
  await connected(ada);
  await expect(roomEntry(ada, 'rust').getByTestId('unread')).toHaveText(/^2/);

  await roomEntry(ada, 'rust').getByRole('link').click();
  await expect(texts(ada)).toHaveText(['One', 'Two']);
  await expect(ada.getByTestId('unread')).toHaveCount(0);
  await expect(ada).toHaveTitle(/^#rust/);
  await expect(grace.getByTestId('receipt')).toHaveText(['Read by 1']);
  await ada.reload();
  await connected(ada);
  await expect(ada.getByTestId('unread')).toHaveCount(0);
});

/**
 * Acts like a tab that is being hidden: animation frames requested from now on are not run. Those requested before still are.
 */
function withholdFrames(page: Page): Promise<void> {
  return page.evaluate(() => {
    const request = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = () => {
      document.body.dataset.asked = '';
      return 0;
    };
    return new Promise<void>((done) => request(() => done()));
  });
}

/** Delays short timers set from now on until the returned function is called. Timers set before have already run. */
async function withholdTimers(page: Page): Promise<() => Promise<void>> {
  const timers = await page.evaluateHandle(async () => {
    const SHORT_MS = 1_000;
    const withheld = new Map<number, () => void>();
    const [set, clear] = [window.setTimeout.bind(window), window.clearTimeout.bind(window)];
    // Above the numbers that the browser assigns.
    let last = 1_000_000;
    const setTimeout = (timer: () => void, ms = 0) => (ms > SHORT_MS ? set(timer, ms) : (withheld.set(++last, timer), last));
    const clearTimeout = (number: number) => void (withheld.delete(number) || clear(number));
    Object.assign(window, { setTimeout, clearTimeout });
    await new Promise((done) => set(done, SHORT_MS));
    return withheld;
  });
  return () =>
    timers.evaluate((withheld) => {
      // Only the timers of this moment: a timer may set the next one, and cancel another.
      for (const [number, timer] of [...withheld]) if (withheld.delete(number)) timer();
    });
}

/** Waits until this page has received a message and requested a frame to show it. Call it before the message is sent. */
async function messageWaitsForFrame(page: Page, socket: WebSocket, text: string): Promise<void> {
  await socket.waitForEvent('framereceived', ({ payload }) => `${payload}`.includes(`"${text}"`));
  await expect(page.locator('body')).toHaveAttribute('data-asked');
}

/** Loads the page again, so that its socket is observed with all its frames. */
async function reconnect(page: Page): Promise<WebSocket> {
  // Otherwise the next socket might be that of the page before.
  await connected(page);
  const [socket] = await Promise.all([page.waitForEvent('websocket'), page.reload()]);
  await connected(page);
  return socket;
}

test('a tab that is hidden before a message is shown goes on counting in its title', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  const socket = await reconnect(ada);
  await connected(grace);
  await withholdFrames(ada);
  await Promise.all([messageWaitsForFrame(ada, socket, 'One'), say(grace, 'One')]);
  await expect(ada).toHaveTitle(/^#lobby/);
  await ada.evaluate(() => {
    Object.defineProperty(document, 'hidden', { get: () => true });
    Object.defineProperty(document, 'visibilityState', { get: () => 'hidden' });
    document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
  });
  await expect(ada).toHaveTitle(/^\(1\) #lobby/);
  await say(grace, 'Two');
  await expect(ada).toHaveTitle(/^\(2\) #lobby/);
});

test('a message that is received but not shown yet is not read', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  const socket = await reconnect(ada);
  await connected(grace);
  const letTimersGo = await withholdTimers(ada);
  await say(grace, 'Shown');
  await expect(texts(ada)).toHaveText(['Shown']);
  await withholdFrames(ada);
  await Promise.all([messageWaitsForFrame(ada, socket, 'Waits'), say(grace, 'Waits')]);
  await expect(texts(ada)).toHaveText(['Shown']);
  // One of these timers sends how far Ada has read.
  await letTimersGo();
  await expect(grace.getByTestId('receipt')).toHaveText(['Read by 1', 'Sent']);
});

test('read marks show how far each user has read', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  const { page: linus } = await visit('Linus', '/chat');
  for (const page of [ada, grace, linus]) await connected(page);
  await say(ada, 'First');
  await expect(ada.getByTestId('receipt')).toHaveText(['Read by 2']);
  // Grace goes to another room: she has read the first message only.
  await roomEntry(grace, 'random').getByRole('link').click();
  await expect(grace.getByTestId('room-name')).toHaveText('#random');
  await say(ada, 'Second');
  await expect(ada.getByTestId('receipt')).toHaveText(['Read by 2', 'Read by 1']);
  await roomEntry(grace, 'lobby').getByRole('link').click();
  await expect(ada.getByTestId('receipt')).toHaveText(['Read by 2']);
  // Other users see no receipts under messages that are not theirs.
  await expect(grace.getByTestId('receipt')).toHaveCount(0);
});

test('two tabs are one person: listed once, and what one has read is read in the other', async ({ visit }) => {
  const { page: ada, context: adaHas } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat/rust');
  const second = await adaHas.newPage();
  await second.goto('/chat/random');
  for (const page of [ada, second, grace]) await connected(page);
  await say(grace, 'Hello, both of you');
  for (const tab of [ada, second]) await expect(roomEntry(tab, 'rust').getByTestId('unread')).toHaveText(/^1/);
  await roomEntry(second, 'rust').getByRole('link').click();
  for (const tab of [ada, second]) await expect(tab.getByTestId('unread')).toHaveCount(0);
  await expect(grace.getByTestId('receipt')).toHaveText(['Read by 1']);
  await expect(grace.getByTestId('member')).toHaveText(['Ada', 'Grace']);
  // A message of one tab is shown in the other as the user's own.
  await say(second, 'We are here');
  await roomEntry(ada, 'rust').getByRole('link').click();
  await expect(texts(ada)).toHaveText(['Hello, both of you', 'We are here']);
  await expect(ada.getByTestId('receipt')).toHaveText(['Read by 1']);
});

test('a user who types is shown until the message arrives, and reports it at most once in three seconds', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  const sent: string[] = [];
  grace.on('websocket', (socket) => socket.on('framesent', ({ payload }) => sent.push(`${payload}`)));
  await grace.reload();
  await connected(ada);
  await connected(grace);
  await grace.getByTestId('composer').pressSequentially('Hello', { delay: 20 });
  await expect(ada.getByTestId('typing')).toHaveText('Grace is typing');
  await expect(grace.getByTestId('typing')).toBeEmpty();
  await grace.getByTestId('send').click();
  await expect(texts(ada)).toHaveText(['Hello']);
  await expect(ada.getByTestId('typing')).toBeEmpty();
  expect(sent.filter((frame) => frame.includes('"typing"'))).toHaveLength(1);
  // A user who stops typing without sending is shown for five seconds.
  await ada.getByTestId('composer').fill('Well');
  await expect(grace.getByTestId('typing')).toHaveText('Ada is typing');
  await expect(grace.getByTestId('typing')).toBeEmpty({ timeout: 8_000 });
});

test('a room is made by visiting a valid name; an invalid one is refused with the rule', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  await connected(ada);
  await ada.getByTestId('new-room').fill('No Room!');
  await ada.getByTestId('open-room').click();
  await expect(ada.getByTestId('room-refusal')).toHaveText("A room's name has 1 to 32 characters of a-z, 0-9 and the hyphen.");
  await expect(ada).toHaveURL('/chat');
  await ada.getByTestId('new-room').fill('#reading-club');
  await ada.getByTestId('new-room').press('Enter');
  await expect(ada).toHaveURL('/chat/reading-club');
  await expect(ada.getByTestId('room-refusal')).toBeEmpty();
  await expect(roomEntry(ada, 'reading-club').getByRole('link')).toHaveAttribute('aria-current', 'page');
  await say(ada, 'Chapter one');
  await expect(texts(ada)).toHaveText(['Chapter one']);
  // The room is still in the list after a reload of another room, with its unread count.
  await ada.goto('/chat');
  await connected(ada);
  const { page: grace } = await visit('Grace', '/chat/reading-club');
  await connected(grace);
  await say(grace, 'Chapter two');
  await expect(roomEntry(ada, 'reading-club').getByTestId('unread')).toHaveText(/^1/);
  // After she has left the room it is gone from the list, and its members are not shown to her.
  await roomEntry(ada, 'reading-club').getByTestId('leave').click();
  await expect(roomEntry(ada, 'reading-club')).toHaveCount(0);
  await expect(grace.getByTestId('member')).toHaveText(['Grace'], { timeout: 10_000 });
  await ada.reload();
  await connected(ada);
  await expect(ada.getByTestId('room')).toHaveCount(3);
});

test('the keyboard is enough', async ({ page }) => {
  await page.goto('/chat');
  await connected(page);
  await page.getByTestId('composer').focus();
  await page.keyboard.type('First line');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('Second line');
  const one = (await page.getByTestId('composer').boundingBox())!.height;
  await page.keyboard.press('Shift+Enter');
  expect((await page.getByTestId('composer').boundingBox())!.height).toBeGreaterThan(one);
  await page.keyboard.press('Backspace');
  await page.keyboard.press('Enter');
  await expect(texts(page)).toHaveText(['First line\nSecond line'], { useInnerText: true });
  await expect(page.getByTestId('composer')).toHaveValue('');

  await page.keyboard.press('Alt+ArrowDown');
  await expect(page).toHaveURL('/chat/rust');
  await expect(page.getByTestId('composer')).toBeFocused();
  await page.keyboard.press('Alt+ArrowDown');
  await expect(page).toHaveURL('/chat/random');
  await page.keyboard.press('Alt+ArrowDown');
  await expect(page).toHaveURL('/chat/random');
  await page.keyboard.press('Alt+ArrowUp');
  await expect(page).toHaveURL('/chat/rust');
});

test('addresses are links, and nothing else is', async ({ visit }) => {
  const { page: ada } = await visit('Ada', '/chat');
  const { page: grace } = await visit('Grace', '/chat');
  await connected(ada);
  await connected(grace);
  const text = 'See (https://example.org/a?b=c&d#e), not javascript:alert(1) or <a href="https://x.example">this</a>';
  await say(ada, text);
  for (const reload of [false, true]) {
    // The second time the message is rendered by the server.
    if (reload) await grace.reload();
    await connected(grace);
    await expect(texts(grace)).toHaveText([text]);
    const links = texts(grace).locator('a');
    await expect(links).toHaveText(['https://example.org/a?b=c&d#e', 'https://x.example']);
    await expect(links.first()).toHaveAttribute('href', 'https://example.org/a?b=c&d#e');
    await expect(links.first()).toHaveAttribute('rel', 'noopener noreferrer nofollow');
    await expect(links.first()).toHaveAttribute('target', '_blank');
  }
});

test('only what others say live is announced, and many at once as a number', async ({ visit }) => {
  const { page: grace } = await visit('Grace', '/chat');
  await connected(grace);
  await say(grace, 'Old news');
  const { page: ada } = await visit('Ada', '/chat');
  await connected(ada);
  const heard = await ada.getByTestId('announcement').evaluateHandle((region) => {
    const heard: string[] = [];
    new MutationObserver(() => heard.push(region.textContent ?? '')).observe(region, { childList: true, characterData: true, subtree: true });
    return heard;
  });
  await say(ada, 'My own');
  await say(grace, 'Fresh');
  await expect(ada.getByTestId('announcement')).toHaveText('Grace: Fresh');
  await seed(grace, 'lobby', 20);
  await expect(ada.getByTestId('announcement')).toHaveText(/^\d+ new messages$/);
  expect((await heard.jsonValue()).join()).not.toMatch(/Old news|My own/);
  await expect(ada.getByTestId('log')).toHaveAttribute('role', 'log');
});

test.describe('no such room', () => {
  // The browser complains about the status.
  test.use({ tolerated: /status of 404/ });

  test('a name that no room can have is refused in words, and nothing is connected', async ({ page, server }) => {
    const answer = await page.goto('/chat/No%20Room');
    expect(answer!.status()).toBe(404);
    await expect(page.getByRole('heading', { name: 'No such room' })).toBeVisible();
    await page.getByRole('link', { name: 'To the lobby' }).click();
    await connected(page);
    expect(await server.openConnections('chat')).toBe(1);
  });
});

test.describe('elsewhere on earth', () => {
  test.use({ timezoneId: 'Pacific/Auckland' });

  test('times are those of the reader', async ({ page }) => {
    await page.goto('/chat');
    await connected(page);
    await say(page, 'What time is it?');
    for (const reload of [false, true]) {
      if (reload) await page.reload();
      await connected(page);
      const time = page.getByTestId('message').locator('time');
      const expected = await time.evaluate((time: HTMLTimeElement) => new Date(time.dateTime).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' }));
      await expect(time).toHaveText(expected);
      await expect(page.getByTestId('day')).toHaveText(['Today']);
    }
  });
});
