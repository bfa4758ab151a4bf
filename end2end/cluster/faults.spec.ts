import { BAD_GATEWAY, BROKEN_CONNECTION, connected, expect } from '../fixtures/app';
import { editable, saved, text, typeAt } from '../fixtures/collab';
import { test } from '../fixtures/of-cluster';

test.use({ tolerated: new RegExp(`${BROKEN_CONNECTION.source}|${BAD_GATEWAY.source}`) });

/** A lease is taken over within 10 s of the death of its owner. */
const TAKEN_OVER_WITHIN_MS = 15_000;

test('prices go on when a node is killed, also when it is the one that makes them', async ({ page, cluster }) => {
  await page.goto('/ticker');
  await connected(page);
  const price = page.getByTestId('price').first();
  // One of the three makes the prices.
  for (let node = 0; node < 3; node++) {
    await cluster.killNode(node);
    // One change may have been on its way.
    for (let change = 0; change < 3; change++) {
      const before = await price.textContent();
      await expect(price).not.toHaveText(before!, { timeout: TAKEN_OVER_WITHIN_MS });
    }
    await connected(page);
    await cluster.startNode(node);
  }
});

test('while the broker is away a text says that it is not saved, goes on for its people, and is saved afterwards', async ({ visit, cluster }) => {
  const { page: ada } = await visit('Ada', '/collab');
  const { page: bob } = await visit('Bob', '/collab');
  await editable(ada);
  await editable(bob);
  await typeAt(ada, 0, 'Before. ');
  await saved(ada);
  await expect(text(bob)).toHaveValue(/^Before\. /);
  await cluster.killBroker();
  await typeAt(ada, 0, 'Away. ');
  await expect(text(ada)).toHaveValue(/^Away\. Before\. /);
  await expect(ada.getByTestId('saved')).toHaveAttribute('data-state', 'unsaved');
  await cluster.startBroker();
  await saved(ada);
  await expect(text(bob)).toHaveValue(/^Away\. Before\. /);
});
