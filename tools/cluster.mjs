// Runs a cluster on loopback until Ctrl-C: nats-server, three nodes, and Caddy in front of them. `make cluster` builds and
// fetches all of it first. Arguments are further flags of the nodes; a flag counts more than what is set here.
//
// What was stored, the secret and the logs stay in target/cluster. Remove the folder to begin anew.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { accessSync, appendFileSync, constants, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';

process.chdir(fileURLToPath(new URL('..', import.meta.url)));

const PORT = process.env.CLUSTER_PORT || '3000';
const NODES = [1, 2, 3];
const FOLDER = 'target/cluster';
const PIDS = join(FOLDER, 'pids');
const BINARY = 'target/release/wirewise';
/** Where Debian has servers, and where tools/nats.sh and tools/proxies.sh put what is not installed. */
const MORE_FOLDERS = ['/usr/sbin', 'target/nats/usr/sbin', 'target/proxies/usr/bin'];
/** Above the 5 s in which a node drains, and what its last writes and log lines take. */
const ENDS_WITHIN_MS = 10_000;
const LAST_LINES = 8;

/** What was started, in the order of the start. Each group needs the ones before it. */
const groups = [];
let isEnding = false;
let died;
const death = new Promise((_, refuse) => (died = refuse));
let interrupted;
const interrupt = new Promise((done) => (interrupted = done));

/** Ends what still runs, should this script end in any other way than in order. */
process.once('exit', () => groups.flat().forEach(({ child }) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // Who asks twice does not want to wait for the drain.
    if (isEnding) process.exit(1);
    interrupted();
  });
}

function find(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...MORE_FOLDERS];
  const found = folders.map((folder) => resolve(folder, name)).find(isProgram);
  if (!found) throw new Error(`${name} is not there. Fetch it with: make nats proxies`);
  return found;
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Two brokers must not have one store, and nats-server does not lock it: looks for what an earlier run has left behind. */
function refuseSecond() {
  const earlier = existsSync(PIDS) ? readFileSync(PIDS, 'utf8').trim().split('\n') : [];
  const alive = earlier.map((line) => line.split(' ')).filter(([pid, command]) => {
    const { stdout } = spawnSync('ps', ['-o', 'comm=', '-p', pid], { encoding: 'utf8' });
    return stdout?.trim() === command;
  });
  if (alive.length === 0) return;
  const pids = alive.map(([pid]) => pid).join(' ');
  throw new Error(`Another cluster runs in ${FOLDER}. If nothing else ends it: kill ${pids}`);
}

function start(name, command, args, env = {}) {
  if (isEnding) throw new Error('The cluster ends.');
  const file = name.toLowerCase().replaceAll(' ', '-');
  const log = join(FOLDER, `${file}.log`);
  rmSync(log, { force: true });
  // In a group of its own, or the terminal's Ctrl-C would end the broker before the nodes have stored their last writes.
  const child = spawn(command, args, { env: { ...process.env, ...env }, detached: true, stdio: ['ignore', 'pipe', openSync(log, 'a')] });
  const program = { name, child, log, said: '' };
  child.stdout.on('data', (chunk) => {
    appendFileSync(log, chunk);
    program.said += chunk;
  });
  program.ended = new Promise((done) => {
    child.once('error', (error) => done(`could not be started: ${error.message}`));
    child.once('exit', (code, signal) => done(signal ? `was ended by ${signal}` : `ended with exit code ${code}`));
  });
  program.ended.then((how) => {
    if (isEnding) return;
    const last = readFileSync(log, 'utf8').trimEnd().split('\n').slice(-LAST_LINES);
    died(new Error(`${name} (process ${child.pid}) ${how}. The end of ${log}:\n  ${last.join('\n  ')}`));
  });
  appendFileSync(PIDS, `${child.pid} ${command.split('/').pop()}\n`);
  return program;
}

/** Waits for a condition, and says now and then for what. It gives up with the program only. */
async function until(what, isMet) {
  for (let tries = 1; !(await isMet()); tries++) {
    if (tries % 100 === 0) console.log(`Still waiting until ${what()}`);
    await sleep(100);
  }
}

/** The status and the text of a page; the status is 0 where there is no answer. */
async function get(url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(5_000) });
    return { status: answer.status, text: await answer.text() };
  } catch {
    return { status: 0, text: 'no answer' };
  }
}

/** Resolves when a page answers with 200. */
async function answers(name, url) {
  let last = { status: 0, text: '' };
  const isOk = async () => (last = await get(url)).status === 200;
  await until(() => `${name} answers ${url} with 200; now it is ${last.status}: ${last.text}`, isOk);
}

/** Changes the one place of a configuration that has this text. */
function replaced(configuration, from, to) {
  const parts = configuration.split(from);
  if (parts.length !== 2) throw new Error(`${JSON.stringify(from)} is in the configuration ${parts.length - 1} times.`);
  return parts.join(to);
}

