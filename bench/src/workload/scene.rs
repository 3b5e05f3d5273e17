//! A scene: a server just started, the connections of the workload, and the clock between them.
use crate::limit::{Failure, Interrupt, Limit};
use crate::load::tls::{self, RecordMeter};
use crate::load::{ConnId, Dialect, Group, Meter, Subject, Swarm, command};
use crate::machine::{Cores, Cost, Spent, resident_bytes};
use crate::peer::{Found, Server, Settings};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes of an answer that is read as a whole: INFO, or a list.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What one measurement found: the figure in the workload's unit, and others worth a line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures {
    pub main: f64,
    pub also: Vec<(&'static str, f64)>,
}

impl Figures {
    pub(crate) fn new(main: f64) -> Self {
        Self { main, also: Vec::new() }
    }

    pub(crate) fn also(mut self, name: &'static str, value: f64) -> Self {
        self.also.push((name, value));
        self
    }
}

/// Full size, or a thousandth of it to show that everything runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Full,
    Quick,
}

/// Who is measured, and how thoroughly.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub found: &'a Found,
    pub cores: &'a Cores,
    pub interrupt: &'a Interrupt,
    pub scale: Scale,
    /// What is counted of the server's work.
    pub cost: Cost,
    /// Where the profile of the timed part is kept.
    pub profile: Option<PathBuf>,
}

impl Bench<'_> {
    pub(crate) fn start(&self, settings: &Settings) -> Result<Scene, Failure> {
        Ok(Scene {
            server: Server::start(self.found, settings, self.cost, self.cores, self.interrupt)?,
            profile: self.profile.clone(),
            swarm: Swarm::new()?,
            interrupt: self.interrupt.clone(),
            patience: if self.cost == Cost::Instructions { SLOWED_DOWN } else { 1 },
        })
    }

    /// A number of connections, keys or commands: all of them, or few when quick.
    pub(crate) fn count(&self, full: usize) -> usize {
        match self.scale {
            Scale::Full => full,
            Scale::Quick => full.div_ceil(100).max(full.min(4)),
        }
    }

    /// How long the timed part of a workload goes on.
    ///
    /// Half a second is a hundred and more of the kernel's ticks, which is what CPU time of a running task is exact to. A server
    /// whose instructions are counted does little in it.
    pub(crate) fn time(&self) -> Duration {
        match (self.scale, self.cost) {
            (Scale::Full, Cost::CpuTime) => Duration::from_millis(600),
            (Scale::Full, Cost::Instructions) => Duration::from_secs(3),
            (Scale::Quick, _) => Duration::from_millis(20),
        }
    }

    /// For so long requests are sent before the timed part: the first ones find memory that nobody has used, and tables that grow.
    /// In half a second they are few among many.
    fn warm_up(&self) -> Duration {
        match self.cost {
            Cost::CpuTime => Duration::ZERO,
            Cost::Instructions => self.time() / 2,
        }
    }
}

/// The running server and the connections to it.
pub(crate) struct Scene {
    // Before the swarm: the server is killed first, so that thousands of closing sockets cost it nothing.
    pub server: Server,
    pub swarm: Swarm,
    interrupt: Interrupt,
    profile: Option<PathBuf>,
    /// How many times as long as for a server at full speed is waited for this one.
    patience: u32,
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(path) = &self.profile {
            // Without it the figure is as good.
            let _ = self.server.keep_profile(path);
        }
    }
}

/// Longest wait for anything that is not the measurement itself: ten thousand connections on a busy core, a million
/// patterns, ten million entries.
const SETUP: Duration = Duration::from_secs(300);
/// Longest wait for a batch in the timed part. The slowest peer matches a million patterns in 100 ms.
const BATCH: Duration = Duration::from_secs(30);
/// How much longer a server may take whose instructions are counted.
const SLOWED_DOWN: u32 = 10;

