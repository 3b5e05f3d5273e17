//! Values made of several words or of two kinds: addresses, memory or percent, limits per client class, save points,
//! event classes, users.
//!
//! Source: `bind`, `client-output-buffer-limit`, `save`, `notify-keyspace-events`, `tls-protocols` and `user` of
//! redis.conf.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use sterna_keyspace::EventClasses;

use super::options::Config;
use super::value::{Kind, Phase, Value, ValueError, integer, memory, only, utf8};

/// One address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindAddress {
    /// A name or a numeric address; `*` is every IPv4 address and `::*` every IPv6 address.
    pub host: String,
    /// Written with a leading `-`: an address that this machine doesn't have is passed over.
    pub optional: bool,
}

/// An amount of memory, or a part of `maxmemory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryShare {
    /// So many bytes.
    Bytes(u64),
    /// So many percent.
    Percent(u64),
}

impl MemoryShare {
    /// In bytes, where the whole is `of`. A part of no limit is none: 0.
    pub fn bytes(self, of: u64) -> u64 {
        match self {
            MemoryShare::Bytes(bytes) => bytes,
            MemoryShare::Percent(percent) => (u128::from(of) * u128::from(percent) / 100) as u64,
        }
    }
}

impl Value for MemoryShare {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let word = only(words)?;
        *self = if let Some(bytes) = memory(word) {
            let bytes = i64::try_from(bytes).map_err(|_| ValueError::NotUnsigned)?;
            MemoryShare::Bytes(bytes.unsigned_abs())
        } else {
            let percent =
                word.strip_suffix(b"%").and_then(integer).and_then(|number| u64::try_from(number).ok());
            match percent.ok_or(ValueError::NotMemoryOrPercent)? {
                percent @ ..=100 => MemoryShare::Percent(percent),
                _ => return Err(ValueError::PercentTooLarge(100)),
            }
        };
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        match self {
            MemoryShare::Bytes(bytes) => bytes.to_string().into_bytes(),
            MemoryShare::Percent(percent) => format!("{percent}%").into_bytes(),
        }
    }
}

/// More addresses than this are an error, as in Redis.
const ADDRESSES_MAX: usize = 16;

impl BindAddress {
    /// The socket addresses it stands for. Resolves a name, which may take as long as DNS takes.
    pub fn resolve(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self.host.as_str() {
            "*" => Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into()]),
            "::*" => Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into()]),
            host => Ok((host, port).to_socket_addrs()?.collect()),
        }
    }

    fn text(&self) -> Vec<u8> {
        let prefix = if self.optional { "-" } else { "" };
        format!("{prefix}{}", self.host).into_bytes()
    }
}

/// A single empty word means that nothing is listened on.
impl Value for Vec<BindAddress> {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        if words.len() > ADDRESSES_MAX {
            return Err(ValueError::TooManyAddresses);
        }
        let mut addresses = Vec::new();
        for word in words.iter().filter(|word| !word.is_empty()) {
            let text = utf8(word)?;
            let host = text.strip_prefix('-').unwrap_or(text);
            addresses.push(BindAddress { host: host.to_owned(), optional: host.len() < text.len() });
        }
        *self = addresses;
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        self.iter().map(BindAddress::text).collect::<Vec<_>>().join(&b' ')
    }

    fn lines(&self, _: Kind) -> Vec<Vec<Vec<u8>>> {
        let words: Vec<_> = self.iter().map(BindAddress::text).collect();
        vec![if words.is_empty() { vec![Vec::new()] } else { words }]
    }
}

/// When a client that reads too slowly is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutputLimit {
    /// Closed at once when more is queued; 0 is no limit.
    pub hard_bytes: u64,
    /// Closed when more is queued for [`soft_seconds`](OutputLimit::soft_seconds) without a break; 0 is no limit.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_seconds: u64,
}

/// An [`OutputLimit`] for each client class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLimits {
    /// Everyone else, MONITOR included.
    pub normal: OutputLimit,
    /// Replicas; kept for CONFIG GET.
    pub replica: OutputLimit,
    /// Clients with a subscription.
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    /// The classes with the name that CONFIG GET gives them.
    fn classes(&self) -> [(&'static str, OutputLimit); 3] {
        [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)]
    }
}

