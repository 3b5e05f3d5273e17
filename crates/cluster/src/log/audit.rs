//! What is to be said of the servers and streams below the log: facts in, findings out.
//!
//! JetStream's own word for its health is not asked for: a replica that had lost a third of its messages called itself current. What
//! is checked is what can be seen from outside: numbers that must agree, settings that must be so, and every frame of the log.

use std::time::Duration;

use bytes::Bytes;

use super::jetstream::{Port, PortError, StreamState};
use super::{Contradiction, Fault, Frame, Kind, Position, Read, Source, Verdict};

/// Reads that may fail in a row.
const TRIES: u32 = 5;
/// What a node reads in a minute or two.
const LARGE_BYTES: u64 = 10 << 30;
/// Between them.
const PAUSE: Duration = Duration::from_millis(200);

/// One server of NATS, as it was met.
#[derive(Debug, Clone, Default)]
pub struct ServerFacts {
    /// Its address, or what it calls itself.
    pub name: String,
    /// Why it could not be reached, or is refused.
    pub trouble: Option<String>,
    /// The version that it says it is.
    pub version: String,
    /// JetStream is on.
    pub has_jetstream: bool,
    /// The largest message that it takes.
    pub payload_bytes_max: usize,
    /// Whether it syncs each write before it acknowledges; `None`: nobody could be asked.
    pub syncs_always: Option<bool>,
    /// What its JetStream has stored, and how much that may be; `None`: nobody could be asked.
    pub room: Option<(u64, u64)>,
}

/// Something that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub grade: Grade,
    /// What was found.
    pub what: String,
    /// What to do about it; empty where nothing is.
    pub remedy: &'static str,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it must be.
    Good,
    /// Not known, or not as it should be.
    Doubtful,
    /// Acknowledged writes are at risk, or nothing works.
    Bad,
}

fn good(what: String) -> Finding {
    Finding { grade: Grade::Good, what, remedy: "" }
}

fn doubtful(what: String, remedy: &'static str) -> Finding {
    Finding { grade: Grade::Doubtful, what, remedy }
}

fn bad(what: String, remedy: &'static str) -> Finding {
    Finding { grade: Grade::Bad, what, remedy }
}

/// What is to be said of a server.
pub fn of_server(server: &ServerFacts) -> Vec<Finding> {
    let name = &server.name;
    if let Some(trouble) = &server.trouble {
        return vec![bad(format!("{name}: {trouble}"), SEE_WHY)];
    }
    let mut findings = vec![good(format!("{name}: version {}", server.version))];
    if !server.has_jetstream {
        let what = format!("{name}: JetStream is off");
        findings.push(doubtful(
            what,
            "Pub/Sub works without; for the log, add jetstream { store_dir: … } to its configuration",
        ));
        return findings;
    }
    findings.push(match server.syncs_always {
        Some(true) => good(format!("{name}: syncs each write")),
        Some(false) => bad(
            format!(
                "{name}: acknowledges writes that are not synced; a power loss of several servers loses them"
            ),
            "set sync_interval: always in its jetstream { }, and restart it",
        ),
        None => doubtful(
            format!("{name}: whether it syncs each write is not known"),
            "name its monitoring port: --monitor HOST:8222, with http: 8222 in its configuration",
        ),
    });
    if server.payload_bytes_max < 1 << 20 {
        let what = format!("{name}: takes messages of {} bytes at most", server.payload_bytes_max);
        findings.push(bad(what, "set max_payload: 1MB in its configuration"));
    }
    if let Some((stored, most)) = server.room
        && stored > most - most / 10
    {
        let what = format!(
            "{name}: its JetStream holds {stored} of the {most} bytes that it may: without room writes wait"
        );
        findings
            .push(bad(what, "raise max_file_store there, lower cluster-log-size, or remove other streams"));
    }
    findings
}

/// About a server that is not there for us.
const SEE_WHY: &str = "start it, or take it out of cluster-url; one that refuses us asks for another cluster-user and cluster-password, \
                       cluster-credentials-file, or cluster-tls-ca-cert-file and certificate";

