//! Joining and leaving: many channels on one connection, and many connections that come and go.
use super::Measure;
use super::scene::{Bench, Figures, Scene};
use crate::limit::Failure;
use crate::load::{ConnId, Group, Meter, Subject};
use crate::peer::Settings;
use std::time::Instant;

/// One connection joins `channels` channels and leaves them in the same order, a thousand at a time.
///
/// The figure is how much more the last thousand cost than the first, of joining or of leaving, whichever is worse: 1
/// where cost is linear.
#[derive(Debug, Clone, Copy)]
pub(super) struct ManyChannels {
    pub channels: usize,
}

/// Subscriptions whose cost is measured at once.
const THOUSAND: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Join,
    Leave,
}

impl Measure for ManyChannels {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        let id = scene.connect(Group::Subscriber)?;
        scene.quiet(&[id])?;
        let channels = bench.count(self.channels).next_multiple_of(THOUSAND);
        let joined = costs(&mut scene, id, channels, Step::Join)?;
        let left = costs(&mut scene, id, channels, Step::Leave)?;
        let growth = |costs: &[f64]| Some(costs.last()? / costs.first()?);
        let mean = |costs: &[f64]| costs.iter().sum::<f64>() / costs.len() as f64;
        let worst = growth(&joined).into_iter().chain(growth(&left)).fold(0.0, f64::max);
        Ok(Figures::new(worst).also("ns/join", mean(&joined)).also("ns/leave", mean(&left)))
    }
}

/// CPU of a step in nanoseconds, thousand by thousand.
fn costs(scene: &mut Scene, id: ConnId, channels: usize, step: Step) -> Result<Vec<f64>, Failure> {
    let dialect = scene.dialect();
    let mut costs = Vec::new();
    let mut request = Vec::new();
    for first in (0..channels).step_by(THOUSAND) {
        request.clear();
        for n in first..first + THOUSAND {
            let name = dialect.name(&format!("channel:{n:06}"));
            match step {
                Step::Join => dialect.subscribe(&mut request, Subject::Channel(&name), n + 1),
                Step::Leave => dialect.unsubscribe(&mut request, Subject::Channel(&name), n + 1),
            }
        }
        dialect.end_batch(&mut request);
        scene.swarm.measure(id, Meter::Lines);
        let cpu = scene.cpu()?;
        scene.swarm.send(id, &request)?;
        let (limit, lines) =
            (scene.batch_limit("a thousand channels"), dialect.subscribed_lines(THOUSAND as u64));
        scene.swarm.until(&limit, |swarm| swarm.seen(id) >= lines)?;
        costs.push(scene.cpu()?.since(&cpu) as f64 / THOUSAND as f64);
    }
    Ok(costs)
}

/// Connections that come, subscribe, and go, `at_once` at a time: CPU of one such life in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Churn {
    pub at_once: usize,
}

impl Measure for Churn {
    fn measure(&self, bench: &Bench<'_>) -> Result<Figures, Failure> {
        let mut scene = bench.start(&Settings::default())?;
        let lives = |scene: &mut Scene| {
            scene.subscribers(self.at_once, |_| Subject::Channel("lobby"))?;
            scene.swarm.clear();
            Ok::<(), Failure>(())
        };
        lives(&mut scene)?;
        let cpu = scene.cpu()?;
        let begun = Instant::now();
        let mut count = 0;
        while begun.elapsed() < bench.time() {
            lives(&mut scene)?;
            count += self.at_once;
        }
        let us = scene.cpu()?.since(&cpu) as f64 / count as f64 / 1000.0;
        Ok(Figures::new(us).also("lives/s", count as f64 / begun.elapsed().as_secs_f64()))
    }
}
