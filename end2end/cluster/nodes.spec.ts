import { BROKEN_CONNECTION, connected, expect } from '../fixtures/app';
import { say, texts } from '../fixtures/chat';
import { test } from '../fixtures/of-cluster';

// The acceptance tests would pass as well if everything came to the same node.
test('connections go to one node after the other', async ({ cluster }) => {
  const end = new AbortController();
  for (let number = 0; number < 3; number++) await fetch(`${cluster.url}/api/compare/events?note=1`, { signal: end.signal });
  await expect.poll(() => cluster.openAtEach('compare')).toEqual([1, 1, 1]);
  end.abort();
  await expect.poll(() => cluster.openConnections('compare')).toBe(0);
});

test.describe('nodes that end', () => {
  test.use({ tolerated: BROKEN_CONNECTION });

  test('a page goes on at another node, with everything that was said and nothing doubled', async ({ visit, cluster }) => {
    const { page: ada } = await visit('Ada', '/chat');
    await connected(ada);
    const said: string[] = [];
    // More often than there are nodes.
    for (let round = 1; round <= 4; round++) {
      const [at] = (await cluster.openAtEach('chat')).flatMap((open, index) => (open ? [index] : []));
      await say(ada, `Before end ${round}`);
      await expect(texts(ada)).toHaveText([...said, `Before end ${round}`]);
      await cluster.stopNode(at);
      await say(ada, `After end ${round}`);
      said.push(`Before end ${round}`, `After end ${round}`);
      await expect(texts(ada)).toHaveText(said);
      await expect(ada.getByTestId('unsent')).toHaveCount(0);
      await expect.poll(() => cluster.openConnections('chat')).toBe(1);
      // A node that starts again reads what it missed before it is ready.
      await cluster.startNode(at);
    }
    const { page: grace } = await visit('Grace', '/chat');
    await connected(grace);
    await expect(texts(grace)).toHaveText(said);
  });
});
