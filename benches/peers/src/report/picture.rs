//! The picture of the README: what a delivery costs the server, as bars. It is readable on a light and on a dark page.

use super::summary::Summary;
use crate::{
    peer::Peer,
    workloads::{CHAT, EVENTS, TICKS},
};

const PANELS: [(&str, &str); 3] = [
    (EVENTS, "Event streams, single events"),
    (TICKS, "Event streams, ticks of 11 prices"),
    (CHAT, "Chat room of 300 members"),
];
const WIDTH: f64 = 760.0;
const NAMES: f64 = 190.0;
/// The space for the number behind the longest bar.
const NUMBERS: f64 = 70.0;
const LINE: f64 = 26.0;
const GAP: f64 = 16.0;
const STYLE: &str = "text { font: 14px system-ui, sans-serif; fill: #1f2328 } .head { font-weight: 600 } .other { fill: #8c959f } .raw { fill: #c8ccd1 } .ours { fill: #0969da } @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .other { fill: #7d8590 } .raw { fill: #484f58 } .ours { fill: #4493f8 } }";

pub fn draw(summary: &Summary, quick: bool) -> String {
    let mut body = String::new();
    let mut y = LINE;
    let run = if quick { "; a quick run" } else { "" };
    let title = format!("Server CPU time for one delivery, in microseconds (less is better{run})");
    body += &text("head", 0.0, y, &title);
    y += GAP;
    for (workload, title) in PANELS {
        let cost = |peer: Peer| Some((peer, summary.figure(workload, peer, "cpu_us")?));
        let bars: Vec<(Peer, f64)> = summary
            .peers(workload)
            .into_iter()
            .filter_map(cost)
            .collect();
        let longest = bars
            .iter()
            .map(|(_, cost)| *cost)
            .fold(f64::MIN_POSITIVE, f64::max);
        y += LINE;
        body += &text("head", 0.0, y, title);
        for (peer, cost) in bars {
            y += LINE;
            let class = match peer {
                Peer::Wirewise => "ours",
                Peer::RawTcp => "raw",
                _ => "other",
            };
            let length = (WIDTH - NAMES - NUMBERS) * cost / longest;
            body += &text("name", 0.0, y, &peer.name().replace('`', ""));
            body += &format!(
                "  <rect class=\"{class}\" x=\"{NAMES}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"16\" rx=\"2\"/>\n",
                y - 13.0
            );
            body += &text("number", NAMES + length + 8.0, y, &format!("{cost:.2}"));
        }
        y += GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" height=\"{y}\" role=\"img\">\n  <title>Server CPU time for one delivery, Wirewise beside its peers</title>\n  <style>{STYLE}</style>\n{body}</svg>\n"
    )
}

fn text(class: &str, x: f64, y: f64, text: &str) -> String {
    format!("  <text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>\n")
}
