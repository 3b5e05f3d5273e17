//! Memory of a subscriber that only waits.
use super::Measure;
use super::scene::{Bench, Figures};
use crate::limit::Failure;
use crate::load::Subject;
use crate::peer::Settings;

/// So many connections, each subscribed to a channel of its own, or over TLS all to one: resident memory of the server for
/// each, in KiB.
#[derive(Debug, Clone, Copy)]
pub(super) struct Idle {
    pub subscribers: usize,
    pub tls: bool,
}

impl Measure for Idle {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings { tls: self.tls, ..Settings::default() })?;
        let count = bench.count(self.subscribers);
        let dialect = scene.dialect();
        let names: Vec<String> = (0..count).map(|n| dialect.name(&format!("user:{n:05}"))).collect();
        // The first ones make the server set up what it keeps anyway.
        let before = if self.tls {
            scene.tls_subscribers(10, &names[0])?;
            let before = scene.resident_bytes()?;
            scene.tls_subscribers(count, &names[0])?;
            before
        } else {
            scene.subscribers(10, |_| Subject::Channel("lobby"))?;
            let before = scene.resident_bytes()?;
            scene.subscribers(count, |index| Subject::Channel(&names[index]))?;
            before
        };
        let grown = scene.resident_bytes()?.saturating_sub(before);
        Ok(Figures::new(grown as f64 / count as f64 / 1024.0))
    }
}