impl OutputLimit {
    /// Reads hard bytes, soft bytes and seconds.
    fn read([hard, soft, seconds]: [&[u8]; 3]) -> Option<OutputLimit> {
        let bytes = |word| memory(word).map(|bytes| u64::try_from(bytes).unwrap_or(u64::MAX));
        Some(OutputLimit {
            hard_bytes: bytes(hard)?,
            soft_bytes: bytes(soft)?,
            soft_seconds: integer(seconds).and_then(|seconds| u64::try_from(seconds).ok())?,
        })
    }
}

/// A limit by itself, without a class.
impl Value for OutputLimit {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let &[hard, soft, seconds] = words else { return Err(ValueError::LimitWords) };
        *self = OutputLimit::read([hard, soft, seconds]).ok_or(ValueError::LimitValue)?;
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        format!("{} {} {}", self.hard_bytes, self.soft_bytes, self.soft_seconds).into_bytes()
    }

    fn lines(&self, _: Kind) -> Vec<Vec<Vec<u8>>> {
        let numbers = [self.hard_bytes, self.soft_bytes, self.soft_seconds];
        vec![numbers.iter().map(|number| number.to_string().into_bytes()).collect()]
    }
}

/// Classes that the words don't name keep their limits.
impl Value for OutputLimits {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let mut limits = *self;
        if let [word] = words
            && word.is_empty()
        {
            return Ok(());
        }
        let (groups, rest) = words.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(ValueError::LimitWords);
        }
        for [class, hard, soft, seconds] in groups {
            let limit = match class.to_ascii_lowercase().as_slice() {
                b"normal" => &mut limits.normal,
                b"slave" | b"replica" => &mut limits.replica,
                b"pubsub" => &mut limits.pubsub,
                _ => return Err(ValueError::LimitClass),
            };
            *limit = OutputLimit::read([hard, soft, seconds]).ok_or(ValueError::LimitValue)?;
        }
        *self = limits;
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        let words = self.classes().map(|(class, limit)| {
            format!("{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds)
        });
        words.join(" ").into_bytes()
    }

    fn lines(&self, _: Kind) -> Vec<Vec<Vec<u8>>> {
        let line = |(class, limit): (&str, OutputLimit)| {
            let class = if class == "slave" { "replica" } else { class };
            let numbers = [limit.hard_bytes, limit.soft_bytes, limit.soft_seconds];
            std::iter::once(class.as_bytes().to_vec())
                .chain(numbers.iter().map(|number| number.to_string().into_bytes()))
                .collect()
        };
        self.classes().into_iter().map(line).collect()
    }
}

/// When a snapshot is due: after so many seconds with at least so many changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavePoint {
    /// At least 1.
    pub seconds: u64,
    /// Changes to the keyspace.
    pub changes: u64,
}

/// When snapshots are due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SavePoints {
    /// Nobody has said: Redis's own, while nothing else keeps what is written.
    #[default]
    Unset,
    /// These.
    Given(Vec<SavePoint>),
}

/// What counts where `save` isn't given. Source: redis.conf.
pub(crate) const DEFAULT_SAVE_POINTS: [SavePoint; 3] = [
    SavePoint { seconds: 3600, changes: 1 },
    SavePoint { seconds: 300, changes: 100 },
    SavePoint { seconds: 60, changes: 10_000 },
];

impl SavePoints {
    fn points(&self) -> &[SavePoint] {
        match self {
            SavePoints::Unset => &DEFAULT_SAVE_POINTS,
            SavePoints::Given(points) => points,
        }
    }
}

impl Config {
    /// When snapshots are due, as things are.
    pub fn save_points(&self) -> &[SavePoint] {
        match &self.save {
            SavePoints::Unset if self.appendonly => &[],
            save => save.points(),
        }
    }

    /// Whether a certificate is needed.
    pub fn has_tls_port(&self) -> bool {
        self.tls_port != 0 || self.https_port != 0
    }

