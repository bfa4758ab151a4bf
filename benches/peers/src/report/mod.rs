//! The results: raw as JSON, as tables in the document, and as a picture.

mod picture;
mod summary;
mod tables;
mod versions;

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{options::Options, report::summary::Summary, workloads::Round};

const BEGIN: &str = "<!-- make bench: begin -->";
const END: &str = "<!-- make bench: end -->";

pub fn write(
    options: &Options,
    deliveries: f64,
    rounds: &[Round],
    elapsed: Duration,
) -> Result<()> {
    let summary = Summary::of(rounds);
    let versions = versions::all(options)?;
    fs::write(
        options.work.join("results.json"),
        format!("{:#}\n", raw(deliveries, rounds, &versions)),
    )?;
    if options.only.is_some() {
        return Ok(());
    }
    let document = fs::read_to_string(&options.results)
        .with_context(|| options.results.display().to_string())?;
    let text = tables::text(options, deliveries, &summary, &versions, elapsed);
    fs::write(&options.results, replaced(&document, &text)?)?;
    fs::write(&options.picture, picture::draw(&summary, options.quick))
        .with_context(|| options.picture.display().to_string())?;
    Ok(())
}

/// The document with another text between the two markers.
fn replaced(document: &str, text: &str) -> Result<String> {
    let parts = document
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = parts else {
        bail!("The document of results lacks the markers {BEGIN} and {END}.");
    };
    Ok(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}

/// All rounds as they were measured.
fn raw(deliveries: f64, rounds: &[Round], versions: &[(String, String)]) -> Value {
    let row = |row: &crate::workloads::Row| json!({"workload": row.workload, "peer": row.peer.name(), "figures": row.figures});
    let round = |round: &Round| json!({"calibration_us": round.calibration, "rows": round.rows.iter().map(row).collect::<Vec<_>>()});
    json!({
        "versions": versions.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "deliveries_per_second": deliveries,
        "rounds": rounds.iter().map(round).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let document = format!("# Results\n{BEGIN}\nold\n{END}\n## Instructions\n");
        let expected = format!("# Results\n{BEGIN}\n\nnew\n{END}\n## Instructions\n");
        assert_eq!(replaced(&document, "new").unwrap(), expected);
        assert_eq!(replaced(&expected, "new").unwrap(), expected);
        assert!(replaced("# Results", "new").is_err());
    }
}
