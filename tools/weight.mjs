// Prints what a first visit to each page downloads, and of what that consists: by file, by crate, by kind, and the twenty
// largest functions of each file. Reads a release of the browser's half whose functions still have names (`make weight`).
//
// Usage: node tools/weight.mjs SITE_ROOT DOCUMENT; the ledger takes the place of what follows `<!-- ledger -->` there.
//
// Bytes of brotli are those of a group's functions compressed by themselves, so groups add up to more than their file:
// what is alike in two groups is compressed once in the file.
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';

const brotli = (bytes) => brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 22 } }).length;

const CODE = 10;
const DATA = 11;
const IMPORT = 2;
const CUSTOM = 0;

/** Reads a wasm module from front to end (https://webassembly.github.io/spec/core/binary/). */
class Reader {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }

  byte() {
    return this.bytes[this.at++];
  }

  /** An unsigned number of variable length (LEB128). */
  number() {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = this.byte();
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  }

  take(length) {
    return this.bytes.subarray(this.at, (this.at += length));
  }

  text() {
    return this.take(this.number()).toString();
  }

  /** The limits of a memory or a table. */
  limits() {
    const flags = this.number();
    this.number();
    if (flags & 1) this.number();
  }
}

/** What a browser reads of a module. */
function withoutCustomSections(bytes) {
  const reader = new Reader(bytes, 8);
  const kept = [bytes.subarray(0, reader.at)];
  while (reader.at < bytes.length) {
    const begin = reader.at;
    const id = reader.byte();
    reader.take(reader.number());
    if (id !== CUSTOM) kept.push(bytes.subarray(begin, reader.at));
  }
  return Buffer.concat(kept);
}

/** How many functions an import section imports: they have the first indices. */
function importedFunctions(bytes) {
  const reader = new Reader(bytes);
  let functions = 0;
  for (let left = reader.number(); left > 0; left--) {
    reader.text();
    reader.text();
    const kind = reader.byte();
    if (kind === 0) {
      reader.number();
      functions++;
    } else if (kind === 1) {
      reader.byte();
      reader.limits();
    } else if (kind === 2) reader.limits();
    else if (kind === 3) reader.take(2);
    else if (kind === 4) {
      reader.byte();
      reader.number();
    } else throw new Error(`unknown kind of import: ${kind}`);
  }
  return functions;
}

/** The names of functions by index, of the custom section `name`. */
function functionNames(bytes) {
  const reader = new Reader(bytes);
  const names = new Map();
  while (reader.at < bytes.length) {
    const id = reader.byte();
    const end = reader.number() + reader.at;
    if (id === 1) for (let left = reader.number(); left > 0; left--) names.set(reader.number(), reader.text());
    reader.at = end;
  }
  return names;
}

/** The functions of a module with their names and bytes, and its static data. */
function readModule(bytes) {
  const reader = new Reader(bytes, 8);
  const sections = [];
  while (reader.at < bytes.length) sections.push([reader.byte(), reader.take(reader.number())]);
  let imported = 0;
  let names = new Map();
  let data = Buffer.alloc(0);
  const bodies = [];
  for (const [id, section] of sections) {
    if (id === IMPORT) imported = importedFunctions(section);
    else if (id === DATA) data = section;
    else if (id === CODE) {
      const code = new Reader(section);
      for (let left = code.number(); left > 0; left--) bodies.push(code.take(code.number()));
    } else if (id === CUSTOM) {
      const custom = new Reader(section);
      if (custom.text() === 'name') names = functionNames(section.subarray(custom.at));
    }
  }
  if (bodies.length > 0 && names.size === 0) throw new Error('The functions have no names: build with `make weight`.');
  const functions = bodies.map((body, index) => ({ name: demangle(names.get(imported + index) ?? '?'), body }));
  return { functions, data, whole: bytes.length };
}

const ESCAPES = { LT: '<', GT: '>', u20: ' ', RF: '&', u7b: '{', u7d: '}', C: ',', LP: '(', RP: ')', u5b: '[', u5d: ']', BP: '*', u27: "'", u2b: '+', u22: '"', u3d: '=', u3b: ';' };

/** The path in a mangled name of the standard library, which is built with mangling v0: its crate and the identifiers behind. */
function demangleV0(name) {
  const start = name.search(/Cs[0-9A-Za-z]*_\d/);
  let rest = start < 0 ? '' : name.slice(start).replace(/^Cs[0-9A-Za-z]*_/, '');
  const parts = [];
  for (let match; (match = /^\D*?(\d+)_?/.exec(rest)) && parts.length < 6; ) {
    const from = match[0].length;
    parts.push(rest.slice(from, from + Number(match[1])));
    rest = rest.slice(from + Number(match[1]));
    // A generic argument or another path begins.
    if (!/^\d/.test(rest)) break;
  }
  return parts.length > 0 ? parts.join('::') : name;
}