    /// Whether HTTP is served.
    pub fn has_http_port(&self) -> bool {
        self.http_port != 0 || self.https_port != 0
    }

    /// Whether anything is kept without being asked for.
    pub fn keeps_anything(&self) -> bool {
        self.appendonly || !self.save_points().is_empty()
    }
}

/// A single empty word means that no snapshot is ever due.
impl Value for SavePoints {
    fn assign(&mut self, words: &[&[u8]], _: Kind, phase: Phase) -> Result<(), ValueError> {
        if words.iter().all(|word| word.is_empty()) && words.len() < 2 {
            *self = SavePoints::Given(Vec::new());
            return Ok(());
        }
        let (pairs, rest) = words.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(ValueError::SavePoints);
        }
        let point = |[seconds, changes]: &[&[u8]; 2]| {
            let seconds = u64::try_from(integer(seconds)?).ok().filter(|&seconds| seconds >= 1)?;
            Some(SavePoint { seconds, changes: u64::try_from(integer(changes)?).ok()? })
        };
        let points: Option<Vec<SavePoint>> = pairs.iter().map(point).collect();
        let points = points.ok_or(ValueError::SavePoints)?;
        match self {
            // Lines of a file add up.
            SavePoints::Given(given) if phase != Phase::Set => given.extend(points),
            _ => *self = SavePoints::Given(points),
        }
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        let points: Vec<_> =
            self.points().iter().map(|point| format!("{} {}", point.seconds, point.changes)).collect();
        points.join(" ").into_bytes()
    }

    fn lines(&self, _: Kind) -> Vec<Vec<Vec<u8>>> {
        let line = |point: &SavePoint| {
            vec![point.seconds.to_string().into_bytes(), point.changes.to_string().into_bytes()]
        };
        match self {
            // A line would say that somebody has asked for them.
            SavePoints::Unset => Vec::new(),
            SavePoints::Given(points) if points.is_empty() => vec![vec![Vec::new()]],
            SavePoints::Given(points) => points.iter().map(line).collect(),
        }
    }
}

/// Percentiles, 0 to 100 each.
#[derive(Debug, Clone, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Default for Percentiles {
    fn default() -> Percentiles {
        Percentiles(vec![50.0, 99.0, 99.9])
    }
}

impl Value for Percentiles {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let read = |word: &&[u8]| {
            let percent: f64 = utf8(word)?.parse().map_err(|_| ValueError::Percentiles)?;
            match percent {
                _ if percent.is_nan() => Err(ValueError::Percentiles),
                0.0..=100.0 => Ok(percent),
                _ => Err(ValueError::PercentileRange),
            }
        };
        // An empty word is none at all.
        let words = if let [word] = words
            && word.is_empty()
        {
            &[]
        } else {
            words
        };
        self.0 = words.iter().map(read).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        let percents: Vec<_> = self.0.iter().map(f64::to_string).collect();
        percents.join(" ").into_bytes()
    }

    fn lines(&self, kind: Kind) -> Vec<Vec<Vec<u8>>> {
        vec![self.text(kind).split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect()]
    }
}

/// Which events of the keyspace are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyEvents(pub EventClasses);

impl KeyEvents {
    /// Letters of the classes that `A` stands for, in the order in which they are reported.
    const IN_A: [(u8, EventClasses); 10] = [
        (b'g', EventClasses::GENERIC),
        (b'$', EventClasses::STRING),
        (b'l', EventClasses::LIST),
        (b's', EventClasses::SET),
        (b'h', EventClasses::HASH),
        (b'z', EventClasses::ZSET),
        (b'x', EventClasses::EXPIRED),
        (b'e', EventClasses::EVICTED),
        (b't', EventClasses::STREAM),
        (b'd', EventClasses::MODULE),
    ];

