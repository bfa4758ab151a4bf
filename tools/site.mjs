// Makes the site that is served from the wasm that cargo built for the browser, from style/ and public/:
//
// - `split-wasm` (tools/split-wasm) takes the lazy pages out of the wasm. It writes a file for each set of pages that share some
//   code, dozens of them, most below a kilobyte. Here they are merged until another file would cost more than it saves.
// - Each file is made smaller: the wasm by wasm-opt after the merge, the script by esbuild, the style by Lightning CSS.
// - Each file is named after its content (`NAME.HASH.EXTENSION`), so that a browser downloads again only what has changed,
//   and is compressed with brotli and gzip.
//
// Usage: node tools/site.mjs WASM SITE. SITE is written anew. With KEEP_NAMES=1 functions keep their names (tools/weight.mjs).
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import { transform } from 'esbuild';

const [wasm, site] = process.argv.slice(2);
const target = join(site, 'pkg');
const run = promisify(execFile);
const FEATURES = ['--enable-bulk-memory', '--enable-nontrapping-float-to-int', '--enable-mutable-globals', '--enable-sign-ext', '--enable-reference-types', '--enable-multivalue'];
const KEEP_NAMES = Boolean(process.env.KEEP_NAMES);
const NAMES = KEEP_NAMES ? ['-g'] : [];

/** Runs a tool of binaryen and returns what it prints. */
const binaryen = async (tool, ...args) => (await run(tool, [...args, ...FEATURES, ...(tool === 'wasm-dis' ? [] : NAMES)], { maxBuffer: 1 << 28 })).stdout;

/** What a request costs besides its bytes, in bytes: its headers, and its share of a round trip. */
const REQUEST = 700;

/** How much a part counts beside a page: few visits load it. */
const PART = 0.25;

/** By how much code becomes smaller, about, until it is sent. */
const PACKED = 3.3;

const brotli = (bytes) => promisify(brotliCompress)(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } });

