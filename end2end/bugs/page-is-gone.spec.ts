import { connected, expect, pageLink, test } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';

test('a frame that was asked for before the room turned out to be none harms nothing', async ({ page }) => {
  await page.goto('/chat');
  await connected(page);
  await say(page, 'Hello');
  await expect(texts(page)).toHaveText(['Hello']);
  // In one task: the log asks for a frame, and the router takes the log away.
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
  // The app lives on.
  await pageLink(page, 'Chat').click();
  await connected(page);
  await expect(texts(page)).toHaveText(['Hello', 'Asks for a frame']);
});
