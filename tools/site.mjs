// Turns the browser's half, as cargo-leptos built it, into the site that is served:
//
// - The splitter writes a file for each set of pages that share some code, dozens of them, most below a kilobyte. Here they
//   are merged until another file would cost more than it saves.
// - Each file is named after its content (`NAME.HASH.EXTENSION`), so that a browser downloads again only what has changed.
//   cargo-leptos names its files before it has finished writing them.
// - Each file is made smaller by wasm-opt, after the merge, and compressed with brotli and gzip.
//
// Usage: node tools/pack.mjs UNPACKED SITE. SITE is written anew.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';

const [unpacked, site] = process.argv.slice(2);
const source = join(unpacked, 'pkg');
const target = join(site, 'pkg');
const run = promisify(execFile);
const FEATURES = ['--enable-bulk-memory', '--enable-nontrapping-float-to-int', '--enable-mutable-globals', '--enable-sign-ext', '--enable-reference-types', '--enable-multivalue'];
/** With `KEEP_NAMES` the functions keep their names, for `tools/weight.mjs`. */
const NAMES = process.env.KEEP_NAMES ? ['-g'] : [];

/** Runs a tool of binaryen and returns what it prints. */
const binaryen = async (tool, ...args) => (await run(tool, [...args, ...FEATURES, ...(tool === 'wasm-dis' ? [] : NAMES)], { maxBuffer: 1 << 28 })).stdout;

/** What a request costs besides its bytes, in bytes: its headers, and its share of a round trip. */
const REQUEST = 1536;

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

/** The files of each part (a page, or a piece that is loaded later), as the splitter wrote them. */
const manifest = JSON.parse(readFileSync(join(source, '__wasm_split_manifest.json')));
const parts = Object.keys(manifest);

/** Merges files that are loaded by nearly the same parts, as long as that makes the sum over all parts smaller. */
function grouped() {
  const users = new Map();
  for (const part of parts) for (const file of manifest[part]) users.set(file, (users.get(file) ?? new Set()).add(part));
  const groups = [...users].map(([file, parts]) => ({ files: [file], parts, bytes: statSync(join(source, `${file}.wasm`)).size / PACKED }));
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
  const inputs = files.flatMap((file, index) => [join(source, `${file}.wasm`), `part${index}`]);
  const output = join(folder, `${files[0]}.wasm`);
  await binaryen('wasm-merge', base, '__wasm_split', ...inputs, '-o', output, '--skip-export-conflicts');
  // The files reach each other through the table, so none of them needs an export.
  await binaryen('wasm-metadce', output, '-f', join(folder, 'graph.json'), '-o', output);
  return optimized(output);
}

/** The smallest module that does the same, without two sections that no browser reads. */
async function optimized(file) {
  await binaryen('wasm-opt', file, '-o', file, '-Oz', '--strip-producers', '--strip-target-features');
  return readFileSync(file);
}

/** A module that imports from `main` what the split files import from `__wasm_split`, and exports it. */
async function baseModule(folder) {
  const needed = (file) => WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(join(source, file))));
  const split = readdirSync(source).filter((file) => /^(chunk|split)_.*\.wasm$/.test(file));
  const imports = new Map();
  for (const file of split.toSorted((one, other) => statSync(join(source, one)).size - statSync(join(source, other)).size)) {
    const missing = needed(file).filter(({ name }) => !imports.has(name));
    if (missing.length === 0) continue;
    const text = await binaryen('wasm-dis', join(source, file));
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
  return `let begin,imports;
export const started=(init)=>{begin=init};
const shared=()=>imports??={main:begin()};
const loading=new Map;
function load(file){
let module=loading.get(file);
if(!module){
module=WebAssembly.instantiateStreaming(fetch(new URL(file,import.meta.url)),shared());
loading.set(file,module);
module.catch(()=>loading.delete(file));
}
return module;
}
const part=(files)=>async(callback,data)=>{
let success=false;
try{
await Promise.all(files.map(load));
success=true;
}catch(error){
console.error(error);
}
shared().main.__indirect_function_table.get(callback)(data,success);
};
${[...filesOf].map(load).join('\n')}
`;
}