/// What is to be said of snapshots, as of these slots, the newest first, of a log that begins with slot `first`.
pub fn of_snapshots(first: u64, kept: &[u64]) -> Finding {
    match kept {
        [newest, ..] if newest + 1 >= first => {
            good(format!("{} snapshot(s), the newest as of slot {newest}", kept.len()))
        }
        [] if first <= 1 => good("no snapshot yet, and nothing is removed from the log".to_owned()),
        _ => bad(
            format!("the log begins with slot {first}, and no snapshot goes so far: a new node can't begin"),
            "look into the log of the node that leads, and put a backup of it in the place of a new node's directory",
        ),
    }
}

/// What is to be said of the stream's settings and numbers.
pub fn of_stream(state: &StreamState) -> Vec<Finding> {
    let mut findings = Vec::new();
    for odd in &state.odd {
        findings.push(bad(format!("the log's stream: {odd}"), "set it with `nats stream edit`"));
    }
    let replicas = match state.replicas {
        0..=2 => doubtful(
            format!("the log has {} replica(s): it does not survive the loss of a server", state.replicas),
            "with three servers: nats stream edit --replicas 3",
        ),
        count => good(format!("the log has {count} replicas")),
    };
    findings.push(replicas);
    if state.replicas > 1 && state.leader.is_none() {
        findings.push(bad(
            "no server leads the log".to_owned(),
            "start the servers that are away: a majority must be there",
        ));
    }
    for follower in &state.followers {
        let name = &follower.name;
        if follower.is_offline {
            findings.push(bad(format!("{name}: its replica of the log is away"), "start the server"));
        } else if !follower.is_current {
            let what = format!("{name}: its replica of the log lacks {} frames", follower.lag);
            findings.push(doubtful(
                what,
                "wait; if it stays so, stop the server, remove its store_dir, and start it",
            ));
        }
    }
    let expected = (state.last + 1).saturating_sub(state.first);
    if state.messages != expected || state.deleted > 0 {
        let what =
            format!("the log has {} frames between slots {} and {}", state.messages, state.first, state.last);
        findings.push(bad(
            what,
            "stop the server that leads the log, remove its store_dir, and start it; then run this again",
        ));
    } else {
        findings.push(good(format!("slots {} to {} are there", state.first, state.last)));
    }
    if state.bytes > LARGE_BYTES {
        let what = format!("the log takes {} bytes, and a new node reads all of it", state.bytes);
        findings.push(doubtful(what, "see cluster-log-size; two nodes must be there for it to be trimmed"));
    }
    findings
}

/// Who led last, as far as the frames tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Where the log stands.
    pub position: Position,
    /// Slots that count for nobody.
    pub skipped: u64,
    /// Records of effects.
    pub records: u64,
    /// Who claimed the term in force; empty: nobody, or before what is there.
    pub leader: String,
}

