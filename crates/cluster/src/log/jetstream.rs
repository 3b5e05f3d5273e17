//! The log as JetStream serves it: requests of its API, answered in the protocol's terms.
//!
//! ```text
//!   stream    STERNA-NAME-0         three replicas, files, nothing ever dropped by itself
//!   subject   sterna.NAME.log.0     the only one in it; only nodes may publish there
//! ```
//!
//! With several groups of keys each has a stream, and its number is in the place of 0; their metadata say how many there are.
//!
//! The requests are made by hand, not through the client's JetStream context: what counts is which answer came for which slot, and a
//! batch of `DIRECT.GET` is not in there. Nothing is made that was not asked for: a log that is missing is an error everywhere but in
//! [`Port::create`].

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Request, RequestErrorKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sterna_server::KeyGroup;

use super::{Appended, Frame, Read, Source};

/// How long an answer may take. Elections among NATS servers take longer; whoever asks then asks again.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

/// What one batch brings, at most.
const BATCH_SLOTS: u64 = 256;
const BATCH_BYTES: u64 = 8 << 20;

/// A message of the largest frame, and what is around it.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;

const WRONG_LAST_SEQUENCE: u64 = 10071;
const NO_MESSAGE: u64 = 10037;
const NO_STREAM: u64 = 10059;

/// Where a log's incarnation stands in its stream's metadata.
const INCARNATION: &str = "sterna-incarnation";

/// How many groups of keys there are, if more than one: in the same place.
const GROUPS: &str = "sterna-groups";

/// The log of a cluster, or of one of its groups of keys.
#[derive(Debug, Clone)]
pub struct Port {
    groups: u16,
    client: Client,
    stream: String,
    subject: String,
}

/// Why the log can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// It was never made, or is gone.
    #[error("there is no log")]
    Missing,
    /// It is there.
    #[error("there is a log already, with {} frames, made {}", .0.messages, .0.created)]
    Exists(Box<StreamState>),
    /// Nobody is there to ask.
    #[error("JetStream is off, or has no leader")]
    Absent,
    /// No answer.
    #[error("JetStream does not answer: too few servers, or this user may not ask")]
    Silent,
    /// JetStream's own words.
    #[error("JetStream: {0}")]
    Api(String),
    /// An answer that is none.
    #[error("JetStream's answer can't be read")]
    Unreadable,
    /// The first frame could not be written.
    #[error("the log's first frame could not be written; run it again")]
    NoGenesis,
}

/// What JetStream says of the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamState {
    /// When it was made, in JetStream's notation.
    pub created: String,
    /// The first slot that is not trimmed.
    pub first: u64,
    /// The last slot.
    pub last: u64,
    /// How many there are.
    pub messages: u64,
    /// How many are missing between.
    pub deleted: u64,
    /// What they take.
    pub bytes: u64,
    /// How many replicas it is to have.
    pub replicas: u64,
    /// Which server leads it.
    pub leader: Option<String>,
    /// The others.
    pub followers: Vec<Follower>,
    /// Which log it is.
    pub incarnation: Option<u128>,
    /// How many groups of keys there are, each with a log; 0: that can't be read.
    pub groups: u16,
    /// What its configuration has that a log's must not.
    pub odd: Vec<String>,
}

/// A replica that does not lead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Follower {
    /// The server's name.
    pub name: String,
    /// What the leader believes of it.
    pub is_current: bool,
    /// It is away.
    pub is_offline: bool,
    /// Slots that it lacks.
    pub lag: u64,
}

impl Port {
    /// The log of a group of keys of the cluster `name`.
    pub fn new(client: Client, name: &str, KeyGroup { index, count }: KeyGroup) -> Port {
        let (stream, subject) = (format!("STERNA-{name}-{index}"), format!("sterna.{name}.log.{index}"));
        Port { groups: count, client, stream, subject }
    }

