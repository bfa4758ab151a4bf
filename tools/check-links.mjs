// Checks the documentation, README.md, realtime/README.md, docs/**/*.md and examples/**/*.md, without a network:
//
// - every relative link leads to a file or folder of the repository, and its #anchor to a heading of that file (the slug
//   rule is GitHub's), to an element with that id, or to a line (#L12, #L12-L20) that the file has;
// - every path in backticks exists: everywhere those that begin with a folder of the repository (`src/...`), and in lists
//   under a heading "Files" or "Tests" all of them. A star stands for any part of a name.
//
// Prints file:line and what is wrong; the exit code is 1 where anything is. Another root may be passed as an argument.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, posix, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(process.argv[2] ?? join(dirname(fileURLToPath(import.meta.url)), '..'));
/** What .gitignore names. It has plain names and paths only. A clean clone has none of them, so no document may lead there. */
const IGNORED = (existsSync(join(ROOT, '.gitignore')) ? readFileSync(join(ROOT, '.gitignore'), 'utf8') : '').split(/\r?\n/).filter(Boolean);
const FOLDERS = readdirSync(ROOT, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== '.git' && !isIgnored(entry.name))
  .map((entry) => entry.name);
/** A text in backticks without a slash and without one of these endings is a word, not a file. */
const ENDINGS = /\.(css|html|js|json|lock|md|mjs|rs|sh|toml|ts|txt)$/;

/** Reads a document for the checks: its lines without fenced code, each with its number. */
function read(file) {
  const lines = [];
  let fence;
  readFileSync(file, 'utf8')
    .split(/\r?\n/)
    .forEach((text, index) => {
      const mark = /^ {0,3}(`{3,}|~{3,})/.exec(text)?.[1];
      if (!fence && mark) fence = mark;
      else if (fence && mark?.startsWith(fence)) fence = undefined;
      else if (!fence) lines.push({ number: index + 1, text });
    });
  return lines;
}

function heading(text) {
  return /^ {0,3}#{1,6}\s+(.+?)\s*#*\s*$/.exec(text)?.[1];
}

/** The text of a heading without its Markdown. */
function plain(markdown) {
  return markdown
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/<[^>]+>/g, '')
    .replace(/[`*]/g, '');
}

/** The slug rule of GitHub: lower case, no punctuation, hyphens for spaces. */
function slug(words) {
  return words.toLowerCase().replace(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, '').replace(/ /g, '-');
}

const known = new Map();
/** The anchors of a document. The second heading with the same text gets a number. */
function anchors(file) {
  if (!known.has(file)) {
    const found = new Set();
    for (const { text } of read(file)) {
      for (const [, id] of text.matchAll(/<[a-z]+\s[^>]*\b(?:id|name)="([^"]+)"/gi)) found.add(id);
      const words = heading(text);
      if (words === undefined) continue;
      const first = slug(plain(words));
      let name = first;
      for (let count = 1; found.has(name); count += 1) name = `${first}-${count}`;
      found.add(name);
    }
    known.set(file, found);
  }
  return known.get(file);
}

function isIgnored(path) {
  return IGNORED.some((name) => (name.includes('/') ? `/${path}/`.startsWith(`${name}/`) : path.split('/').includes(name)));
}

/** Whether the repository has a path in exactly this spelling: some file systems ignore the case, others do not. */
function exists(path) {
  if (isIgnored(path)) return false;
  let folder = ROOT;
  for (const part of path.split('/').filter((part) => part && part !== '.')) {
    if (!existsSync(folder) || !statSync(folder).isDirectory()) return false;
    const pattern = new RegExp(`^${part.split('*').map(escape).join('.*')}$`);
    const name = readdirSync(folder).find((name) => pattern.test(name));
    if (name === undefined) return false;
    folder = join(folder, name);
  }
  return true;
}

function escape(text) {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** What is wrong with a link; nothing if it leads out of the repository. */
function faultOfLink(file, link) {
  if (/^[a-z][a-z0-9+.-]*:/i.test(link) || link.startsWith('//')) return undefined;
  if (/%(?![0-9a-f]{2})/i.test(link)) return `${link} is not percent-encoded`;
  const [written, anchor] = decodeURIComponent(link).split('#');
  const here = relative(ROOT, file).split(sep).join('/');
  const path = written === '' ? here : posix.normalize(written.startsWith('/') ? written.slice(1) : posix.join(posix.dirname(here), written));
  if (path.startsWith('..')) return `${link} leads out of the repository`;
  if (!exists(path)) return `${link} leads to ${path}, which does not exist`;
  if (!anchor) return undefined;
  const target = join(ROOT, path);
  const range = /^L(\d+)(?:-L(\d+))?$/.exec(anchor);
  if (range && !path.endsWith('.md')) {
    const last = Number(range[2] ?? range[1]);
    return readFileSync(target, 'utf8').split('\n').length < last ? `${path} has no line ${last}` : undefined;
  }
  if (!path.endsWith('.md')) return `${link} has an anchor that is not a line (#L12)`;
  return anchors(target).has(anchor) ? undefined : `${path} has no heading #${anchor}`;
}

/** What is wrong with a text in backticks; nothing if it is not a path. */
function faultOfCode(code, isListed) {
  if (/[\s<>{}()=:|$"'@]/.test(code) || /^[/-]/.test(code)) return undefined;
  const path = code.replace(/\/$/, '');
  const beginsWithFolder = FOLDERS.some((folder) => path.startsWith(`${folder}/`));
  const isPath = isListed ? path.includes('/') || ENDINGS.test(path) : beginsWithFolder;
  return isPath && !exists(path) ? `\`${code}\` does not exist` : undefined;
}

function check(file) {
  const faults = [];
  let [listsPaths, inItem] = [false, false];
  for (const { number, text } of read(file)) {
    const words = heading(text);
    if (words !== undefined) listsPaths = /^(files|tests)$/i.test(plain(words));
    // An item continues while its lines are indented.
    inItem = /^\s*[-*] /.test(text) || (inItem && /^\s+\S/.test(text));
    const report = (fault) => fault && faults.push(`${relative(ROOT, file)}:${number}: ${fault}`);
    const withoutCode = text.replace(/(`+)(.+?)\1/g, (_, ticks, code) => {
      report(faultOfCode(code.trim(), listsPaths && inItem));
      return ticks + ' '.repeat(code.length) + ticks;
    });
    // Inline links and images, definitions of references, and HTML.
    for (const pattern of [/\]\(\s*<?([^\s)>]+)>?(?:\s+["'][^)]*)?\)/g, /^ {0,3}\[[^\]]+\]:\s+<?([^\s>]+)/g, /\b(?:href|src)="([^"]+)"/g]) {
      for (const [, link] of withoutCode.matchAll(pattern)) report(faultOfLink(file, link));
    }
  }
  return faults;
}

function documents(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return documents(path);
    return entry.name.endsWith('.md') ? [path] : [];
  });
}

const files = [join(ROOT, 'README.md'), join(ROOT, 'realtime/README.md'), ...['docs', 'examples'].flatMap((folder) => documents(join(ROOT, folder)).sort())];
const faults = files.flatMap(check);
faults.forEach((fault) => console.error(fault));
if (faults.length > 0) {
  console.error(`${faults.length} ${faults.length === 1 ? 'link or path is' : 'links or paths are'} wrong.`);
  process.exitCode = 1;
}
