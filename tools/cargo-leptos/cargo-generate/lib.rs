//! What cargo-leptos uses of cargo-generate, without the ability to generate a project.

use std::path::PathBuf;

/// Where a template lies.
#[derive(Default)]
pub struct TemplatePath {
    pub git: Option<String>,
    pub branch: Option<String>,
    pub tag: Option<String>,
    pub path: Option<String>,
}

/// What to generate.
#[derive(Default)]
pub struct GenerateArgs {
    pub template_path: TemplatePath,
    pub name: Option<String>,
    pub force: bool,
    pub verbose: bool,
    pub init: bool,
}

/// Refuses.
///
/// # Errors
///
/// Always.
pub fn generate(_: GenerateArgs) -> anyhow::Result<PathBuf> {
    anyhow::bail!(
        "This build of cargo-leptos makes no new projects. Install the original with: cargo install cargo-leptos"
    )
}