    /// The stream's name.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Makes the log, with its first frame. One that was begun and has no frame yet is completed.
    pub async fn create(&self, replicas: u64) -> Result<StreamState, PortError> {
        let state = match self.state().await {
            Ok(state) if state.last > 0 => return Err(PortError::Exists(Box::new(state))),
            Ok(state) => state,
            Err(PortError::Missing) => {
                let config = self.settings(replicas, fastrand::u128(1..));
                let answer = self.api(&format!("STREAM.CREATE.{}", self.stream), &config).await?;
                stream_state(&answer, &self.subject)
            }
            Err(error) => return Err(error),
        };
        let incarnation = state.incarnation.ok_or(PortError::NoGenesis)?;
        let genesis = Bytes::from(Frame::genesis(incarnation).encode());
        // Without an answer it may be there all the same, which the state says.
        self.append(0, genesis).await;
        let state = self.state().await?;
        if state.last == 0 { Err(PortError::NoGenesis) } else { Ok(state) }
    }

    fn settings(&self, replicas: u64, incarnation: u128) -> Value {
        json!({
            "name": self.stream,
            "description": "Sterna's replicated log",
            "subjects": [self.subject],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": replicas,
            "max_msg_size": MESSAGE_BYTES_MAX,
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "deny_delete": true,
            "allow_direct": true,
            "metadata": match self.groups {
                1 => json!({ INCARNATION: format!("{incarnation:032x}") }),
                groups => json!({ INCARNATION: format!("{incarnation:032x}"), GROUPS: groups.to_string() }),
            },
        })
    }

    /// What JetStream says of it.
    pub async fn state(&self) -> Result<StreamState, PortError> {
        let answer = self.api(&format!("STREAM.INFO.{}", self.stream), &json!({})).await?;
        Ok(stream_state(&answer, &self.subject))
    }

    /// Appends if the log ends with slot `expected`. Not to be called again before it has answered. The other value: what JetStream has
    /// against it, if not that the log ends elsewhere.
    pub async fn append(&self, expected: u64, frame: Bytes) -> (Appended, Option<String>) {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Sequence", expected.to_string());
        let request = Request::new().payload(frame).headers(headers).timeout(Some(ANSWER_TIME_MAX));
        let answer = match self.client.send_request(self.subject.clone(), request).await {
            Ok(answer) => answer,
            Err(_) => return (Appended::Unknown, None),
        };
        let Ok(answer) = serde_json::from_slice::<Value>(&answer.payload) else {
            return (Appended::Unknown, None);
        };
        match (answer["error"]["err_code"].as_u64(), answer["seq"].as_u64()) {
            (Some(WRONG_LAST_SEQUENCE), _) => (Appended::Refused, None),
            (None, Some(slot)) if answer["stream"] == self.stream.as_str() => (Appended::Stored(slot), None),
            _ => (Appended::Unknown, answer["error"]["description"].as_str().map(str::to_owned)),
        }
    }

    /// Removes the slots below this one.
    pub async fn trim(&self, below: u64) -> Result<(), PortError> {
        self.api(&format!("STREAM.PURGE.{}", self.stream), &json!({ "seq": below })).await.map(|_| ())
    }

    /// Reads, as the protocol asks for it.
    pub async fn read(&self, from: u64, source: Source) -> Read {
        let read = match source {
            Source::Any => self.batch(from).await,
            Source::Leader => self.slot(from).await,
        };
        read.unwrap_or(Read::Failed)
    }

