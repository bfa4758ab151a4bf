import { connected, expect, pageLink, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';

test('an animation frame requested before the room turns out to be invalid does no harm', async ({ page }) => {
  await page.goto('/chat');
  await connected(page);
  await say(page, 'Hello');
  await expect(texts(page)).toHaveText(['Hello']);
  // Both happen in one task: the log requests an animation frame, and the router removes the log.
  await page.evaluate(() => {
    const composer = document.querySelector<HTMLTextAreaElement>('[data-test=composer]')!;
    composer.value = 'Asks for a frame';
    composer.form!.requestSubmit();
    const link = document.createElement('a');
    link.href = '/chat/No%20Room';
    document.body.append(link);
    link.click();
    link.remove();
  });
  await expect(page.getByRole('heading', { name: 'No such room' })).toBeVisible();
  await page.evaluate(() => new Promise((framed) => requestAnimationFrame(() => requestAnimationFrame(framed))));
  // The app is still alive.
  await pageLink(page, 'Chat').click();
  await connected(page);
  await expect(texts(page)).toHaveText(['Hello', 'Asks for a frame']);
});