/// Reads every frame of the log and follows the chain. Errors: what a node would stop at, or JetStream's.
pub async fn survey(port: &Port, state: &StreamState) -> Result<Result<Survey, Fault>, PortError> {
    let mut survey = Survey::default();
    let mut tries = 0;
    while survey.position.read_to < state.last {
        let next = survey.position.read_to + 1;
        // A trimmed log begins in its middle; the first frame that is there is believed.
        let from = next.max(state.first);
        // Where a copy looks wrong, the stream's leader is asked.
        let source = if tries % 2 == 0 { Source::Any } else { Source::Leader };
        let fault = match port.read(from, source).await {
            Read::Slots(slots) => match survey.take(slots, state.first) {
                Ok(true) => {
                    tries = 0;
                    continue;
                }
                Ok(false) => Fault::Hole(from),
                Err(fault) => fault,
            },
            Read::Missing { .. } => Fault::Hole(from),
            Read::Failed if tries >= TRIES => return Err(PortError::Silent),
            Read::Failed => Fault::Hole(from),
        };
        tries += 1;
        if tries > TRIES {
            return Ok(Err(fault));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Ok(survey))
}

impl Survey {
    /// Takes what continues. False: nothing did.
    fn take(&mut self, slots: Vec<(u64, Bytes)>, first: u64) -> Result<bool, Fault> {
        let before = self.position.read_to;
        for (slot, bytes) in slots {
            if self.position.number == 0 && slot == first && first > 1 {
                let frame = Frame::decode(&bytes).map_err(|error| Fault::Frame(slot, error))?;
                self.position = Position::just_before(&frame, slot);
            }
            if slot <= self.position.read_to {
                continue;
            }
            if slot != self.position.read_to + 1 {
                break;
            }
            match self.position.advance(&bytes) {
                Ok(Verdict::Skip) => self.skipped += 1,
                Ok(Verdict::Accept(frame)) => self.count(&frame),
                Err(Contradiction::Differs) => return Err(Fault::Differs(slot)),
                Err(Contradiction::Frame(error)) => return Err(Fault::Frame(slot, error)),
            }
        }
        Ok(self.position.read_to > before)
    }

    fn count(&mut self, frame: &Frame<'_>) {
        match frame.kind {
            Kind::Genesis => {}
            Kind::Claim { name } => self.leader = String::from_utf8_lossy(name).into_owned(),
            Kind::Effects(records) => self.records += records.count() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Follower;
    use super::*;

    fn grades(findings: &[Finding]) -> Vec<Grade> {
        findings.iter().map(|finding| finding.grade).collect()
    }

    #[test]
    fn a_new_node_can_begin_where_nothing_was_removed_or_a_snapshot_goes_as_far_as_the_log_begins() {
        for (first, kept, expected) in [
            (1, &[][..], Grade::Good),
            (0, &[], Grade::Good),
            (1, &[40, 20], Grade::Good),
            (41, &[40, 20], Grade::Good),
            (42, &[40, 20], Grade::Bad),
            (2, &[], Grade::Bad),
        ] {
            assert_eq!(of_snapshots(first, kept).grade, expected, "{first} {kept:?}");
        }
    }

    #[test]
    fn a_server_is_judged_by_what_it_runs_with() {
        use Grade::{Bad, Doubtful, Good};
        let sound = ServerFacts {
            name: "a".to_owned(),
            version: "2.15.1".to_owned(),
            has_jetstream: true,
            payload_bytes_max: 1 << 20,
            syncs_always: Some(true),
            trouble: None,
            room: Some((89, 100)),
        };
        let rows: [(ServerFacts, &[Grade]); 7] = [
            (ServerFacts { room: Some((91, 100)), ..sound.clone() }, &[Good, Good, Bad]),
            (sound.clone(), &[Good, Good]),
            (ServerFacts { syncs_always: Some(false), ..sound.clone() }, &[Good, Bad]),
            (ServerFacts { syncs_always: None, ..sound.clone() }, &[Good, Doubtful]),
            (ServerFacts { has_jetstream: false, ..sound.clone() }, &[Good, Doubtful]),
            (ServerFacts { payload_bytes_max: 65536, ..sound.clone() }, &[Good, Good, Bad]),
            (ServerFacts { trouble: Some("refused".to_owned()), ..sound }, &[Bad]),
        ];
        for (server, expected) in rows {
            assert_eq!(grades(&of_server(&server)), expected, "{server:?}");
        }
    }

    #[test]
    fn a_stream_is_judged_by_numbers_that_must_agree() {
        use Grade::{Bad, Doubtful, Good};
        let follower =
            |name: &str| Follower { name: name.to_owned(), is_current: true, ..Follower::default() };
        let sound = StreamState {
            first: 5,
            last: 10,
            messages: 6,
            replicas: 3,
            leader: Some("a".to_owned()),
            followers: vec![follower("b"), follower("c")],
            ..StreamState::default()
        };
        let away = Follower { is_offline: true, ..follower("b") };
        let behind = Follower { is_current: false, lag: 7, ..follower("b") };
        let rows: [(StreamState, &[Grade]); 8] = [
            (sound.clone(), &[Good, Good]),
            (StreamState { messages: 5, ..sound.clone() }, &[Good, Bad]),
            (StreamState { deleted: 1, ..sound.clone() }, &[Good, Bad]),
            (StreamState { bytes: 20 << 30, ..sound.clone() }, &[Good, Good, Doubtful]),
            (StreamState { replicas: 1, ..sound.clone() }, &[Doubtful, Good]),
            (StreamState { leader: None, ..sound.clone() }, &[Good, Bad, Good]),
            (StreamState { followers: vec![away, behind], ..sound.clone() }, &[Good, Bad, Doubtful, Good]),
            (StreamState { odd: vec!["max_age is 1".to_owned()], ..sound }, &[Bad, Good, Good]),
        ];
        for (state, expected) in rows {
            assert_eq!(grades(&of_stream(&state)), expected, "{state:?}");
        }
    }
}