    /// Slots from `from` on, from any replica.
    async fn batch(&self, from: u64) -> Result<Read, PortError> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|_| PortError::Silent)?;
        let wish = json!({ "seq": from, "batch": BATCH_SLOTS, "max_bytes": BATCH_BYTES }).to_string();
        let subject = format!("$JS.API.DIRECT.GET.{}", self.stream);
        self.client.publish_with_reply(subject, inbox, wish.into()).await.map_err(|_| PortError::Silent)?;
        let mut slots = Vec::new();
        loop {
            let answer = tokio::time::timeout(ANSWER_TIME_MAX, answers.next()).await;
            let Ok(Some(answer)) = answer else { return Err(PortError::Silent) };
            match answer.status {
                None => slots.push((sequence_of(&answer).ok_or(PortError::Unreadable)?, answer.payload)),
                // The end of the batch, or no such slot and none behind it.
                Some(status) if matches!(status.as_u16(), 204 | 404) => return Ok(Read::Slots(slots)),
                Some(_) => return Err(PortError::Silent),
            }
        }
    }

    /// One slot, from the stream's leader.
    async fn slot(&self, slot: u64) -> Result<Read, PortError> {
        let wish = json!({ "seq": slot });
        match self.api(&format!("STREAM.MSG.GET.{}", self.stream), &wish).await {
            Ok(answer) => {
                let data = answer["message"]["data"].as_str().unwrap_or_default();
                let bytes = STANDARD.decode(data).map_err(|_| PortError::Unreadable)?;
                Ok(Read::Slots(vec![(slot, bytes.into())]))
            }
            Err(PortError::Missing) => {
                let state = self.state().await?;
                Ok(Read::Missing { first: state.first, last: state.last })
            }
            Err(error) => Err(error),
        }
    }

    /// A request of JetStream's API. What is not there is `Missing`.
    async fn api(&self, call: &str, wish: &Value) -> Result<Value, PortError> {
        let request = Request::new().payload(wish.to_string().into()).timeout(Some(ANSWER_TIME_MAX));
        let answer = self.client.send_request(format!("$JS.API.{call}"), request).await;
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => PortError::Absent,
            _ => PortError::Silent,
        })?;
        let answer: Value = serde_json::from_slice(&answer.payload).map_err(|_| PortError::Unreadable)?;
        match answer["error"]["err_code"].as_u64() {
            None if answer["error"].is_null() => Ok(answer),
            Some(NO_MESSAGE | NO_STREAM) => Err(PortError::Missing),
            _ => Err(PortError::Api(answer["error"]["description"].as_str().unwrap_or("refused").to_owned())),
        }
    }
}

fn sequence_of(answer: &Message) -> Option<u64> {
    answer.headers.as_ref()?.get("Nats-Sequence")?.as_str().parse().ok()
}

fn stream_state(answer: &Value, subject: &str) -> StreamState {
    let (state, config, cluster) = (&answer["state"], &answer["config"], &answer["cluster"]);
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let follower = |value: &Value| Follower {
        name: text(&value["name"]).unwrap_or_default(),
        is_current: value["current"].as_bool().unwrap_or(false),
        is_offline: value["offline"].as_bool().unwrap_or(false),
        lag: number(&value["lag"]),
    };
    let incarnation = config["metadata"][INCARNATION].as_str();
    let groups = config["metadata"][GROUPS].as_str().map_or(Some(1), |text| text.parse().ok());
    StreamState {
        created: text(&answer["created"]).unwrap_or_default(),
        first: number(&state["first_seq"]),
        last: number(&state["last_seq"]),
        messages: number(&state["messages"]),
        deleted: number(&state["num_deleted"]),
        bytes: number(&state["bytes"]),
        replicas: number(&config["num_replicas"]),
        leader: text(&cluster["leader"]),
        followers: cluster["replicas"].as_array().into_iter().flatten().map(follower).collect(),
        incarnation: incarnation.and_then(|text| u128::from_str_radix(text, 16).ok()),
        groups: groups.unwrap_or(0),
        odd: odd_settings(config, subject),
    }
}

/// What somebody has changed, or made otherwise.
fn odd_settings(config: &Value, subject: &str) -> Vec<String> {
    let rows = [
        ("subjects", json!([subject])),
        ("retention", json!("limits")),
        ("storage", json!("file")),
        ("discard", json!("new")),
        ("max_msgs", json!(-1)),
        ("max_bytes", json!(-1)),
        ("max_age", json!(0)),
        ("max_msg_size", json!(MESSAGE_BYTES_MAX)),
        ("deny_delete", json!(true)),
        ("allow_direct", json!(true)),
    ];
    let odd = rows.iter().filter(|(name, expected)| config[*name] != *expected);
    odd.map(|(name, expected)| format!("{name} is {}, and must be {expected}", config[*name])).collect()
}