    /// Letters of the others. Redis leaves out the first three beside `A`, which CONFIG REWRITE would then lose.
    const OUTSIDE_A: [(u8, EventClasses); 10] = [
        (b'n', EventClasses::NEW),
        (b'o', EventClasses::OVERWRITTEN),
        (b'c', EventClasses::TYPE_CHANGED),
        (b'K', EventClasses::KEYSPACE),
        (b'E', EventClasses::KEYEVENT),
        (b'm', EventClasses::KEY_MISS),
        (b'S', EventClasses::SUBKEYSPACE),
        (b'T', EventClasses::SUBKEYEVENT),
        (b'I', EventClasses::SUBKEYSPACEITEM),
        (b'V', EventClasses::SUBKEYSPACEEVENT),
    ];

    fn of_letter(letter: u8) -> Option<EventClasses> {
        if letter == b'A' {
            return Some(EventClasses::ALL);
        }
        let mut letters = KeyEvents::IN_A.iter().chain(&KeyEvents::OUTSIDE_A);
        letters.find(|(of_class, _)| *of_class == letter).map(|&(_, class)| class)
    }
}

impl Value for KeyEvents {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let mut classes = EventClasses::empty();
        for &letter in only(words)? {
            classes |= KeyEvents::of_letter(letter).ok_or(ValueError::KeyEvents)?;
        }
        *self = KeyEvents(classes);
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        let present = |&&(_, class): &&(u8, EventClasses)| self.0.contains(class);
        let mut letters: Vec<u8> = if KeyEvents::IN_A.iter().all(|(_, class)| self.0.contains(*class)) {
            vec![b'A']
        } else {
            KeyEvents::IN_A.iter().filter(present).map(|&(letter, _)| letter).collect()
        };
        letters.extend(KeyEvents::OUTSIDE_A.iter().filter(present).map(|&(letter, _)| letter));
        letters
    }
}

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsProtocols {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

/// An empty word means both.
impl Value for TlsProtocols {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let mut protocols = TlsProtocols { tls12: false, tls13: false };
        for word in words.iter().flat_map(|word| word.split(u8::is_ascii_whitespace)) {
            match word.to_ascii_lowercase().as_slice() {
                b"tlsv1.2" => protocols.tls12 = true,
                b"tlsv1.3" => protocols.tls13 = true,
                b"" => {}
                _ => return Err(ValueError::TlsProtocols),
            }
        }
        let none = !protocols.tls12 && !protocols.tls13;
        *self = if none { TlsProtocols { tls12: true, tls13: true } } else { protocols };
        Ok(())
    }

    fn text(&self, _: Kind) -> Vec<u8> {
        match (self.tls12, self.tls13) {
            (true, false) => b"TLSv1.2".to_vec(),
            (false, true) => b"TLSv1.3".to_vec(),
            _ => Vec::new(),
        }
    }
}

/// What somebody else must say about lines whose words mean nothing here: users' rules and commands' names.
#[derive(Debug, Clone, Copy)]
pub struct LineChecks {
    /// A `user` line in the one form that is compared and written: each rule as ACL LIST shows it. Or what is wrong.
    /// New users are as the configuration says.
    pub user: fn(&UserLine, &Config) -> Result<UserLine, String>,
    /// What is wrong with the last of these, given those before it.
    pub renames: fn(&[RenamedCommand]) -> Result<(), String>,
}

impl LineChecks {
    /// Takes lines as they are.
    pub const NONE: LineChecks = LineChecks { user: |line, _| Ok(line.clone()), renames: |_| Ok(()) };
}

/// A `rename-command` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenamedCommand {
    /// The name that is no command any more.
    pub from: Vec<u8>,
    /// What the command is called from then on; empty: nothing, it can't be called at all.
    pub to: Vec<u8>,
}

impl Value for Vec<RenamedCommand> {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let [from, to] = words else { return Err(ValueError::WrongNumber) };
        self.push(RenamedCommand { from: from.to_vec(), to: to.to_vec() });
        Ok(())
    }

    fn text(&self, kind: Kind) -> Vec<u8> {
        let lines = self.lines(kind);
        lines.iter().map(|words| words.join(&b' ')).collect::<Vec<_>>().join(&b'\n')
    }

    fn lines(&self, _: Kind) -> Vec<Vec<Vec<u8>>> {
        self.iter().map(|line| vec![line.from.clone(), line.to.clone()]).collect()
    }
}

