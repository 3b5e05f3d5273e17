use super::*;
use crate::UserLine;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn load(args: &[&str]) -> Result<Loaded, String> {
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    Config::load(&args, LineChecks::NONE).map_err(|error| error.to_string())
}

/// Loads a file with this text, and the arguments after it. The directory's path is taken out of messages.
fn load_text(text: &str, args: &[&str]) -> Result<(Loaded, Vec<String>), String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("redis.conf");
    fs::write(&path, text).unwrap();
    let prefix = format!("{}/", dir.path().display());
    let mut all = vec![path.to_str().unwrap()];
    all.extend(args);
    let loaded = load(&all).map_err(|error| error.replace(&prefix, ""))?;
    let warnings = loaded.warnings.iter().map(|warning| warning.to_string().replace(&prefix, "")).collect();
    Ok((loaded, warnings))
}

fn value(config: &Config, name: &str) -> String {
    let found = config.get(&[name.as_bytes()]).pop().unwrap_or_else(|| panic!("{name}"));
    String::from_utf8(found.1).unwrap()
}

#[test]
fn a_user_line_is_refused_where_it_stands_if_the_check_refuses_it() {
    let user = |user: &UserLine, _: &Config| {
        if user.rules == [b"+x"] { Err("no".to_owned()) } else { Ok(user.clone()) }
    };
    let check = LineChecks { user, ..LineChecks::NONE };
    let load = |line: &str| {
        let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Config::load(&args, check).map(|loaded| loaded.config.users.len()).map_err(|error| error.to_string())
    };
    assert_eq!(load("--user bob on --user eve off"), Ok(2));
    assert_eq!(
        load("--user bob on --user eve +x"),
        Err("command line: 'user': Error in user declaration 'eve': no".to_owned())
    );
}