/** The path in a mangled name of Rust (`_ZN` and then each part with its length), without the hash at its end. */
function demangle(name) {
  if (name.startsWith('_R')) return demangleV0(name);
  let rest = /^_ZN(.*)E(\..*)?$/.exec(name)?.[1];
  if (!rest) return name;
  const parts = [];
  for (let match; (match = /^(\d+)/.exec(rest)); ) {
    const length = Number(match[1]);
    parts.push(rest.slice(match[1].length, match[1].length + length));
    rest = rest.slice(match[1].length + length);
  }
  if (/^h[0-9a-f]{16}$/.test(parts.at(-1))) parts.pop();
  return parts
    .map((part) => part.replace(/^_(?=\$)/, '').replace(/\$(\w+)\$/g, (whole, escape) => ESCAPES[escape] ?? whole).replaceAll('..', '::'))
    .join('::');
}

const STANDARD = /^(core|alloc|std)$/;
const first = (path) => /[a-z_][a-z0-9_]*/i.exec(path)?.[0] ?? '?';

/** The path by which a function is counted: for a method of a type of the standard library, the trait's. */
function home(name) {
  if (!name.startsWith('<')) return name;
  let depth = 0;
  let end = 0;
  for (; end < name.length; end++) {
    if (name[end] === '<') depth++;
    if (name[end] === '>' && name[end - 1] !== '-' && --depth === 0) break;
  }
  const [type, trait] = name.slice(1, end).split(/ as (?!.* as )/);
  const path = STANDARD.test(first(type)) || !first(type).includes('_') ? (trait ?? type) : type;
  return path.replace(/^[^a-z]+/i, '') + name.slice(end + 1);
}

const KINDS = [
  ['our own', /^wirewise/],
  ['the kit', /^realtime/],
  ['views', /^(tachys|leptos|leptos_dom|leptos_meta|either_of|oco_ref|next_tuple|const_str_slice_concat)$/],
  ['router', /^(leptos_router|url|percent_encoding)$/],
  ['reactive graph', /^(reactive_graph|any_spawner|hydration_context|throw_error|or_poisoned|reactive_stores|slotmap|indexmap|guardian)$/],
  ['serde', /^(serde|serde_core|serde_json|serde_qs|itoa|ryu|zmij|base64|server_fn)$/],
  ['shared text (yrs)', /^(yrs|smallvec|dashmap|arc_swap)$/],
  ['bindings of the browser', /^(js_sys|web_sys|wasm_bindgen\w*|gloo_\w+|send_wrapper|wasm_streams|wasm_split\w*|__wbg\w*|__externref\w*|__wbindgen\w*)$/],
  ['futures', /^(futures\w*|async_\w+|pin_project\w*|event_listener\w*)$/],
];

/** The crate and the kind of a function. */
function classify(name) {
  const path = home(name);
  const crate = first(path);
  if (crate === 'core' || crate === 'alloc' || crate === 'std') {
    if (/ptr::drop_in_place|ptr::drop_glue/.test(path)) return { crate, kind: 'drop glue' };
    if (/^core::ops::function|^alloc::boxed/.test(path)) return { crate, kind: 'closures' };
    if (/fmt|::num::|panick|unicode|str::/.test(path)) return { crate, kind: 'formatting, numbers and strings' };
    return { crate, kind: 'standard library' };
  }
  return { crate, kind: KINDS.find(([, pattern]) => pattern.test(crate))?.[0] ?? 'other crates' };
}

const number = (bytes) => bytes.toLocaleString('en-US');

/** A table of groups of functions, largest first. */
function table(title, groups) {
  const rows = [...groups].map(([name, bodies]) => [name, bodies.reduce((sum, body) => sum + body.length, 0), brotli(Buffer.concat(bodies))]);
  rows.sort((one, other) => other[1] - one[1]);
  const shown = rows.filter(([, raw]) => raw > 0).slice(0, 14);
  return [`| ${title} | raw | brotli |`, '|---|---:|---:|', ...shown.map(([name, raw, packed]) => `| ${name} | ${number(raw)} | ${number(packed)} |`), ''].join('\n');
}

