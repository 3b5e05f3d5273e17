//! `sterna cluster`'s questions, each asked once and with an end: is NATS as it must be, is there a log, and is it whole.
//!
//! They run on the caller's thread. Every server of `cluster-url` is asked by itself, because a client that knows all of them would
//! go on with one that is well.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, Event};
use serde_json::Value;
use sterna_server::KeyGroup;

use crate::connection::{ClusterError, Settings, check_server};
use crate::log::audit::{self, Finding, Grade, ServerFacts, Survey};
use crate::log::snapshots::kept;
use crate::log::{Fault, Port, PortError, StreamState};
use crate::pubsub::roll;

/// How long one server may take to be reached and to answer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// What a monitoring port may answer.
const MONITOR_BYTES_MAX: u64 = 1 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CheckupError {
    /// What the directives say makes no sense.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Nobody was reached.
    #[error("no NATS server of cluster-url can be reached{0}")]
    Unreachable(String),
    /// It was made for others.
    #[error("there is a log already, made for {made} group(s) of keys, and cluster-groups is {configured}")]
    Groups {
        /// As it was made.
        made: u16,
        /// As it is configured.
        configured: u16,
    },
    /// The log did not answer as it should.
    #[error("{0}")]
    Port(#[from] PortError),
    /// No thread, no descriptors.
    #[error("cannot begin: {0}")]
    Io(#[from] std::io::Error),
}

/// What `sterna cluster status` shows.
#[derive(Debug)]
pub struct Status {
    /// The stream's name.
    pub stream: String,
    /// What JetStream says of it.
    pub state: StreamState,
    /// What its frames say.
    pub survey: Result<Survey, Fault>,
    /// As of which slots there are snapshots of it, the newest first, or why that is not known; `None` without `cluster-snapshots`.
    pub snapshots: Option<Result<Vec<u64>, String>>,
}

/// A node, as `sterna cluster status` shows it.
#[derive(Debug)]
pub struct Node {
    /// What it calls itself.
    pub name: String,
    /// The groups of keys that it leads.
    pub leads: Vec<usize>,
    /// Buckets of channels that are listened to there.
    pub buckets: u32,
    /// The slot up to which its journal has each log, and how many slots that lacks; `None`: it has said nothing of that.
    pub held: Vec<Option<(u64, u64)>>,
}

/// Makes the log, or one for each group of keys; those that are there are left alone. Errors: all are, or they can't be made.
pub fn init(settings: &Settings, replicas: u64) -> Result<StreamState, CheckupError> {
    block_on(async {
        let client = connect(settings).await?;
        let (mut made, mut there) = (None, None);
        for group in KeyGroup::all(settings.groups) {
            match Port::new(client.clone(), &settings.name, group).create(replicas).await {
                Ok(state) => made = Some(state),
                Err(PortError::Exists(state)) if state.groups != settings.groups => {
                    return Err(CheckupError::Groups { made: state.groups, configured: settings.groups });
                }
                Err(PortError::Exists(state)) => there = Some(state),
                Err(error) => return Err(error.into()),
            }
        }
        match (made, there) {
            (Some(state), _) => Ok(state),
            (None, Some(state)) => Err(PortError::Exists(state).into()),
            (None, None) => Err(PortError::Missing.into()),
        }
    })
}

/// The logs of the cluster, as many as the first says that there are.
async fn ports(client: &Client, name: &str) -> Result<Vec<Port>, PortError> {
    let first = Port::new(client.clone(), name, KeyGroup::WHOLE).state().await?;
    Ok(KeyGroup::all(first.groups.max(1)).map(|group| Port::new(client.clone(), name, group)).collect())
}

/// Where each log stands.
pub fn status(settings: &Settings) -> Result<Vec<Status>, CheckupError> {
    let mut all = block_on(async {
        let client = connect(settings).await?;
        let mut all = Vec::new();
        for port in ports(&client, &settings.name).await? {
            let state = port.state().await?;
            let survey = audit::survey(&port, &state).await?;
            all.push(Status { stream: port.stream().to_owned(), state, survey, snapshots: None });
        }
        Ok(all)
    })?;
    for (group, status) in KeyGroup::all(all.len() as u16).zip(&mut all) {
        status.snapshots = snapshots_of(settings, group, &status.state);
    }
    Ok(all)
}

/// The nodes that are there, and what each has of these logs.
pub fn nodes(settings: &Settings, logs: &[Status]) -> Result<Vec<Node>, CheckupError> {
    let members = block_on(async {
        let client = connect(settings).await?;
        Ok(roll::call(&client, &settings.name, logs.len()).await)
    })?;
    let node = |member: roll::Member| {
        let of_log = |(held, log): (Option<u64>, &Status)| {
            held.map(|slot| (slot, log.state.last.saturating_sub(slot)))
        };
        let leads = |(_, log): &(usize, &Status)| {
            log.survey.as_ref().is_ok_and(|survey| survey.position.writer == member.writer)
        };
        Node {
            leads: logs.iter().enumerate().filter(leads).map(|(group, _)| group).collect(),
            held: member.held.iter().copied().zip(logs).map(of_log).collect(),
            name: member.name,
            buckets: member.buckets,
        }
    };
    Ok(members.into_iter().map(node).collect())
}

/// As of which slots there are snapshots of a log; `None` without `cluster-snapshots`. Not within a runtime.
fn snapshots_of(
    settings: &Settings,
    group: KeyGroup,
    state: &StreamState,
) -> Option<Result<Vec<u64>, String>> {
    let place = settings.snapshots.clone()?.of_group(group);
    Some(kept(place, state.incarnation?).map_err(|error| error.to_string()))
}

/// What is to be said of the snapshots of each log. What else is wrong with these is said elsewhere.
fn of_snapshots(settings: &Settings) -> Vec<Finding> {
    if settings.snapshots.is_none() {
        return Vec::new();
    }
    let states = block_on(async {
        let client = connect(settings).await?;
        let mut states = Vec::new();
        for port in ports(&client, &settings.name).await? {
            states.push((port.stream().to_owned(), port.state().await?));
        }
        Ok(states)
    });
    let states = states.unwrap_or_default();
    let mut findings = Vec::new();
    for (group, (stream, state)) in KeyGroup::all(states.len() as u16).zip(&states) {
        let mut finding = match snapshots_of(settings, group, state) {
            Some(Ok(kept)) => audit::of_snapshots(state.first, &kept),
            Some(Err(error)) => {
                let remedy = "see cluster-snapshots, and what it needs in the environment";
                Finding { grade: Grade::Bad, what: format!("snapshots can't be read: {error}"), remedy }
            }
            None => continue,
        };
        if group != KeyGroup::WHOLE {
            finding.what = format!("{stream}: {}", finding.what);
        }
        findings.push(finding);
    }
    findings
}

/// Everything that can be checked, the worst last. `monitors`: monitoring ports of servers, as HOST:PORT.
pub fn doctor(settings: &Settings, monitors: &[String]) -> Result<Vec<Finding>, CheckupError> {
    let mut findings = block_on(async {
        let told: Vec<Told> = monitors.iter().filter_map(|address| ask_monitor(address)).collect();
        let mut findings = Vec::new();
        for server in &settings.servers {
            let address = format!("{}:{}", server.host(), server.port());
            findings.extend(audit::of_server(&facts_of(&settings.alone(server), address, &told).await));
        }
        match connect(settings).await {
            Ok(client) => findings.extend(of_logs(&client, settings).await),
            Err(CheckupError::Unreachable(_)) => {}
            Err(error) => return Err(error),
        }
        Ok(findings)
    })?;
    findings.extend(of_snapshots(settings));
    findings.sort_by_key(|finding| finding.grade);
    Ok(findings)
}

async fn facts_of(settings: &Settings, name: String, told: &[Told]) -> ServerFacts {
    let client = match connect(settings).await {
        Ok(client) => client,
        Err(CheckupError::Unreachable(why)) => {
            return ServerFacts {
                name,
                trouble: Some(format!("not reached{why}")),
                ..ServerFacts::default()
            };
        }
        Err(error) => {
            return ServerFacts { name, trouble: Some(error.to_string()), ..ServerFacts::default() };
        }
    };
    let info = client.server_info();
    let told = told.iter().find(|told| told.server == info.server_id);
    ServerFacts {
        name: format!("{} ({name})", info.server_name),
        trouble: check_server(&info).err().map(|error| error.to_string()),
        version: info.version.clone(),
        has_jetstream: info.jetstream,
        payload_bytes_max: info.max_payload,
        syncs_always: told.map(|told| told.syncs_always),
        room: told.map(|told| told.room),
    }
}

async fn of_logs(client: &Client, settings: &Settings) -> Vec<Finding> {
    let is_bad = |what: String, remedy| vec![Finding { grade: Grade::Bad, what, remedy }];
    let ports = match ports(client, &settings.name).await {
        Ok(ports) => ports,
        Err(error @ (PortError::Missing | PortError::Absent)) if settings.has_keys => {
            return is_bad(format!("{error}, and the configuration has cluster-keys yes"), MAKE_LOG);
        }
        Err(PortError::Missing) => {
            let what = "there is no log; keys are each node's own".to_owned();
            return vec![Finding { grade: Grade::Good, what, remedy: "" }];
        }
        Err(error @ PortError::Absent) => {
            let remedy = "Pub/Sub works without; a log needs it on most of the servers";
            return vec![Finding { grade: Grade::Doubtful, what: error.to_string(), remedy }];
        }
        Err(error) => return is_bad(error.to_string(), SEE_SERVERS),
    };
    let mut findings = Vec::new();
    let (made, configured) = (ports.len(), usize::from(settings.groups));
    if configured > 1 && made != configured {
        let what =
            format!("the log was made for {made} group(s) of keys, and cluster-groups is {configured}");
        findings.extend(is_bad(what, "configure all nodes as it was made: that never changes for a cluster"));
    }
    for port in &ports {
        let mut of_log = of_log(port, made as u16).await;
        if made > 1 {
            of_log
                .iter_mut()
                .for_each(|finding| finding.what = format!("{}: {}", port.stream(), finding.what));
        }
        findings.extend(of_log);
    }
    findings
}

const SEE_SERVERS: &str = "see the log of the NATS servers";

const MAKE_LOG: &str = "see that the servers have JetStream, and run `sterna cluster init`, once";

async fn of_log(port: &Port, groups: u16) -> Vec<Finding> {
    let is_bad = |what: String, remedy| vec![Finding { grade: Grade::Bad, what, remedy }];
    let state = match port.state().await {
        Ok(state) if state.groups != groups => {
            let what =
                format!("it was made for {} group(s) of keys, and the first for {groups}", state.groups);
            return is_bad(what, "make the logs of one cluster by one `sterna cluster init`");
        }
        Ok(state) => state,
        Err(PortError::Missing) => {
            return is_bad("there is no log".to_owned(), "run `sterna cluster init` again");
        }
        Err(error) => return is_bad(error.to_string(), SEE_SERVERS),
    };
    let mut findings = audit::of_stream(&state);
    match audit::survey(port, &state).await {
        Ok(Ok(survey)) => {
            let what = format!("{} frames continue each other, {} slots count for nobody", survey.position.number, survey.skipped);
            findings.push(Finding { grade: Grade::Good, what, remedy: "" });
        }
        Ok(Err(fault)) => findings.extend(is_bad(
            fault.to_string(),
            "find the server whose copy is damaged (its log names the file), stop it, remove its store_dir, and start it",
        )),
        Err(error) => findings.extend(is_bad(error.to_string(), SEE_SERVERS)),
    }
    findings
}

/// A client that has reached a server.
async fn connect(settings: &Settings) -> Result<Client, CheckupError> {
    let trouble = Arc::new(Mutex::new(String::new()));
    let note = {
        let trouble = Arc::clone(&trouble);
        move |event: Event| {
            if let (Event::ClientError(_) | Event::ServerError(_), Ok(mut trouble)) = (&event, trouble.lock())
            {
                *trouble = format!(": {event}");
            }
        }
    };
    let client = settings.connect(note).await?;
    match tokio::time::timeout(CONNECT_TIME_MAX, client.flush()).await {
        Ok(Ok(())) => Ok(client),
        _ => {
            let why = trouble.lock().map(|trouble| trouble.clone()).unwrap_or_default();
            Err(CheckupError::Unreachable(why))
        }
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, CheckupError>>) -> Result<T, CheckupError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// What a monitoring port tells of its server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    /// Its id.
    server: String,
    /// It syncs each write.
    syncs_always: bool,
    /// What it has stored, and how much that may be.
    room: (u64, u64),
}

/// Asks a monitoring port. None: it tells nothing of JetStream.
fn ask_monitor(address: &str) -> Option<Told> {
    let address = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
    let target = address.to_socket_addrs().ok()?.next()?;
    let mut socket = TcpStream::connect_timeout(&target, CONNECT_TIME_MAX).ok()?;
    socket.set_read_timeout(Some(CONNECT_TIME_MAX)).ok()?;
    let request = format!("GET /jsz HTTP/1.0\r\nHost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    socket.take(MONITOR_BYTES_MAX).read_to_end(&mut answer).ok()?;
    parse_monitor(&answer)
}

fn parse_monitor(answer: &[u8]) -> Option<Told> {
    let body = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let said: Value = serde_json::from_slice(&answer[body + 4..]).ok()?;
    let syncs_always = said["config"]["sync_always"].as_bool().unwrap_or(false);
    let most = said["config"]["max_storage"].as_u64().filter(|most| *most > 0).unwrap_or(u64::MAX);
    let room = (said["storage"].as_u64().unwrap_or(0), most);
    // Without JetStream there is no configuration of it to judge.
    said["config"]["store_dir"].as_str()?;
    Some(Told { server: said["server_id"].as_str()?.to_owned(), syncs_always, room })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitoring_port_says_whether_a_server_syncs_and_has_room() {
        let answer = |body: &str| parse_monitor(format!("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{body}").as_bytes());
        let told = |syncs_always, room| Some(Told { server: "N".to_owned(), syncs_always, room });
        let always =
            r#"{"server_id":"N","storage":5,"config":{"store_dir":"/d","sync_always":true,"max_storage":9}}"#;
        assert_eq!(answer(always), told(true, (5, 9)));
        let seldom = r#"{"server_id":"N","config":{"store_dir":"/d","sync_interval":120000000000}}"#;
        assert_eq!(answer(seldom), told(false, (0, u64::MAX)));
        for other in ["{}", "", "[1]", r#"{"server_id":"N","disabled":true}"#] {
            assert_eq!(answer(other), None, "{other}");
        }
        assert_eq!(parse_monitor(b"HTTP/1.0 200 OK"), None);
    }
}