/** Runs `work` on all items, as many at a time as there are cores. */
async function each(items, work) {
  const left = [...items];
  const results = new Map();
  const worker = async () => {
    for (let item; (item = left.shift()); ) results.set(item, await work(item));
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
  return items.map((item) => results.get(item));
}

/** The hash in a file's name: that of `src/server/assets.rs`, which tells by it whether a browser may keep the file for ever. */
const hash = (bytes) => createHash('md5').update(bytes).digest('base64url');

/** The bytes of a module without the names of its functions. */
function bytesOf(file) {
  const bytes = readFileSync(file);
  const names = WebAssembly.Module.customSections(new WebAssembly.Module(bytes), 'name');
  return names.reduce((left, section) => left - section.byteLength, bytes.length);
}

/** Merges files that are loaded by nearly the same parts, as long as that makes the sum over all parts smaller. */
function grouped(folder, manifest) {
  const parts = Object.keys(manifest);
  const users = new Map();
  for (const part of parts) for (const file of manifest[part]) users.set(file, (users.get(file) ?? new Set()).add(part));
  const groups = [...users].map(([file, parts]) => ({ files: [file], parts, bytes: bytesOf(join(folder, `${file}.wasm`)) / PACKED }));
  const weight = (part) => (part.endsWith('_page') ? 1 : PART);
  const cost = ({ parts, bytes }) => [...parts].reduce((sum, part) => sum + weight(part), 0) * (bytes + REQUEST);
  for (;;) {
    let best = { saved: 0 };
    for (const [index, one] of groups.entries()) {
      for (const other of groups.slice(index + 1)) {
        const both = { files: [...one.files, ...other.files], parts: new Set([...one.parts, ...other.parts]), bytes: one.bytes + other.bytes };
        const saved = cost(one) + cost(other) - cost(both);
        if (saved > best.saved) best = { saved, one, other, both };
      }
    }
    if (best.saved === 0) return groups;
    groups.splice(groups.indexOf(best.one), 1, best.both);
    groups.splice(groups.indexOf(best.other), 1);
  }
}

/** The name of a merged file: of the part that loads it, or `shared` and the initials of those that do. */
function nameOf({ parts }) {
  const [first, ...others] = [...parts].toSorted();
  return others.length === 0 ? first : `shared_${[first, ...others].map((part) => part[0]).join('')}`;
}

/**
 * The files of a group as one module. Each of them imports the memory, the table and the globals of the app's main module.
 * `base` imports them once and hands them on, because a module that imports a memory twice has two.
 */
async function merged({ files }, base, folder) {
  const inputs = files.flatMap((file, index) => [join(folder, `${file}.wasm`), `part${index}`]);
  const output = join(folder, `${files[0]}.wasm`);
  await binaryen('wasm-merge', base, '__wasm_split', ...inputs, '-o', output, '--skip-export-conflicts');
  // The files reach each other through the table, so none of them needs an export.
  await binaryen('wasm-metadce', output, '-f', join(folder, 'graph.json'), '-o', output);
  return optimized(output);
}

/**
 * What makes a module small once it is compressed, which is not what makes it small: a function that is moved into its only
 * caller, and a value that is kept in a local to be used again, save bytes and cost more of them after brotli (docs/weight.md).
 */
const SMALL = ['-Oz', '--one-caller-inline-max-function-size=20', '--skip-pass=local-cse'];

/** The module that compresses best, without two sections that no browser reads. */
async function optimized(file) {
  await binaryen('wasm-opt', file, '-o', file, ...SMALL, '--strip-producers', '--strip-target-features');
  return readFileSync(file);
}

/** The app's script: what wasm-bindgen wrote, with the loader of this site instead of the splitter's. */
function scriptOf(glue, loads) {
  const loader = /(?<=\bfrom\s*['"])\.\/__wasm_split\.js(?=['"])/g;
  if (!loader.test(glue)) throw new Error('The script does not import the loader of the split files');
  // The loader reads the exports of the main module from `initSync`, which a running program answers with them.
  return `${glue.replaceAll(loader, `./${loads}`)}\nimport { started } from './${loads}';\nstarted(initSync);\n`;
}

const minified = async (script) => Buffer.from((await transform(script, { minify: true, format: 'esm', target: 'esnext' })).code);

/** The style sheets as one, as cargo-leptos makes it while it watches. */
async function style() {
  return Buffer.from((await run('lightningcss', ['--minify', '--bundle', '--targets', 'defaults', 'style/main.css'], { maxBuffer: 1 << 28 })).stdout);
}

/** A module that imports from `main` what the split files import from `__wasm_split`, and exports it. */
async function baseModule(folder) {
  const needed = (file) => WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(join(folder, file))));
  const split = readdirSync(folder).filter((file) => /^(chunk|split)_.*\.wasm$/.test(file));
  const imports = new Map();
  for (const file of split.toSorted((one, other) => statSync(join(folder, one)).size - statSync(join(folder, other)).size)) {
    const missing = needed(file).filter(({ name }) => !imports.has(name));
    if (missing.length === 0) continue;
    const text = await binaryen('wasm-dis', join(folder, file));
    for (const { name } of missing) {
      const line = new RegExp(`\\(import "__wasm_split" "${name}" \\((memory|table|global) (?:\\$\\S+ )?(.*)\\)\\)`).exec(text);
      if (!line) throw new Error(`${file} imports ${name}, which is neither a memory nor a table nor a global`);
      imports.set(name, `(import "main" "${name}" (${line[1]} $${name} ${line[2]}))\n(export "${name}" (${line[1]} $${name}))`);
    }
  }
  const file = join(folder, 'base.wat');
  writeFileSync(file, `(module\n${[...imports.values()].join('\n')}\n)`);
  const output = join(folder, 'base.wasm');
  await binaryen('wasm-as', file, '-o', output);
  writeFileSync(join(folder, 'graph.json'), '[]');
  return output;
}

/** The script that loads the files of a part. It stands in for the splitter's, which loads one file a set of pages. */
function loader(filesOf) {
  const load = ([part, files]) => `export const __wasm_split_load_${part}=part(${JSON.stringify(files)});`;
  return `
let begin, imports;
export const started = (init) => { begin = init; };
const shared = () => (imports ??= { main: begin() });
const loading = new Map();
function load(file) {
  let module = loading.get(file);
  if (!module) {
    module = WebAssembly.instantiateStreaming(fetch(new URL(file, import.meta.url)), shared());
    loading.set(file, module);
    module.catch(() => loading.delete(file));
  }
  return module;
}
const part = (files) => async (callback, data) => {
  let success = false;
  try {
    await Promise.all(files.map(load));
    success = true;
  } catch (error) {
    console.error(error);
  }
  shared().main.__indirect_function_table.get(callback)(data, success);
};
${[...filesOf].map(load).join('\n')}
`;
}

/** The files in a folder, and in the folders within it, in an order that is the same on all machines. */
function filesIn(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return entries.map((entry) => join(entry.parentPath, entry.name)).toSorted();
}

/** Identifies what goes into the site: its files, this script, and its tools. */
function inputs() {
  const digest = createHash('sha256').update(JSON.stringify(NAMES));
  for (const file of [process.argv[1], 'package-lock.json', wasm, ...['tools/split-wasm', 'style', 'public'].flatMap(filesIn)]) {
    digest.update(file).update(readFileSync(file));
  }
  return digest.digest('hex');
}

/** Hidden files are not served. It is written last: an interrupted run leaves none. */
const DONE = join(site, '.inputs');
const identity = inputs();
if (existsSync(DONE) && readFileSync(DONE, 'utf8') === identity) {
  console.log(`${site} is up to date`);
  process.exit();
}

rmSync(site, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
cpSync('public', site, { recursive: true });

function write(name, extension, bytes) {
  const file = `${name}.${hash(bytes)}.${extension}`;
  writeFileSync(join(target, file), bytes);
  return file;
}

let app, glue, filesOf;
const folder = mkdtempSync(join(tmpdir(), 'wirewise-site-'));
try {
  await run('split-wasm', [wasm, folder, 'wirewise', ...(KEEP_NAMES ? ['--keep-names'] : [])]);
  // The files of each part (a page, or a piece that is loaded later), as the splitter wrote them.
  const manifest = JSON.parse(readFileSync(join(folder, '__wasm_split_manifest.json')));
  const base = await baseModule(folder);
  const groups = grouped(folder, manifest);
  const main = join(folder, 'wirewise_bg.wasm');
  const [mainBytes, ...modules] = await each([main, ...groups], (one) => (one === main ? optimized(main) : merged(one, base, folder)));
  app = write('wirewise', 'wasm', mainBytes);
  glue = readFileSync(join(folder, 'wirewise.js'), 'utf8');
  filesOf = new Map(Object.keys(manifest).map((part) => [part, []]));
  for (const [index, group] of groups.entries()) {
    const file = write(nameOf(group), 'wasm', modules[index]);
    for (const part of group.parts) filesOf.get(part).push(file);
  }
} finally {
  rmSync(folder, { recursive: true });
}

const loads = write('__wasm_split', 'js', await minified(loader(filesOf)));
const js = write('wirewise', 'js', await minified(scriptOf(glue, loads)));
const css = write('wirewise', 'css', await style());
const withoutExtension = (file) => file.replace(/\.wasm$/, '');
const list = Object.fromEntries([...filesOf].map(([part, files]) => [part, files.map(withoutExtension)]));
const manifestFile = write('__wasm_split_manifest', 'json', Buffer.from(JSON.stringify(list)));
const hashIn = (file) => file.split('.').at(-2);
const kinds = { js, wasm: app, css, manifest: manifestFile, split: loads };
writeFileSync(join(site, 'hash.txt'), Object.entries(kinds).map(([kind, file]) => `${kind}: ${hashIn(file)}\n`).join(''));

const compressible = filesIn(site).filter((path) => !['.png', '.ico'].includes(extname(path)));
await each(compressible, async (path) => {
  const bytes = readFileSync(path);
  writeFileSync(`${path}.br`, await brotli(bytes));
  writeFileSync(`${path}.gz`, await promisify(gzip)(bytes, { level: 9 }));
});

const size = (file) => statSync(join(target, `${file}.br`)).size;
const shared = size(js) + size(app) + size(loads);
for (const [part, files] of filesOf) {
  const own = files.reduce((sum, file) => sum + size(file), 0);
  console.log(`${part}: ${files.length + 3} files, ${((shared + own) / 1024).toFixed(1)} KiB of JavaScript and wasm with brotli`);
}
writeFileSync(DONE, identity);