function group(functions, key) {
  const groups = new Map();
  for (const { name, body } of functions) {
    const of = classify(name)[key];
    if (!groups.has(of)) groups.set(of, []);
    groups.get(of).push(body);
  }
  return groups;
}

const folder = join(process.argv[2], 'pkg');
const files = readdirSync(folder);
const modules = new Map(files.filter((file) => file.endsWith('.wasm')).map((file) => [file, readModule(readFileSync(join(folder, file)))]));
const scripts = files.filter((file) => file.endsWith('.js'));
const manifest = JSON.parse(readFileSync(join(folder, files.find((file) => file.startsWith('__wasm_split_manifest') && file.endsWith('.json')))));
const main = files.find((file) => /^wirewise.*\.wasm$/.test(file));

/** The size of a file as it is served: without the names. */
const size = (file) => {
  const bytes = withoutCustomSections(readFileSync(join(folder, file)));
  return { raw: bytes.length, packed: brotli(bytes) };
};
const sizes = new Map([...modules.keys()].map((file) => [file, size(file)]));
const users = new Map();
for (const [page, chunks] of Object.entries(manifest)) {
  for (const chunk of chunks) users.set(`${chunk}.wasm`, [...(users.get(`${chunk}.wasm`) ?? []), page.replace('_page', '')]);
}

const lines = [];
const print = (line) => lines.push(line);
const version = (program, ...args) => execFileSync(program, args).toString().trim();
const [, splitter] = /^version = "(.*)"$/m.exec(readFileSync('tools/split-wasm/Cargo.toml', 'utf8'));
const versions = [version('rustc', '--version'), `split-wasm ${splitter}`, version('wasm-opt', '--version')];
print(`Written by \`make weight\` on ${new Date().toISOString().slice(0, 10)}, with ${versions.join(', ')}. Bytes.\n`);
print('### Pages\n');
print('| Page | files | raw | brotli | of that its own |');
print('|---|---:|---:|---:|---:|');
const shared = { raw: sizes.get(main).raw, packed: sizes.get(main).packed };
for (const script of scripts) {
  const bytes = readFileSync(join(folder, script));
  shared.raw += bytes.length;
  shared.packed += brotli(bytes);
}
print(`| (shared by all) | ${scripts.length + 1} | ${number(shared.raw)} | ${number(shared.packed)} | |`);
for (const [page, chunks] of Object.entries(manifest)) {
  const own = chunks.map((chunk) => sizes.get(`${chunk}.wasm`));
  const raw = own.reduce((sum, { raw }) => sum + raw, 0);
  const packed = own.reduce((sum, { packed }) => sum + packed, 0);
  print(`| ${page.replace('_page', '')} | ${chunks.length + scripts.length + 1} | ${number(raw + shared.raw)} | ${number(packed + shared.packed)} | ${number(packed)} |`);
}
print('\n### Kinds of code in each page\n');
for (const [page, chunks] of Object.entries(manifest)) {
  const parts = [main, ...chunks.map((chunk) => `${chunk}.wasm`)].map((file) => modules.get(file));
  const groups = group(parts.flatMap(({ functions }) => functions), 'kind');
  groups.set('static data', parts.map(({ data }) => data));
  print(table(page.replace('_page', ''), groups));
}
print('### Files\n');
for (const [file, { functions, data }] of [...modules].sort(([one], [other]) => sizes.get(other).raw - sizes.get(one).raw)) {
  const { raw, packed } = sizes.get(file);
  if (raw < 4096) continue;
  const of = file === main ? 'every page' : (users.get(file) ?? []).join(', ');
  print(`#### ${file.replace(/\.[\w-]{22}(?=\.)/, '')}: ${number(raw)} bytes, brotli ${number(packed)}, in ${of}\n`);
  print(`Static data: ${number(data.length)} bytes, brotli ${number(brotli(data))}.\n`);
  print(table('crate', group(functions, 'crate')));
  const largest = [...functions].sort((one, other) => other.body.length - one.body.length).slice(0, 20);
  print(['| the twenty largest functions | raw |', '|---|---:|', ...largest.map(({ name, body }) => `| \`${name.replaceAll('|', '\\|').slice(0, 150)}\` | ${number(body.length)} |`), ''].join('\n'));
}

const MARK = '<!-- ledger -->\n';
const [text] = readFileSync(process.argv[3], 'utf8').split(MARK);
writeFileSync(process.argv[3], `${text}${MARK}\n${lines.join('\n')}`);
console.log(lines.slice(0, 14).join('\n'));