#[test]
fn the_command_line_is_read_as_redis_reads_it() {
    let rows: &[(&[&str], &str, &str)] = &[
        (&["--port", "7000"], "port", "7000"),
        (&["--PORT 7000"], "port", "7000"),
        (&["--port", "7000", "--port", "7001"], "port", "7001"),
        (&["--bind", "1.1.1.1", "-::1"], "bind", "1.1.1.1 -::1"),
        (&["--bind", "1.1.1.1  ::1"], "bind", "1.1.1.1 ::1"),
        (&["--bind", ""], "bind", ""),
        (&["--save"], "save", ""),
        (&["--save", "--timeout", "5"], "timeout", "5"),
        (&["--save", "1 2", "--save", "3", "4"], "save", "1 2 3 4"),
        (&["--requirepass", "--secret"], "requirepass", "--secret"),
        (
            &["--client-output-buffer-limit", "pubsub", "32mb", "8mb", "60", "normal", "1", "2", "3"],
            "client-output-buffer-limit",
            "normal 1 2 3 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        ),
        (&["--unixsocketperm", "700"], "unixsocketperm", "700"),
        (&["--maxmemory", "1gb"], "maxmemory", "1073741824"),
    ];
    for (args, name, expected) in rows {
        assert_eq!(value(&load(args).unwrap().config, name), *expected, "{args:?}");
    }
    assert_eq!(load(&[]).unwrap().config.bind, Config::default().bind);
}

#[test]
fn a_wrong_argument_stops_the_start_in_one_line() {
    let rows: &[(&[&str], &str)] = &[
        (&["--port", "abc"], "command line: 'port abc': argument couldn't be parsed into an integer"),
        (&["--timeout"], "command line: 'timeout': wrong number of arguments"),
        (&["--timeout", "5", "6"], "command line: 'timeout 5 6': wrong number of arguments"),
        (
            &["--timeout", "--port"],
            "command line: 'timeout --port': argument couldn't be parsed into an integer",
        ),
        (
            &["--maxclients", "0"],
            "command line: 'maxclients 0': argument must be between 1 and 4294967295 inclusive",
        ),
        (
            &["--unixsocketperm", "999"],
            "command line: 'unixsocketperm 999': argument couldn't be parsed as an octal number",
        ),
        (&["--requirepass", "hidden", "word"], "command line: 'requirepass': wrong number of arguments"),
        (&["--foo", "bar"], "command line: 'foo' is not an option"),
        (
            &["--tls-selfsigned"],
            "command line: 'tls-selfsigned' is not an option; did you mean 'tls-self-signed'?",
        ),
        (
            &["--port", "1", "--requirepas", "x"],
            "command line: 'requirepas' is not an option; did you mean 'requirepass'?",
        ),
        (&["-p", "1"], "command line: '-p' belongs to no option; options are written '--name value'"),
        (&["--requirepass \"x"], "command line: 'requirepass': unbalanced quotes"),
        (
            &["/nonexistent.conf"],
            "can't open config file '/nonexistent.conf': No such file or directory (os error 2)",
        ),
        (&["--dir", "/nonexistent"], "'dir /nonexistent': No such file or directory (os error 2)"),
        (
            &["--user", "bob", "on", "--user", "bob", "off"],
            "command line: 'user': Error in user declaration 'bob': Duplicate user found. A user can only be defined once in config files",
        ),
    ];
    for (args, expected) in rows {
        let error = load(args).unwrap_err();
        assert_eq!(error, *expected);
        assert!(!error.contains('\n'));
    }
}

#[test]
fn a_file_is_read_line_by_line_and_the_command_line_wins() {
    let text = "# comment\n\n  TIMEOUT 5\r\nport 1\nport 2\nrequirepass \"a\\x41\\n\"\nsave 1 2\nsave \"\"\nsave 4 5\nuser bob on >p ~*";
    let (loaded, warnings) = load_text(text, &["--timeout", "6", "--save", "6", "7"]).unwrap();
    assert_eq!((loaded.config.timeout, loaded.config.port), (6, 2));
    assert_eq!(loaded.config.requirepass, b"aA\n");
    assert_eq!(value(&loaded.config, "save"), "4 5 6 7");
    let (without, _) = load_text("save 1 2\nsave \n", &[]).unwrap();
    assert_eq!(value(&without.config, "save"), "");
    let rules = [b"on".to_vec(), b">p".to_vec(), b"~*".to_vec()].to_vec();
    assert_eq!(loaded.config.users, [UserLine { name: b"bob".to_vec(), rules }]);
    assert!(warnings.is_empty());
    assert!(loaded.file.unwrap().is_absolute());
}

#[test]
fn a_wrong_line_stops_the_start_with_file_and_line() {
    let rows = [
        ("\n\nport abc\n", "redis.conf:3: 'port abc': argument couldn't be parsed into an integer"),
        ("port 5 # five\n", "redis.conf:1: 'port 5 \"#\" five': wrong number of arguments"),
        ("port \"5\n", "redis.conf:1: 'port': unbalanced quotes"),
        ("requirepas x\n", "redis.conf:1: 'requirepas' is not an option; did you mean 'requirepass'?"),
        ("maxclient 5\n", "redis.conf:1: 'maxclient' is not an option; did you mean 'maxclients'?"),
        (
            "io-threads x\nloglevel loud\n",
            "redis.conf:2: 'loglevel loud': argument(s) must be one of the following: debug, verbose, notice, warning, nothing",
        ),
        ("include\n", "redis.conf:1: 'include': wrong number of arguments"),
        (
            "tls-protocols TLSv1.1\n",
            "redis.conf:1: 'tls-protocols TLSv1.1': argument must be a list of 'TLSv1.2' and 'TLSv1.3' (older versions are not supported)",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(load_text(text, &[]).map(|_| ()).unwrap_err(), expected);
    }
}

#[test]
fn what_redis_has_and_sterna_does_not_is_one_warning() {
    let text = "jemalloc-bg-thread yes\nsupervised upstart\nreplicaof no one\nmasterauth \"\"\n\
                save 60 1\njemalloc-bg-thread no\n";
    let (_, warnings) = load_text(text, &["--io-threads", "4"]).unwrap();
    let expected = [
        "redis.conf:1: without effect here, and no harm: jemalloc-bg-thread, replicaof, masterauth, io-threads",
        "redis.conf:2: 'supervised upstart' is not supported; 'auto' is used",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn what_protects_or_is_not_known_is_never_ignored() {
    let directives = [
        "replicaof 10.0.0.1 6379",
        "slaveof 10.0.0.1 6379",
        "loadmodule /x.so",
        "masterauth secret",
        "masteruser bob",
        "primaryauth secret",
        "cluster-enabled yes",
        "min-replicas-to-write 1",
        "tls-key-file-pass secret",
        "unixsocketgroup redis",
        "some-module.option 1",
        "rename-command CONFIG",
        "aclfile a b",
    ];
    for directive in directives {
        let name = directive.split(' ').next().unwrap();
        let error = load_text(&format!("# line 1\n{directive}\n"), &[]).map(|_| ()).unwrap_err();
        assert!(error.starts_with(&format!("redis.conf:2: '{name}")), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for text in ["user bob on\naclfile x\n", "aclfile x\nuser bob on\n"] {
        let error = load_text(text, &[]).map(|_| ()).unwrap_err();
        assert!(error.starts_with("redis.conf:2: ") && error.ends_with("not in both"), "{error}");
    }
}

#[test]
fn included_files_are_read_where_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("conf.d")).unwrap();
    fs::write(path("conf.d/2.conf"), "port 2\ntimeout 2\n").unwrap();
    fs::write(path("conf.d/1.conf"), "port 1\nhz 1\n").unwrap();
    fs::write(path("conf.d/.hidden.conf"), "port abc\n").unwrap();
    let include = path("c*.d/[0-9].con?");
    fs::write(path("main.conf"), format!("port 9\ninclude {include}\ninclude {}\ntimeout 3\n", path("no*")))
        .unwrap();
    let config = load(&[&path("main.conf")]).unwrap().config;
    assert_eq!((config.port, config.timeout, config.hz), (2, 3, 1));

    fs::write(path("conf.d/1.conf"), format!("\nport x\ninclude {}\n", path("main.conf"))).unwrap();
    let error = load(&[&path("main.conf")]).unwrap_err();
    assert_eq!(
        error,
        format!("{}:2: 'port x': argument couldn't be parsed into an integer", path("conf.d/1.conf"))
    );
    fs::write(path("conf.d/1.conf"), format!("include {}\n", path("main.conf"))).unwrap();
    let error = load(&[&path("main.conf")]).unwrap_err();
    assert!(
        error.starts_with(&format!("{}:1: ", path("conf.d/1.conf"))) && error.contains("includes itself"),
        "{error}"
    );
    fs::write(path("main.conf"), format!("include {}\n", path("gone.conf"))).unwrap();
    assert!(load(&[&path("main.conf")]).unwrap_err().starts_with("can't open config file"));
}

#[test]
fn a_self_signed_certificate_implies_a_port_and_no_client_certificates() {
    let config = load(&["--tls-self-signed"]).unwrap().config;
    assert_eq!((config.tls_port, config.tls_auth_clients), (6380, TlsAuthClients::No));
    let args = ["--tls-self-signed", "--tls-port", "7000", "--tls-auth-clients", "yes"];
    let config = load(&args).unwrap().config;
    assert_eq!((config.tls_port, config.tls_auth_clients), (7000, TlsAuthClients::Yes));
    let config = load(&["--tls-self-signed", "no"]).unwrap().config;
    assert_eq!((config.tls_port, config.tls_auth_clients), (0, TlsAuthClients::Yes));
}

#[test]
fn the_directory_is_absolute_once_loaded() {
    let here = env::current_dir().unwrap();
    assert_eq!(load(&[]).unwrap().config.dir, here);
    assert!(load(&["--dir", file!()]).is_err());
}

#[test]
fn slips_are_counted_with_swaps() {
    for (a, b, slips) in
        [("port", "port", 0), ("prot", "port", 1), ("ports", "port", 1), ("", "port", 4), ("bnid", "bind", 1)]
    {
        assert_eq!(slips_between(a, b), slips, "{a} {b}");
    }
    assert_eq!(similar("hz2"), None);
    assert_eq!(similar("prot"), Some("port"));
}

proptest! {
    /// Whatever a file holds, it is read or refused with one line, and what was read can be written and read again.
    #[test]
    fn any_text_is_read_or_refused(lines in vec((select(names()), any_words()), 0..6)) {
        let mut text = Vec::new();
        for (name, words) in lines {
            text.extend([name.as_bytes(), b" ", &words, b"\n"].concat());
        }
        let path = Path::new("redis.conf");
        match Config::of_text(path, &text, LineChecks::NONE) {
            Ok(config) => {
                let lines = OPTIONS.iter().flat_map(|row| {
                    let words = row.lines(&config).into_iter();
                    words.map(|words| [row.name.as_bytes(), b" ", &words::join(words.iter().map(Vec::as_slice))].concat())
                });
                let written = lines.collect::<Vec<_>>().join(&b'\n');
                prop_assert_eq!(Config::of_text(path, &written, LineChecks::NONE).unwrap(), config);
            }
            Err(error) => prop_assert!(!error.to_string().contains('\n'), "{}", error),
        }
    }
}

fn names() -> Vec<&'static str> {
    // Including a file from a random path would read this machine's files; `dir` would have to exist.
    OPTIONS.iter().map(|row| row.name).filter(|name| *name != "dir").chain(["nosuch", ""]).collect()
}

fn any_words() -> impl Strategy<Value = Vec<u8>> {
    let likely = select(vec![
        "yes",
        "no",
        "0",
        "1",
        "-1",
        "700",
        "1kb",
        "99999999999999999999",
        "local",
        "optional",
        "notice",
        "always",
        "normal 1 2 3",
        "pubsub 1mb 1mb 60",
        "3600 1",
        "\"\"",
        "KEA",
        "bob on >p ~a* &b +get",
        "default on (+get ~x)",
        "'a b'",
        "\"\\x00\\xff\"",
        "\"open",
        "127.0.0.1 -::1",
        "TLSv1.3",
    ]);
    prop_oneof![likely.prop_map(|text| text.as_bytes().to_vec()), vec(any::<u8>(), 0..12)]
}