/** Identifies what goes into the site: its files, this script, and the tool. */
function inputs() {
  const digest = createHash('sha256').update(JSON.stringify(NAMES)).update(readFileSync(process.argv[1]));
  digest.update(readFileSync('package-lock.json'));
  for (const entry of readdirSync(unpacked, { recursive: true, withFileTypes: true }).toSorted((one, other) => (join(one.parentPath, one.name) < join(other.parentPath, other.name) ? -1 : 1))) {
    if (entry.isFile()) digest.update(entry.name).update(readFileSync(join(entry.parentPath, entry.name)));
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
cpSync(unpacked, site, { recursive: true, filter: (path) => !path.startsWith(source) });

function write(name, extension, bytes) {
  const file = `${name}.${hash(bytes)}.${extension}`;
  writeFileSync(join(target, file), bytes);
  return file;
}

const folder = mkdtempSync(join(tmpdir(), 'wirewise-pack-'));
const filesOf = new Map(parts.map((part) => [part, []]));
let wasm;
try {
  const base = await baseModule(folder);
  const groups = grouped();
  const main = join(folder, 'main.wasm');
  cpSync(join(source, 'wirewise.wasm'), main);
  const [mainBytes, ...modules] = await each([main, ...groups], (one) => (one === main ? optimized(main) : merged(one, base, folder)));
  wasm = write('wirewise', 'wasm', mainBytes);
  for (const [index, group] of groups.entries()) {
    const file = write(nameOf(group), 'wasm', modules[index]);
    for (const part of group.parts) filesOf.get(part).push(file);
  }
} finally {
  rmSync(folder, { recursive: true });
}

const split = write('__wasm_split', 'js', Buffer.from(loader(filesOf)));
// Only where it is imported: the wasm knows the loader by the name that cargo-leptos left open.
const splitName = /(?<=\bfrom\s*")\.\/__wasm_split\._+\.js(?=")/g;
let main = readFileSync(join(source, 'wirewise.js'), 'utf8');
if (!splitName.test(main)) throw new Error('wirewise.js does not import the loader of split files');
// The loader reads the exports of the main module from `initSync`, which a running program answers with them.
const init = /export\s*\{[^}]*?(\w+) as initSync/.exec(main)?.[1];
if (!init) throw new Error('wirewise.js does not export initSync');
main = `${main.replaceAll(splitName, `./${split}`)}\nimport{started}from"./${split}";started(${init});\n`;
const js = write('wirewise', 'js', Buffer.from(main));
const css = write('wirewise', 'css', readFileSync(join(source, 'wirewise.css')));
const withoutExtension = (file) => file.replace(/\.wasm$/, '');
const list = Object.fromEntries([...filesOf].map(([part, files]) => [part, files.map(withoutExtension)]));
const manifestFile = write('__wasm_split_manifest', 'json', Buffer.from(JSON.stringify(list)));
const hashIn = (file) => file.split('.').at(-2);
const kinds = { js, wasm, css, manifest: manifestFile, split };
writeFileSync(join(site, 'hash.txt'), Object.entries(kinds).map(([kind, file]) => `${kind}: ${hashIn(file)}\n`).join(''));

const compressible = readdirSync(site, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && !['.png', '.ico'].includes(extname(entry.name)));
await each(compressible, async ({ parentPath, name }) => {
  const path = join(parentPath, name);
  const bytes = readFileSync(path);
  writeFileSync(`${path}.br`, await brotli(bytes));
  writeFileSync(`${path}.gz`, await promisify(gzip)(bytes, { level: 9 }));
});

const size = (file) => statSync(join(target, `${file}.br`)).size;
const shared = size(js) + size(wasm) + size(split);
for (const [part, files] of filesOf) {
  const own = files.reduce((sum, file) => sum + size(file), 0);
  console.log(`${part}: ${files.length + 3} files, ${((shared + own) / 1024).toFixed(1)} KiB of JavaScript and wasm with brotli`);
}
writeFileSync(DONE, identity);
