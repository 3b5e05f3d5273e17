//! From the text of a file to its scripts.

use sterna_protocol::Proto;

use super::{Action, Script, Step, View, split};

/// Reads the scripts of a file. Panics where one can't be understood: a test that says nothing must not pass.
pub fn parse(file: &str, text: &str) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        let blame = |fault: String| -> ! { panic!("{file}:{number}: {fault}: {line}") };
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("== ") {
            scripts.push(Script {
                name: name.to_owned(),
                protos: vec![Proto::Resp2, Proto::Resp3],
                server_args: Vec::new(),
                steps: Vec::new(),
            });
            continue;
        }
        let Some(script) = scripts.last_mut() else { blame("a step before the first script".to_owned()) };
        if let Err(fault) = read_line(script, number, line) {
            blame(fault);
        }
    }
    scripts.iter_mut().for_each(ask_the_rest);
    scripts
}

fn read_line(script: &mut Script, number: usize, line: &str) -> Result<(), String> {
    match line {
        "only resp2" => script.protos = vec![Proto::Resp2],
        "only resp3" => script.protos = vec![Proto::Resp3],
        _ => {
            if let Some(args) = line.strip_prefix("with ") {
                let args = split(args)?;
                script.server_args =
                    args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
            } else {
                script.steps.push(step(number, line)?);
            }
        }
    }
    Ok(())
}

fn step(line: usize, text: &str) -> Result<Step, String> {
    let name_end = text.find(|c: char| !c.is_ascii_alphanumeric()).ok_or("a client, and then nothing")?;
    let (client, rest) = text.split_at(name_end);
    let mut step = Step {
        line,
        text: text.to_owned(),
        client: client.to_owned(),
        action: Action::Quiet,
        views: Vec::new(),
        differs: None,
        since: 0,
        name: None,
    };
    if let Some(bytes) = rest.strip_prefix('!') {
        step.action = Action::Bytes(split(bytes)?.concat());
    } else if let Some(rest) = rest.strip_prefix('<') {
        let mut options = rest.split(' ');
        let count = options.next().filter(|count| !count.is_empty());
        step.action = Action::Read(count.map_or(Ok(1), str::parse).map_err(|e| format!("how many: {e}"))?);
        read_options(&mut step, options)?;
    } else {
        read_request(&mut step, rest)?;
    }
    Ok(step)
}

/// `*2 sorted: KEYS *`, or a word such as `closed` with options.
fn read_request(step: &mut Step, rest: &str) -> Result<(), String> {
    let (head, request) = match rest.split_once(": ") {
        Some((head, request)) => (head, Some(split(request)?)),
        None => (rest, None),
    };
    let mut options = head.split_whitespace().peekable();
    let count = options.next_if(|word| word.starts_with('*'));
    let verb = match request {
        Some(_) => None,
        None => options.next(),
    };
    step.action = match (request, verb) {
        (Some(args), _) => {
            let count = match count {
                Some(count) => count[1..].parse().map_err(|e| format!("how many: {e}"))?,
                None => replies_of(&args),
            };
            Action::Request(args, count)
        }
        (None, Some("closed")) => Action::Closed,
        (None, Some("leaves")) => Action::Leave,
        (None, Some("raw")) => Action::Raw,
        (None, verb) => return Err(format!("no step: {verb:?}")),
    };
    read_options(step, options)
}

fn read_options<'a>(step: &mut Step, options: impl Iterator<Item = &'a str>) -> Result<(), String> {
    for option in options.filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            None if option == "blocks" => {
                let Action::Request(args, _) = &mut step.action else {
                    return Err("only requests block".to_owned());
                };
                step.action = Action::Block(std::mem::take(args));
            }
            None => step.views.push(View::named(option).ok_or(format!("no view {option}"))?),
            Some(("as", name)) => step.name = Some(format!("<{name}>")),
            Some(("differs", name)) => step.differs = Some(name.to_owned()),
            Some(("since", version)) => {
                step.since = version.parse().map_err(|e| format!("{version}: {e}"))?
            }
            Some(("until", reply)) => {
                let Action::Request(args, _) = &mut step.action else {
                    return Err("until is for requests".to_owned());
                };
                step.action = Action::Until(std::mem::take(args), split(reply)?.concat());
            }
            Some((name, _)) => return Err(format!("no option {name}")),
        }
    }
    Ok(())
}

/// One, but for commands that confirm each name.
fn replies_of(args: &[Vec<u8>]) -> usize {
    let name = args.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    if name.ends_with(b"subscribe") { args.len().saturating_sub(1).max(1) } else { 1 }
}

/// Adds the question whether anything more has come, for every client still there at the end.
fn ask_the_rest(script: &mut Script) {
    let mut there: Vec<String> = Vec::new();
    for step in &script.steps {
        there.retain(|client| *client != step.client);
        if !matches!(step.action, Action::Closed | Action::Leave) {
            there.push(step.client.clone());
        }
    }
    there.sort();
    script.steps.extend(there.into_iter().map(|client| Step {
        line: 0,
        text: format!("{client} is quiet"),
        client,
        action: Action::Quiet,
        views: Vec::new(),
        differs: None,
        since: 0,
        name: None,
    }));
}