impl Scene {
    pub(crate) fn dialect(&self) -> Dialect {
        self.server.dialect()
    }

    pub(crate) fn limit(&self, what: &'static str) -> Limit {
        Limit::new(what, SETUP * self.patience, &self.interrupt)
    }

    pub(crate) fn batch_limit(&self, what: &'static str) -> Limit {
        Limit::new(what, BATCH * self.patience, &self.interrupt)
    }

    /// Opens a connection and introduces it.
    pub(crate) fn connect(&mut self, group: Group) -> Result<ConnId, Failure> {
        let id = self.swarm.connect(self.server.address, group)?;
        self.swarm.send(id, self.dialect().hello())?;
        Ok(id)
    }

    /// Opens `count` connections, each subscribed to what `subject` says for its index; returns once all are confirmed.
    pub(crate) fn subscribers<'a>(
        &mut self,
        count: usize,
        subject: impl Fn(usize) -> Subject<'a>,
    ) -> Result<Vec<ConnId>, Failure> {
        let (dialect, limit) = (self.dialect(), self.limit("subscriptions"));
        let lines = dialect.greeting_lines() + dialect.subscribed_lines(1);
        let mut ids = Vec::with_capacity(count);
        let mut request = Vec::new();
        // In groups below any backlog of unaccepted connections.
        for first in (0..count).step_by(100) {
            for index in first..count.min(first + 100) {
                let id = self.connect(Group::Subscriber)?;
                request.clear();
                dialect.subscribe(&mut request, subject(index), 1);
                dialect.end_batch(&mut request);
                self.swarm.send(id, &request)?;
                ids.push(id);
            }
            self.swarm.until(&limit, |swarm| ids[first..].iter().all(|&id| swarm.seen(id) >= lines))?;
        }
        Ok(ids)
    }

    /// Waits until the server has nothing of its own to say to these connections.
    ///
    /// NATS pings each client once, two seconds after it came, to measure the way; that must not fall into the timing.
    pub(crate) fn quiet(&mut self, ids: &[ConnId]) -> Result<(), Failure> {
        if self.dialect() == Dialect::Resp {
            return Ok(());
        }
        let before: Vec<u64> = ids.iter().map(|&id| self.swarm.seen(id)).collect();
        let give_up = Instant::now() + Duration::from_secs(5);
        let limit = self.limit("NATS's first ping");
        self.swarm.until(&limit, |swarm| {
            let pinged = ids.iter().zip(&before).all(|(&id, &before)| swarm.seen(id) > before);
            pinged || Instant::now() > give_up
        })
    }

    /// Sends `count` requests on a connection of their own, a thousand at a time, and waits for at least `lines` lines of
    /// reply to each.
    pub(crate) fn ask(
        &mut self,
        what: &'static str,
        count: usize,
        lines: u64,
        request: impl Fn(&mut Vec<u8>, usize),
    ) -> Result<(), Failure> {
        let id = self.connect(Group::Bystander)?;
        let limit = self.limit(what);
        let mut batch = Vec::new();
        for first in (0..count).step_by(1000) {
            batch.clear();
            let last = count.min(first + 1000);
            (first..last).for_each(|n| request(&mut batch, n));
            self.swarm.send(id, &batch)?;
            // One batch ahead, so that the server has the next while this one's replies are on their way.
            let due = first as u64 * lines;
            self.swarm.until(&limit, |swarm| swarm.seen(id) >= due)?;
        }
        let due = count as u64 * lines;
        self.swarm.until(&limit, |swarm| swarm.seen(id) >= due)?;
        self.swarm.close(id)
    }

    /// Sends requests on a connection of their own, `pipeline` at a time, for as long as a measurement lasts or until there have
    /// been `most`; each is answered by so many `lines`. Server CPU of a request, in nanoseconds.
    pub(crate) fn pipelined(
        &mut self,
        bench: &Bench<'_>,
        (pipeline, most, lines): (usize, usize, u64),
        request: impl Fn(&mut Vec<u8>, usize),
    ) -> Result<Figures, Failure> {
        let id = self.connect(Group::Publisher)?;
        self.swarm.measure(id, Meter::Lines);
        let (mut sent, mut batch) = (0, Vec::new());
        let mut send_for = |scene: &mut Scene, time: Duration, most: usize| {
            let (begun, before) = (Instant::now(), sent);
            while begun.elapsed() < time && sent < most {
                batch.clear();
                let until = most.min(sent + pipeline);
                (sent..until).for_each(|n| request(&mut batch, n));
                sent = until;
                scene.swarm.send(id, &batch)?;
                let limit = scene.batch_limit("replies");
                scene.swarm.until(&limit, |swarm| swarm.seen(id) >= sent as u64 * lines)?;
            }
            Ok::<_, Failure>(((sent - before) as f64, begun.elapsed().as_secs_f64()))
        };
        send_for(self, bench.warm_up(), most / 2)?;
        let cpu = self.cpu()?;
        let (count, seconds) = send_for(self, bench.time(), most)?;
        let ns = self.cpu()?.since(&cpu) as f64 / count;
        Ok(Figures::new(ns).also("ops/s", count / seconds))
    }

    /// What the server answers to one command, as text.
    pub(crate) fn text(&self, words: &[&[u8]]) -> Result<String, Failure> {
        let mut request = Vec::new();
        command(&mut request, words);
        self.answer(&request)
    }

    /// What the server answers to these bytes and a PING behind them.
    pub(crate) fn answer(&self, request: &[u8]) -> Result<String, Failure> {
        let mut stream = TcpStream::connect_timeout(&self.server.address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(BATCH))?;
        let mut request = request.to_vec();
        // The answer to what follows ends it, whatever its shape.
        command(&mut request, &[b"PING"]);
        stream.write_all(&request)?;
        let (mut reply, mut piece) = (Vec::new(), [0; 4096]);
        while !reply.ends_with(b"+PONG\r\n") {
            if reply.len() > ANSWER_BYTES_MAX {
                return Err(Failure::Reply(format!("longer than {ANSWER_BYTES_MAX} bytes")));
            }
            match stream.read(&mut piece)? {
                0 => return Err(Failure::Closed("a question")),
                length => reply.extend_from_slice(&piece[..length]),
            }
        }
        Ok(String::from_utf8_lossy(&reply).into_owned())
    }

    /// What the server answers to a command that is answered with a number.
    pub(crate) fn integer(&self, words: &[&[u8]]) -> Result<u64, Failure> {
        let text = self.text(words)?;
        let number = text.strip_prefix(':').and_then(|rest| rest.lines().next()?.parse().ok());
        number.ok_or(Failure::Reply(text.lines().next().unwrap_or_default().to_owned()))
    }

    /// As [`Scene::subscribers`] to one channel, over TLS.
    pub(crate) fn tls_subscribers(&mut self, count: usize, channel: &str) -> Result<Vec<ConnId>, Failure> {
        let (address, files) = self.server.tls.as_ref().ok_or(Failure::Inapplicable("no TLS"))?;
        let connector = tls::Connector::new(&files.certificate_der)?;
        let mut request = Vec::new();
        self.dialect().subscribe(&mut request, Subject::Channel(channel), 1);
        let lines = self.dialect().subscribed_lines(1);
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count {
            self.interrupt.check()?;
            let stream = connector.open(*address, &request, lines)?;
            ids.push(self.swarm.adopt(stream, Group::Subscriber, Meter::Records(RecordMeter::default()))?);
        }
        Ok(ids)
    }

    /// What the server has spent so far: time on a core, unless instructions are counted.
    pub(crate) fn cpu(&self) -> Result<Spent, Failure> {
        self.server.spent()
    }

    pub(crate) fn resident_bytes(&self) -> Result<u64, Failure> {
        resident_bytes(self.server.pid())
    }
}