/** The broker has the deployed configuration, but for free ports and a store of its own. */
async function startBroker() {
  const folder = join(FOLDER, 'nats');
  mkdirSync(folder, { recursive: true });
  const configuration = join(FOLDER, 'nats.conf');
  const placed = [
    ['listen: 127.0.0.1:4222', 'listen: 127.0.0.1:-1'],
    ['http: 127.0.0.1:8222', 'http: 127.0.0.1:-1'],
    ['store_dir: /var/lib/nats', `store_dir: ${JSON.stringify(resolve(folder))}`],
  ].reduce((text, [from, to]) => replaced(text, from, to), readFileSync('deploy/nats.conf', 'utf8'));
  writeFileSync(configuration, `${placed}ports_file_dir: ${JSON.stringify(resolve(folder))}\n`);
  const broker = start('nats-server', find('nats-server'), ['-c', configuration]);
  groups.push([broker]);
  const ports = join(folder, `nats-server_${broker.child.pid}.ports`);
  const read = () => {
    try {
      return (broker.ports = JSON.parse(readFileSync(ports, 'utf8')));
    } catch {
      // Not written yet, or not to its end.
      return undefined;
    }
  };
  await until(() => `nats-server writes ${ports}`, read);
  await answers('nats-server', `${broker.ports.monitoring[0]}/healthz`);
  return { ...broker, url: broker.ports.nats[0] };
}

async function startNodes(bus) {
  const kept = join(FOLDER, 'secret');
  if (!existsSync(kept)) writeFileSync(kept, randomBytes(32).toString('hex'), { mode: 0o600 });
  const secret = readFileSync(kept, 'utf8');
  // Settings as variables: a secret in the arguments is for everybody to read, and a flag of the caller counts more.
  const nodes = NODES.map((number) =>
    start(`Node ${number}`, BINARY, process.argv.slice(2), {
      LEPTOS_SITE_ADDR: '127.0.0.1:0',
      LEPTOS_SITE_ROOT: 'target/site',
      WIREWISE_DATA_DIR: join(FOLDER, `node-${number}`),
      WIREWISE_METRICS_ADDR: '127.0.0.1:0',
      WIREWISE_BUS: bus,
      WIREWISE_SECRET: secret,
      WIREWISE_TRUST_PROXY: 'true',
      WIREWISE_ALLOW_FAULTS: 'true',
    }),
  );
  groups.push(nodes);
  const ready = async (node) => {
    const says = (words) => node.said.match(words)?.[1];
    await until(() => `${node.name} listens`, () => (node.url = says(/^Wirewise listens on (\S+)$/m)));
    await answers(node.name, `${node.url}/readyz`);
    node.metrics = says(/^Wirewise's metrics are at (\S+)$/m);
  };
  await Promise.all(nodes.map(ready));
  return nodes;
}

/** Caddy has the deployed configuration, but for plain HTTP on loopback. It asks each node whether it is ready. */
async function startCaddy(nodes) {
  const configuration = join(FOLDER, 'Caddyfile');
  const global = '\n{\n\tadmin off\n\tdefault_bind 127.0.0.1\n';
  writeFileSync(configuration, replaced(readFileSync('deploy/Caddyfile', 'utf8'), '\n{\n', global));
  const own = resolve(FOLDER, 'caddy');
  const caddy = start('Caddy', find('caddy'), ['run', '--config', configuration, '--adapter', 'caddyfile'], {
    XDG_DATA_HOME: own,
    XDG_CONFIG_HOME: own,
    WIREWISE_DOMAIN: `http://:${PORT}`,
    WIREWISE_UPSTREAM: nodes.map(({ url }) => new URL(url).host).join(' '),
    WIREWISE_CHECK: '/readyz',
  });
  groups.push([caddy]);
  const url = `http://127.0.0.1:${PORT}`;
  await answers('Caddy', `${url}/healthz`);
  return { ...caddy, url };
}

async function startAll() {
  if (!isProgram(BINARY)) throw new Error(`${BINARY} is not there. Build it with: make build`);
  const broker = await startBroker();
  const nodes = await startNodes(broker.url);
  const caddy = await startCaddy(nodes);
  console.log(`The cluster answers on ${caddy.url} (Caddy; log: ${caddy.log})`);
  for (const node of nodes) console.log(`  ${node.name}: ${node.url}, metrics: ${node.metrics ?? 'none'}, process ${node.child.pid}, log: ${node.log}`);
  console.log(`  nats-server: ${broker.url}, process ${broker.child.pid}, log: ${broker.log}`);
  console.log(`Ctrl-C ends it. What was stored stays in ${FOLDER}.`);
}

async function end({ name, child, ended }) {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  const insist = setTimeout(() => {
    console.error(`${name} did not end within ${ENDS_WITHIN_MS / 1_000} s, and is killed.`);
    child.kill('SIGKILL');
  }, ENDS_WITHIN_MS);
  await ended;
  clearTimeout(insist);
}

try {
  mkdirSync(FOLDER, { recursive: true });
  refuseSecond();
  rmSync(PIDS, { force: true });
  await Promise.race([startAll(), death, interrupt]);
  await Promise.race([death, interrupt]);
  console.log('Ending.');
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
isEnding = true;
for (const group of groups.reverse()) await Promise.all(group.map(end));
// What still waits for an answer does not matter any more.
process.exit();
