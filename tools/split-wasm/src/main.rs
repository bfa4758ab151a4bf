//! Usage: `split-wasm WASM FOLDER NAME [--keep-names]`. Writes `NAME.js`, `NAME_bg.wasm`, a file for each set of lazy pages
//! that share code, and `__wasm_split_manifest.json`, which names the files of each page. The wasm has to be linked with
//! `--emit-relocs`.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    path::Path,
};

use anyhow::{Context, Result, anyhow, bail};
use wasm_bindgen_cli_support::Bindgen;
use wasm_split_cli_support::Options;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [wasm, folder, name] => make(wasm.as_ref(), folder.as_ref(), name, false)?,
        [wasm, folder, name, "--keep-names"] => make(wasm.as_ref(), folder.as_ref(), name, true)?,
        _ => bail!("Usage: split-wasm WASM FOLDER NAME [--keep-names]"),
    }
    Ok(())
}

fn make(wasm: &Path, folder: &Path, name: &str, keep_names: bool) -> Result<()> {
    let input = fs::read(wasm).with_context(|| format!("{} cannot be read", wasm.display()))?;
    fs::create_dir_all(folder)?;
    // What is left of it after the lazy pages are taken out; wasm-bindgen writes it again, under its own name.
    let main = folder.join("unbound.wasm");
    let script = format!("./{name}.js");
    let mut options = Options::new(&input);
    options.output_dir = folder;
    options.main_out_path = &main;
    options.main_module = &script;
    let split = wasm_split_cli_support::transform(options).map_err(|error| anyhow!("{error:#}"))?;
    // Sorted, so that the same wasm gives the same site.
    let files: BTreeMap<_, _> = split.prefetch_map.into_iter().collect();
    let manifest = serde_json::to_string_pretty(&files)?;
    fs::write(folder.join("__wasm_split_manifest.json"), manifest)?;

    // The split files reach the functions of the main one by the names that the linker gave them.
    let mut output = Bindgen::new()
        .input_path(&main)
        .out_name(name)
        .web(true)?
        .typescript(false)
        .keep_lld_exports(true)
        .demangle(false)
        .keep_debug(keep_names)
        .remove_name_section(!keep_names)
        .generate_output()?;
    let shorter = shorten(output.wasm_mut());
    output.emit(folder)?;
    let script = folder.join(format!("{name}.js"));
    fs::write(&script, renamed(&fs::read_to_string(&script)?, &shorter))?;
    fs::remove_file(main)?;
    Ok(())
}

/// Gives short names to what the wasm and its script exchange, and returns them by the long ones. A long name ends with a hash,
/// which takes as many bytes compressed as it has; there are some four hundred, each in both files.
fn shorten(module: &mut walrus::Module) -> HashMap<String, String> {
    let imports = module.imports.iter_mut().map(|import| &mut import.name);
    let exports = module.exports.iter_mut().map(|export| &mut export.name);
    let long = imports.chain(exports).filter(|name| has_hash(name));
    let numbered = long.enumerate().map(|(number, name)| {
        let short = format!("_{number}");
        (std::mem::replace(name, short.clone()), short)
    });
    numbered.collect()
}

/// `..._0123456789abcdef` is a name of wasm-bindgen, `...17h0123456789abcdefE` one of the linker, also with a number behind it.
fn has_hash(name: &str) -> bool {
    let is_hash =
        |hash: &str| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bindgen = name.rsplit_once('_').is_some_and(|(_, hash)| is_hash(hash));
    let linker = name.rsplit_once("17h").and_then(|(_, hash)| hash.get(..16));
    bindgen || linker.is_some_and(is_hash)
}

/// The script with these identifiers replaced.
fn renamed(script: &str, names: &HashMap<String, String>) -> String {
    let ends =
        |character: char| !(character.is_ascii_alphanumeric() || matches!(character, '_' | '$'));
    let pieces = script.split_inclusive(ends).map(|piece| {
        let word = piece.trim_end_matches(ends);
        let short = names.get(word).map_or(word, String::as_str);
        format!("{short}{}", &piece[word.len()..])
    });
    pieces.collect()
}
