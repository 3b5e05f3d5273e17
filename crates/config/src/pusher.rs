//! `pusher-app`: whose pages may connect by Pusher's protocol, and as whom.
//!
//! ```text
//!   pusher-app ID KEY SECRET [user NAME] [prefix TEXT] [client-events RATE]
//! ```
//!
//! Lines of a file add up; CONFIG SET takes all of them behind each other.

use std::fmt;
use std::sync::Arc;

use super::options::Config;
use super::value::{Kind, Phase, Value, ValueError, integer};

/// How many there may be: each page's key is looked for among all of them.
const APPS_MAX: usize = 100;

/// Events a second that a page may send, if nothing is said. Source: Pusher's own limit.
const CLIENT_EVENTS: u32 = 10;

/// An app, in the words of Pusher: one set of pages and of services that sign for them.
#[derive(Clone, PartialEq, Eq)]
pub struct PusherApp {
    /// Names it in paths.
    pub id: String,
    /// Names it to pages, which anybody can read.
    pub key: String,
    /// Signs; known to the services.
    pub secret: String,
    /// The user of ACL whose rights bound what it can do.
    pub user: String,
    /// What stands before its channels' names outside of it.
    pub prefix: String,
    /// Events a second that each page may send.
    pub client_events: u32,
}

/// Without the secret: what is printed for somebody to read is no place for it.
impl fmt::Debug for PusherApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PusherApp {{ id: {:?}, user: {:?}, prefix: {:?}, … }}", self.id, self.user, self.prefix)
    }
}

/// The lines, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PusherApps(pub Vec<Arc<PusherApp>>);

impl PusherApp {
    /// The name outside of the app of one of its channels.
    pub fn outside(&self, channel: &str) -> Vec<u8> {
        [self.prefix.as_bytes(), channel.as_bytes()].concat()
    }
}

impl Config {
    /// The app with this key.
    pub fn app_of_key(&self, key: &[u8]) -> Option<&Arc<PusherApp>> {
        self.pusher_app.0.iter().find(|app| app.key.as_bytes() == key)
    }

    /// The app with this ID.
    pub fn app(&self, id: &[u8]) -> Option<&Arc<PusherApp>> {
        self.pusher_app.0.iter().find(|app| app.id.as_bytes() == id)
    }
}

impl PusherApps {
    /// What stands before the names of the channels of the apps that `channel` is one of: the longest prefix that it has.
    pub fn prefix_of(&self, channel: &[u8]) -> Option<&str> {
        let prefixes = self.0.iter().map(|app| app.prefix.as_str());
        prefixes.filter(|prefix| channel.starts_with(prefix.as_bytes())).max_by_key(|prefix| prefix.len())
    }

    /// The name of a channel inside of the apps that it is one of.
    #[inline]
    pub fn inside<'c>(&self, channel: &'c [u8]) -> &'c [u8] {
        &channel[self.prefix_of(channel).map_or(0, str::len)..]
    }
}

impl Value for PusherApps {
    fn assign(&mut self, words: &[&[u8]], _: Kind, phase: Phase) -> Result<(), ValueError> {
        let mut apps = match phase {
            // A line that names none takes those before it back.
            Phase::Load if words.iter().any(|word| !word.is_empty()) => self.0.clone(),
            _ => Vec::new(),
        };
        let mut words = words.iter().filter(|word| !word.is_empty()).peekable();
        while words.peek().is_some() {
            let mut text = || {
                let word = words.next().ok_or(ValueError::PusherApp)?;
                let is_plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
                str::from_utf8(word).ok().filter(is_plain).map(str::to_owned).ok_or(ValueError::PusherApp)
            };
            let (id, key, secret) = (text()?, text()?, text()?);
            let (user, prefix) = ("default".to_owned(), String::new());
            let mut app = PusherApp { id, key, secret, user, prefix, client_events: CLIENT_EVENTS };
            while let Some(option) = words.peek().and_then(|word| AppOption::named(word)) {
                words.next();
                option.assign(&mut app, words.next().ok_or(ValueError::PusherApp)?)?;
            }
            let is_known = |other: &Arc<PusherApp>| other.id == app.id || other.key == app.key;
            if apps.iter().any(is_known) || apps.len() == APPS_MAX {
                return Err(ValueError::PusherApp);
            }
            apps.push(Arc::new(app));
        }
        self.0 = apps;
        Ok(())
    }

    fn text(&self, kind: Kind) -> Vec<u8> {
        self.lines(kind).concat().join(&b' ')
    }

    fn lines(&self, _: Kind) -> Vec<Vec<Vec<u8>>> {
        self.0.iter().map(|app| words_of(app).into_iter().map(String::into_bytes).collect()).collect()
    }
}

