//! What befalls the nodes of a story and their log, and the end of it.

use super::{Disk, Event, MS, NODES, SECOND, Story, times};
use crate::log::Replica;

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Pause,
    CutOff,
    Kill,
    Wipe,
    OldDisk,
    WallClock,
    FailOver,
    Damage,
    Forget,
}

impl Story {
    pub(super) fn fault(&mut self, fault: Fault) {
        let node = self.rng.usize(..NODES);
        let until = self.now + self.rng.u64(100 * MS..8 * SECOND);
        match fault {
            Fault::Pause => self.nodes[node].paused_until = until,
            Fault::CutOff => {
                self.nodes[node].cut_until = until;
                // Whoever was without a network had no time from it either.
                self.nodes[node].wall_offset += self.rng.i64(-8 * SECOND as i64..8 * SECOND as i64);
            }
            Fault::Kill | Fault::Wipe | Fault::OldDisk => {
                self.kill(node);
                match fault {
                    Fault::Wipe => self.nodes[node].disk = Disk::default(),
                    Fault::OldDisk => self.nodes[node].disk = self.nodes[node].old_disk.clone(),
                    _ => {}
                }
                self.at(until, Event::Start { node });
            }
            Fault::WallClock => {
                for node in &mut self.nodes {
                    node.wall_offset += self.rng.i64(-8 * SECOND as i64..8 * SECOND as i64);
                }
            }
            Fault::FailOver => {
                let down = self.rng.u64(500 * MS..6 * SECOND);
                self.stream.fail_over(down, self.now, &mut self.rng);
            }
            Fault::Damage => self.stream.damage(&mut self.rng),
            Fault::Forget => {
                self.has_forgotten = true;
                self.stream.forget(&mut self.rng);
            }
        }
    }

    pub(super) fn kill(&mut self, node: usize) {
        self.void(node);
        self.nodes[node].replica = None;
        self.nodes[node].life += 1;
    }

    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].replica.is_some() {
            return;
        }
        let (writer, now) = (self.rng.u64(..), self.clock(&self.nodes[node], self.now));
        self.nodes[node].life += 1;
        self.nodes[node].writer = writer;
        self.nodes[node].tick_at = u64::MAX;
        self.nodes[node].paused_until = 0;
        self.nodes[node].live = self.nodes[node].disk.state.registers;
        let replica = Replica::new(writer, "node", times(), self.nodes[node].disk.position, now);
        self.nodes[node].replica = Some(replica);
        self.with(node, self.nodes[node].life, |replica, now| replica.tick(now));
    }

    pub(super) fn mended(&mut self) {
        self.is_over = true;
        self.stream.recover(self.now);
        for node in 0..NODES {
            self.nodes[node].paused_until = 0;
            self.nodes[node].cut_until = 0;
            self.start(node);
        }
    }
}
