//! Letters in one case. In the browser its own tables of Unicode are used: those of the standard library are 20 KB, which
//! pages would download.

use js_sys::JsString;

/// The text in lower case, to compare and to sort by it.
pub fn lower_case(text: &str) -> String {
    match cfg!(target_arch = "wasm32") {
        true => JsString::from(text).to_lower_case().into(),
        false => text.to_lowercase(),
    }
}