/// The words of a line, without those that say what holds anyway.
fn words_of(app: &PusherApp) -> Vec<String> {
    let mut words = vec![app.id.clone(), app.key.clone(), app.secret.clone()];
    let rate = app.client_events.to_string();
    for (option, value, is_plain) in [
        ("user", &app.user, app.user == "default"),
        ("prefix", &app.prefix, app.prefix.is_empty()),
        ("client-events", &rate, app.client_events == CLIENT_EVENTS),
    ] {
        if !is_plain {
            words.extend([option.to_owned(), value.clone()]);
        }
    }
    words
}

/// What may stand behind the secret.
#[derive(Clone, Copy)]
enum AppOption {
    User,
    Prefix,
    ClientEvents,
}

impl AppOption {
    fn named(word: &[u8]) -> Option<AppOption> {
        match word.to_ascii_lowercase().as_slice() {
            b"user" => Some(AppOption::User),
            b"prefix" => Some(AppOption::Prefix),
            b"client-events" => Some(AppOption::ClientEvents),
            _ => None,
        }
    }

    fn assign(self, app: &mut PusherApp, word: &[u8]) -> Result<(), ValueError> {
        let text = || str::from_utf8(word).map(str::to_owned).map_err(|_| ValueError::PusherApp);
        match self {
            AppOption::User => app.user = text()?,
            AppOption::Prefix => app.prefix = text()?,
            AppOption::ClientEvents => {
                let rate = integer(word).and_then(|rate| u32::try_from(rate).ok());
                app.client_events = rate.ok_or(ValueError::PusherApp)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: Kind = Kind::Words("any");

    fn words(text: &str) -> Vec<&[u8]> {
        text.split(' ').map(str::as_bytes).collect()
    }

    #[test]
    fn lines_add_up_and_what_is_set_replaces_them() {
        let mut apps = PusherApps::default();
        let mut assign = |text: &str, phase| {
            apps.assign(&words(text), ANY, phase).map(|()| String::from_utf8(apps.text(ANY)).unwrap())
        };
        let wrong = Err(ValueError::PusherApp);
        let rows: [(&str, Phase, Result<&str, ValueError>); 11] = [
            ("1 key secret", Phase::Load, Ok("1 key secret")),
            ("2 k2 s2 PREFIX a: user page", Phase::Load, Ok("1 key secret 2 k2 s2 user page prefix a:")),
            ("3 k3", Phase::Load, wrong.clone()),
            ("1 k3 s3", Phase::Load, wrong.clone()),
            ("3 key s3", Phase::Load, wrong.clone()),
            ("3 k3 s3 client-events many", Phase::Load, wrong.clone()),
            ("3 k3 s3 user", Phase::Set, wrong.clone()),
            ("3 k\u{e9}y s3", Phase::Set, wrong),
            ("3 k s 4 l t client-events 0", Phase::Set, Ok("3 k s 4 l t client-events 0")),
            ("", Phase::Set, Ok("")),
            ("5 k s user default client-events 10", Phase::Load, Ok("5 k s")),
        ];
        for (text, phase, expected) in rows {
            assert_eq!(assign(text, phase), expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn there_are_so_many_apps_and_no_more() {
        let many = |count| (0..count).map(|n| format!("i{n} k{n} s")).collect::<Vec<_>>().join(" ");
        let mut apps = PusherApps::default();
        assert_eq!(apps.assign(&words(&many(APPS_MAX)), ANY, Phase::Set), Ok(()));
        assert_eq!(apps.assign(&words(&many(APPS_MAX + 1)), ANY, Phase::Set), Err(ValueError::PusherApp));
        assert_eq!(apps.0.len(), APPS_MAX);
    }

    #[test]
    fn a_channel_has_a_name_inside_and_one_outside() {
        let mut config = Config::default();
        config.pusher_app.assign(&words("1 key secret prefix shop:"), ANY, Phase::Set).unwrap();
        let app = config.app_of_key(b"key").unwrap();
        assert_eq!(app.outside("news"), b"shop:news");
        let apps = &mut config.pusher_app.clone();
        assert_eq!((apps.inside(b"shop:news"), apps.inside(b"news")), (&b"news"[..], &b"news"[..]));
        assert_eq!((apps.prefix_of(b"shop:news"), apps.prefix_of(b"news")), (Some("shop:"), None));
        apps.assign(&words("2 k2 s 3 k3 s prefix shop:n"), ANY, Phase::Load).unwrap();
        assert_eq!(apps.inside(b"shop:news"), b"ews", "the longest prefix");
        assert_eq!((apps.inside(b"shop:sale"), apps.prefix_of(b"news")), (&b"sale"[..], Some("")));
        assert_eq!((config.app(b"1").is_some(), config.app(b"key").is_some()), (true, false));
        assert!(!format!("{app:?}").contains("secret"));
    }
}