/// A `user` line: a name and rules as ACL SETUSER takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserLine {
    /// Raw bytes without spaces or null characters.
    pub name: Vec<u8>,
    /// One rule a word.
    pub rules: Vec<Vec<u8>>,
}

impl Value for Vec<UserLine> {
    fn assign(&mut self, words: &[&[u8]], _: Kind, _: Phase) -> Result<(), ValueError> {
        let Some((name, rules)) = words.split_first() else { return Err(ValueError::WrongNumber) };
        let shown = || String::from_utf8_lossy(name).into_owned();
        if name.iter().any(|&byte| byte == 0 || byte.is_ascii_whitespace()) {
            return Err(ValueError::UserName(shown()));
        }
        if self.iter().any(|user| user.name == *name) {
            return Err(ValueError::DuplicateUser(shown()));
        }
        self.push(UserLine { name: name.to_vec(), rules: rules.iter().map(|rule| rule.to_vec()).collect() });
        Ok(())
    }

    fn text(&self, kind: Kind) -> Vec<u8> {
        let lines = self.lines(kind);
        lines.iter().map(|words| words.join(&b' ')).collect::<Vec<_>>().join(&b'\n')
    }

    fn lines(&self, _: Kind) -> Vec<Vec<Vec<u8>>> {
        self.iter().map(|user| std::iter::once(&user.name).chain(&user.rules).cloned().collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Kind = Kind::Words("any");

    #[test]
    fn memory_or_percent_is_told_apart_and_written_back() {
        let mut value = MemoryShare::Bytes(0);
        type Written = Result<(u64, &'static [u8]), ValueError>;
        let rows: [(&[u8], Written); 6] = [
            (b"1mb", Ok((1 << 20, b"1048576"))),
            (b"5%", Ok((50, b"5%"))),
            (b"100%", Ok((1000, b"100%"))),
            (b"101%", Err(ValueError::PercentTooLarge(100))),
            (b"-1%", Err(ValueError::NotMemoryOrPercent)),
            (b"much", Err(ValueError::NotMemoryOrPercent)),
        ];
        for (word, expected) in rows {
            let read = value.assign(&[word], Kind::MemoryOrPercent, Phase::Set);
            let found = read.map(|()| (value.bytes(1000), value.text(Kind::MemoryOrPercent)));
            assert_eq!(
                found,
                expected.map(|(bytes, text)| (bytes, text.to_vec())),
                "{}",
                word.escape_ascii()
            );
        }
    }

    /// What `text` becomes when assigned to `start` and written back, or the error.
    fn written<V: Value + Clone>(start: &V, words: &[&str], phase: Phase) -> Result<String, String> {
        let mut value = start.clone();
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        value.assign(&words, ANY, phase).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(value.text(ANY)).unwrap())
    }

    #[test]
    fn percentiles_lie_between_none_and_all() {
        let start = Percentiles::default();
        let set = |words: &[&str]| written(&start, words, Phase::Set);
        assert_eq!(set(&["0", "50.0", "99.99999", "100"]).as_deref(), Ok("0 50 99.99999 100"));
        assert_eq!(set(&[""]).as_deref(), Ok(""));
        for word in ["-1", "101", "inf"] {
            assert_eq!(set(&["50", word]), Err(ValueError::PercentileRange.to_string()), "{word}");
        }
        for word in ["x", "nan", " 5 "] {
            assert_eq!(set(&["50", word]), Err(ValueError::Percentiles.to_string()), "{word}");
        }
    }

    #[test]
    fn output_limits_change_only_the_classes_named() {
        let zero = OutputLimit::default();
        let start = OutputLimits { normal: zero, replica: zero, pubsub: zero };
        let rows: &[(&[&str], Result<&str, &str>)] = &[
            (&["pubsub", "32mb", "8mb", "60"], Ok("normal 0 0 0 slave 0 0 0 pubsub 33554432 8388608 60")),
            (
                &["replica", "1", "2", "3", "NORMAL", "4", "5", "6"],
                Ok("normal 4 5 6 slave 1 2 3 pubsub 0 0 0"),
            ),
            (&[""], Ok("normal 0 0 0 slave 0 0 0 pubsub 0 0 0")),
            (&["normal", "1", "2"], Err("Wrong number of arguments in buffer limit configuration.")),
            (&["foo", "1", "2", "3"], Err("Invalid client class specified in buffer limit configuration.")),
            (
                &["normal", "1", "2", "-3"],
                Err("Error in hard, soft or soft_seconds setting in buffer limit configuration."),
            ),
            (
                &["normal", "x", "2", "3"],
                Err("Error in hard, soft or soft_seconds setting in buffer limit configuration."),
            ),
        ];
        for (words, expected) in rows {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(written(&start, words, Phase::Set), expected, "{words:?}");
        }
    }

    #[test]
    fn save_points_add_up_in_a_file_and_are_replaced_at_run_time() {
        let unset = SavePoints::Unset;
        assert_eq!(written(&unset, &["1", "2"], Phase::Load).unwrap(), "1 2");
        let start = SavePoints::Given(vec![SavePoint { seconds: 9, changes: 9 }]);
        assert_eq!(written(&start, &["1", "2"], Phase::Load).unwrap(), "9 9 1 2");
        assert_eq!(written(&start, &["1", "2", "3", "0"], Phase::Set).unwrap(), "1 2 3 0");
        assert_eq!(written(&start, &[""], Phase::Load).unwrap(), "");
        for wrong in [&["1"][..], &["1", "2", "3"], &["0", "1"], &["1", "-1"], &["a", "b"]] {
            assert_eq!(
                written(&start, wrong, Phase::Set).unwrap_err(),
                "Invalid save parameters",
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn key_events_are_written_in_one_order() {
        let rows = [
            ("KEA", "AKE"),
            ("g$lshzxe", "g$lshzxe"),
            ("Em", "Em"),
            ("Kcon", "nocK"),
            ("", ""),
            ("exzhsl$gtdK", "AK"),
            ("STIVh", "hSTIV"),
            ("VISTEmAK", "AKEmSTIV"),
        ];
        for (text, expected) in rows {
            assert_eq!(written(&KeyEvents::default(), &[text], Phase::Set).unwrap(), expected, "{text}");
        }
        assert!(written(&KeyEvents::default(), &["Kq"], Phase::Set).is_err());
    }

    #[test]
    fn bind_addresses_may_be_optional_or_every_address() {
        let none: Vec<BindAddress> = Vec::new();
        assert_eq!(written(&none, &["127.0.0.1", "-::1"], Phase::Load).unwrap(), "127.0.0.1 -::1");
        assert_eq!(written(&none, &[""], Phase::Load).unwrap(), "");
        assert!(written(&none, &["a"; 17], Phase::Set).is_err());
        let resolve = |host: &str| BindAddress { host: host.to_owned(), optional: false }.resolve(7);
        assert_eq!(resolve("*").unwrap(), ["0.0.0.0:7".parse().unwrap()]);
        assert_eq!(resolve("::*").unwrap(), ["[::]:7".parse().unwrap()]);
        assert_eq!(resolve("::1").unwrap(), ["[::1]:7".parse().unwrap()]);
        assert!(resolve("1.2.3.4.5").is_err());
    }

    #[test]
    fn a_user_is_defined_once() {
        let mut users: Vec<UserLine> = Vec::new();
        users.assign(&[b"bob", b"on", b">p"], ANY, Phase::Load).unwrap();
        let twice = users.assign(&[b"bob", b"off"], ANY, Phase::Load);
        assert!(matches!(twice, Err(ValueError::DuplicateUser(name)) if name == "bob"));
        assert!(users.assign(&[], ANY, Phase::Load).is_err());
        assert!(users.assign(&[b"a b"], ANY, Phase::Load).is_err());
        assert_eq!(users.lines(ANY), [[b"bob".to_vec(), b"on".to_vec(), b">p".to_vec()]]);
    }
}
