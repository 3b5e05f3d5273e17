//! Charts: one SVG a section, a panel a workload, a bar a peer.
//!
//! ```text
//!   fan-out, 64 B · ns/delivery            fan-out, 1 KiB · ns/delivery
//!   floor         ███ 41.0                 floor         ██ 104
//!   Sterna        ████ 46.2                Sterna        ███ 115
//!   Redis 8.2.3   █████████ 104            Redis 8.2.3   ██████████ 388
//! ```
//!
//! Bars are to scale within their panel. The colours are chosen by the reader's colour scheme, in the file itself.
use super::figure;
use super::results::{Column, Results};
use crate::peer::PeerId;
use crate::workload::{Section, Workload};
use std::fmt::Write as _;

/// A section's drawing.
#[derive(Debug)]
pub(super) struct Chart {
    pub section: Section,
    pub file: String,
    pub svg: String,
}

/// Charts of the sections in which at least two peers can be compared.
pub(super) fn all(results: &Results) -> Vec<Chart> {
    Section::ALL.into_iter().filter_map(|section| draw(results, section)).collect()
}

const PANEL_WIDTH: usize = 470;
const GAP: usize = 24;
const ROW: usize = 22;
const TITLE: usize = 34;
const LABEL: usize = 104;
/// Widest bar; what remains of the panel is for its figure.
const BAR: usize = PANEL_WIDTH - LABEL - 74;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}\
.title{font-weight:600;font-size:12px}\
.figure,.peer{fill:#59636e;font-variant-numeric:tabular-nums}\
.own{fill:#0969da}.floor{fill:#afb8c1}.other{fill:#818b98}\
text.own{font-weight:600}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.figure,.peer{fill:#9198a1}\
.own{fill:#4493f8}.floor{fill:#3d444d}.other{fill:#656c76}}";

fn draw(results: &Results, section: Section) -> Option<Chart> {
    let panels: Vec<Vec<(&Column, f64)>> =
        rows(results, section).map(|workload| bars(results, workload)).collect();
    let workloads: Vec<&Workload> = rows(results, section).collect();
    let shown: Vec<(&Workload, Vec<(&Column, f64)>)> =
        workloads.into_iter().zip(panels).filter(|(_, bars)| bars.len() >= 2).collect();
    if shown.is_empty() {
        return None;
    }
    let (mut body, mut top) = (String::new(), 0);
    for pair in shown.chunks(2) {
        for (side, (workload, bars)) in pair.iter().enumerate() {
            let title =
                format!("{} · {}", workload.title, workload.unit.label(results.cost)).replace('`', "");
            panel(&mut body, side * (PANEL_WIDTH + GAP), top, &title, bars);
        }
        let tallest = pair.iter().map(|(_, bars)| bars.len()).max().unwrap_or(0);
        top += TITLE + tallest * ROW + GAP;
    }
    let (width, height) = (2 * PANEL_WIDTH + GAP, top - GAP);
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"{}\">\n<style>{STYLE}</style>\n{body}</svg>\n",
        escaped(section.title())
    );
    Some(Chart { section, file: format!("{}.svg", section.file_stem()), svg })
}

fn rows(results: &Results, section: Section) -> impl Iterator<Item = &'static Workload> {
    results.workloads.iter().copied().filter(move |workload| workload.section == section)
}

fn bars<'a>(results: &'a Results, workload: &Workload) -> Vec<(&'a Column, f64)> {
    let columns = results.columns.iter();
    columns.filter_map(|column| Some((column, results.main(workload.name, column.id)?))).collect()
}

fn panel(out: &mut String, left: usize, top: usize, title: &str, bars: &[(&Column, f64)]) {
    let _ = writeln!(out, "<g transform=\"translate({left} {top})\">");
    let _ = writeln!(out, "<text class=\"title\" y=\"18\">{}</text>", escaped(title));
    let largest = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    for (row, (column, value)) in bars.iter().enumerate() {
        let (y, width) = (TITLE + row * ROW, (value / largest * BAR as f64).max(1.0));
        let class = match column.id {
            PeerId::Sterna => "own",
            PeerId::Floor => "floor",
            _ => "other",
        };
        let peer = if class == "own" { "own" } else { "peer" };
        let _ = writeln!(
            out,
            "<text class=\"{peer}\" x=\"0\" y=\"{}\">{}</text>\
             <rect class=\"{class}\" x=\"{LABEL}\" y=\"{y}\" width=\"{width:.1}\" height=\"16\" rx=\"2\"/>\
             <text class=\"figure\" x=\"{:.1}\" y=\"{}\">{}</text>",
            y + 13,
            escaped(&column.title),
            LABEL as f64 + width + 6.0,
            y + 13,
            figure(*value),
        );
    }
    let _ = writeln!(out, "</g>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
