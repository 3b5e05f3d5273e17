//! The report: medians of the samples, ratios against the targets; as Markdown, as charts, and the samples themselves.
mod chart;
mod markdown;
mod results;
mod verdict;

pub(crate) use results::Results;

use crate::limit::Failure;
use std::fs;
use std::path::{Path, PathBuf};

/// Prints the report, or writes it with its charts and samples into `folder`, which is made if need be.
pub(crate) fn write(results: &Results, folder: Option<&Path>) -> Result<(), Failure> {
    let Some(folder) = folder else {
        println!("{}", markdown::page(results, &[]));
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(|source| Failure::Report { path: folder.to_owned(), source })?;
    let put = |name: &str, text: &str| {
        let path: PathBuf = folder.join(name);
        fs::write(&path, text).map_err(|source| Failure::Report { path, source })
    };
    let charts = chart::all(results);
    for chart in &charts {
        put(&chart.file, &chart.svg)?;
    }
    put("samples.csv", &results.csv())?;
    put("README.md", &markdown::page(results, &charts))
}

/// Three digits that matter, thousands apart: `0.52`, `41.3`, `263 773`.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (position, digit) in whole.chars().enumerate() {
        let left = whole.len() - position;
        if position > 0 && left % 3 == 0 && digit.is_ascii_digit() && grouped != "-" {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_that_matter() {
        let cases =
            [(0.5234, "0.52"), (41.26, "41.3"), (999.6, "1\u{202f}000"), (263773.4, "263\u{202f}773")];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
    }
}
