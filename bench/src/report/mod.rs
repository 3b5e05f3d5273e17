//! The report: medians of the samples, ratios against the targets, as Markdown, chart and raw samples.
mod results;

pub use results::Results;

use crate::limit::Failure;
use std::path::Path;

pub fn write(results: &Results, _folder: Option<&Path>) -> Result<(), Failure> {
    results.print();
    Ok(())
}
