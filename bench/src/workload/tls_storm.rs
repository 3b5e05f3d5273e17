//! A storm of TLS clients: they were connected, all are cut off, and all come back at once with their tickets, while
//! a quiet client asks.
//!
//! Client and server each do their half of a handshake, so the load generator's core decides how fast clients come;
//! the server's share is its CPU for each of them, resumed and in full.
use super::Measure;
use super::pressure::{PEAK_MIB, Watch};
use super::scene::{Bench, Figures};
use crate::limit::Failure;
use crate::load::tls::Comer;
use crate::peer::Settings;

/// So many clients: the quiet client's 99th percentile while they come back, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storm {
    pub clients: usize,
}

/// Handshakes under way at the same time.
const AT_ONCE: usize = 500;

impl Measure for Storm {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings { threads: 2, tls: true, ..Settings::default() })?;
        let (address, files) = scene.server.tls.as_ref().ok_or(Failure::Inapplicable("no TLS"))?;
        let (address, certificate) = (*address, files.certificate_der.clone());
        let clients = bench.count(self.clients);
        let limit = scene.limit("the TLS clients");
        let comer = Comer::new(&certificate)?;
        let cpu = scene.cpu()?;
        comer.come(address, clients, AT_ONCE, &limit)?;
        let full_us = scene.cpu()?.since(&cpu) as f64 / clients as f64 / 1000.0;
        comer.show_tickets();

        let watch = Watch::start(&mut scene)?;
        let cpu = scene.cpu()?;
        let resumed = comer.come(address, clients, AT_ONCE, &limit)?;
        let resumed_us = scene.cpu()?.since(&cpu) as f64 / clients as f64 / 1000.0;
        let grown = watch.grown(&scene)?;
        let times = watch.quiet.stop()?;
        Ok(Figures::new(times.percentile_ms(0.99))
            .also("longest ms", times.longest_ms())
            .also("busy ms, longest", times.busiest_ms())
            .also("µs/full handshake", full_us)
            .also("µs/resumed", resumed_us)
            .also("resumed of 100", 100.0 * resumed as f64 / clients as f64)
            .also(PEAK_MIB, grown as f64 / f64::from(1 << 20)))
    }
}
